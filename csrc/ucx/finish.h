/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a request ends: its outcome, its callback, and its way back to the pool.
 *
 *   finish --has a callback--> done list --deliver--> status visible, callback runs --+
 *      +------has none-------> status visible at once --------------------------------+
 *                                            released by the caller --> slot is free <-+
 *
 * CALLBACKS are never called from inside a post: progress delivers them, and until
 * then the request looks unfinished, so that a caller who polls its status finds it
 * complete only when the callback has run, as in UCX.
 */
#ifndef MFS_UCX_FINISH_H
#define MFS_UCX_FINISH_H

#include "core/atomic.h"
#include "ucx/worker.h"

/* An operation, flush or close has ended with this status. If its caller had given it back, its
 * slot is free after this. Mutex held. */
void mfs_ucx_finish(struct mfs_ucx_request *request, ucs_status_t status);
/*
 * What a post returns to its caller: NULL or an error when the operation is done already and the
 * caller did not ask for a request in any case; else the handle of the request, which the caller
 * owns from now on. Mutex held.
 */
ucs_status_ptr_t mfs_ucx_hand_over(struct mfs_ucx_request *request);
/* Call the callbacks of requests that have ended; returns how many. Only inside the caller's
 * progress. */
unsigned mfs_ucx_deliver(struct mfs_ucx_worker *worker);
/* The caller gives the request back, done or not. silent: it wants no callback any more. */
void mfs_ucx_release(struct mfs_ucx_request *request, bool silent);

static inline ucs_status_t mfs_ucx_status(const struct mfs_ucx_request *request)
{
    return (ucs_status_t)mfs_see(&request->status);
}

#endif
