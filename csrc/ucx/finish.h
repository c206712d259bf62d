/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of requests: outcome, callback, and the way back to the pool.
 *
 *   finish --callback due--> done list --deliver--> status seen, callback --+
 *      +----no callback----> status seen at once ---------------------------+--> released: slot
 * free
 *
 * CALLBACKS are never called from inside a post: progress delivers them, and until
 * then the request looks unfinished, so that a caller who polls its status finds it
 * complete only when the callback has run, as in UCX.
 */
#ifndef MFS_UCX_FINISH_H
#define MFS_UCX_FINISH_H

#include "ucx/worker.h"

/* An operation, flush or close is over. It may be back in the pool after this. Mutex held. */
void mfs_ucx_finish(struct mfs_ucx_request *request, ucs_status_t status);
/*
 * The end of a posting call: what the caller gets for its operation. NULL or an
 * error when it is done already (and the caller did not ask for a request always),
 * else the handle of the request, from now on the caller's. Mutex held.
 */
ucs_status_ptr_t mfs_ucx_hand_over(struct mfs_ucx_request *request);
/* Callbacks that are due. Returns how many. Only from the caller's progress. */
unsigned mfs_ucx_deliver(struct mfs_ucx_worker *worker);
/* The caller gives the request back; silent: and wants no callback. */
void mfs_ucx_release(struct mfs_ucx_request *request, bool silent);

static inline ucs_status_t mfs_ucx_status(const struct mfs_ucx_request *request)
{
    return (ucs_status_t)atomic_load_explicit(&request->status, memory_order_acquire);
}

#endif
