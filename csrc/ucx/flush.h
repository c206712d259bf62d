/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes and closes: what must wait until operations have been handed to UCX.
 *
 *   flush --operations before it unissued--> epoch (epochs.h) --issued--> ready list --> UCX
 *   close --another thread is in UCX with the endpoint--> last unpin --> ready list --> UCX
 *
 * A flush of an endpoint that is posted under a tag waits for that tag only (tag_epochs.h).
 * UCX's own flush waits for what UCX was handed. Ours waits until UCX has been handed the rest.
 */
#ifndef MFS_UCX_FLUSH_H
#define MFS_UCX_FLUSH_H

#include "ucx/worker.h"

/*
 * The caller flushes ep, or the whole worker if ep is NULL. Returns false when nothing is queued
 * that the flush must wait for: hand it to UCX. Returns true when it waits here, or when an
 * operation was lost: give *result to the caller.
 */
bool mfs_ucx_flush(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                   const ucp_request_param_t *param, ucs_status_ptr_t *result);
/*
 * The caller closes an endpoint. What it has queued is handed to UCX now, or canceled if the close
 * is a forced one, and its handle leaves the map. Returns false when UCX may close it at once.
 * Returns true when another thread is inside UCX with it: that thread closes it later, and *result
 * is for the caller.
 */
bool mfs_ucx_close(struct mfs_ucx_ep *ep, const ucp_request_param_t *param,
                   ucs_status_ptr_t *result);

/* From now on flushes wait for this operation. 0 or -ENOMEM. Mutex held, as for the next two. */
int mfs_ucx_flush_enter(struct mfs_ucx_request *request, const struct mfs_tag *tag);
/* UCX has all of this operation, or it was dropped: no flush waits for it any more. Flushes that
 * wait for nothing else go on the ready list. */
void mfs_ucx_flush_left(struct mfs_ucx_request *request);
/* The epoch that this flush closed, as long as operations of it are queued; NULL when none is, or
 * when the request is no flush. */
static inline struct mfs_ucx_epoch *mfs_ucx_flush_waits_for(const struct mfs_ucx_request *request)
{
    return request->kind == MFS_UCX_FLUSH ? request->epochs[0] : NULL;
}
/* Hand the flushes and closes on the ready list to UCX. Without the mutex. */
void mfs_ucx_issue(struct mfs_ucx_worker *worker);

/* Before and after a call into UCX with the endpoint, so that nobody closes it meanwhile. Mutex
 * held. The last unpin may put a close on the ready list: call mfs_ucx_issue afterwards. */
void mfs_ucx_pin(struct mfs_ucx_ep *ep);
void mfs_ucx_unpin(struct mfs_ucx_ep *ep);

#endif
