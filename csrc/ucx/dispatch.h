/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending what is queued, and finishing what was sent. All of it happens inside the
 * caller's own calls: post, progress, flush, close.
 */
#ifndef MFS_UCX_DISPATCH_H
#define MFS_UCX_DISPATCH_H

#include "ucx/worker.h"

/*
 * Queue an operation. 0: it is the shim's now. -errno: nothing was changed, hand it
 * to UCX (after mfs_ucx_drain of what is before it).
 */
int mfs_ucx_enqueue(struct mfs_ucx_ep *ep, struct mfs_ucx_request *request,
                    const struct mfs_tag *tag);
/* Send the best chunks while the port allows. Returns how many went. */
unsigned mfs_ucx_dispatch(struct mfs_ucx_worker *worker);
/* Send what is queued at once, in the order of posting, whatever the window; ep NULL: all. */
void mfs_ucx_drain(struct mfs_ucx_worker *worker, const struct mfs_ucx_ep *ep);
/* End what is queued with an error; ep NULL: all. */
void mfs_ucx_abandon(struct mfs_ucx_worker *worker, const struct mfs_ucx_ep *ep,
                     ucs_status_t status);
/* Take one queued operation of which nothing has been sent out. false: too late. */
bool mfs_ucx_cancel(struct mfs_ucx_request *request);
/*
 * Must a flush that is posted now wait: of the worker (ep NULL), of the endpoint, or, when
 * the tag is not empty, of that tag's operations on the endpoint?
 */
bool mfs_ucx_flush_pending(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                           const struct mfs_tag *tag);
/*
 * Hand a flush to UCX once what was posted before it has been issued. -ENOENT: it need
 * not wait (any more); -ENOMEM.
 */
int mfs_ucx_flush_defer(struct mfs_ucx_request *flush);
/* Callbacks that are due. Returns how many. Only from the caller's progress. */
unsigned mfs_ucx_deliver(struct mfs_ucx_worker *worker);
/*
 * The end of a posting call: what the caller gets for its operation. NULL or an
 * error when it is done already (and the caller did not ask for a request always),
 * else the request, from now on the caller's.
 */
ucs_status_ptr_t mfs_ucx_hand_over(struct mfs_ucx_request *request);
/* The caller gives the request back. */
void mfs_ucx_release(struct mfs_ucx_request *request, bool silent);
/* Is there something that a look at later, without an event, could move? */
bool mfs_ucx_restless(struct mfs_ucx_worker *worker);

#endif
