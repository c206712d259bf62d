/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flushes and closes: what must wait until operations have been handed to UCX.
 *
 *   flush --operations before it unissued--> epoch (epochs.h) --issued--> ready list --> UCX
 *   close --another thread is in UCX with the endpoint--> last unpin --> ready list --> UCX
 *
 * A flush of an endpoint that is posted under a tag waits for that tag only (tag_epochs.h).
 * UCX's own flush covers what it was handed; ours waits only for the rest.
 */
#ifndef MFS_UCX_FLUSH_H
#define MFS_UCX_FLUSH_H

#include "ucx/worker.h"

/*
 * A flush of ep, or of the whole worker (ep NULL). false: nothing holds it back, UCX
 * gets it now. true: *result is what the caller gets.
 */
bool mfs_ucx_flush(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                   const ucp_request_param_t *param, ucs_status_ptr_t *result);
/*
 * Before the close of an endpoint: what is queued goes out now (force: is ended), and
 * the handle is no longer ours. false: UCX closes now. true: *result for the caller.
 */
bool mfs_ucx_close(struct mfs_ucx_ep *ep, const ucp_request_param_t *param,
                   ucs_status_ptr_t *result);

/* An operation is to be waited for by later flushes: -ENOMEM. Mutex held, as for the next. */
int mfs_ucx_flush_enter(struct mfs_ucx_request *request, const struct mfs_tag *tag);
/* It has been issued (or dropped): flushes that wait for nothing more go on the ready list. */
void mfs_ucx_flush_left(struct mfs_ucx_request *request);
/* The epoch that a flush closed, while operations in it wait; NULL: none does, or it is no flush.
 */
static inline struct mfs_ucx_epoch *mfs_ucx_flush_waits_for(const struct mfs_ucx_request *request)
{
    return request->kind == MFS_UCX_FLUSH ? request->epochs[0] : NULL;
}
/* Hand what is on the ready list to UCX. */
void mfs_ucx_issue(struct mfs_ucx_worker *worker);

/* Around a call into UCX with the endpoint. Mutex held. After unpin, see mfs_ucx_issue. */
void mfs_ucx_pin(struct mfs_ucx_ep *ep);
void mfs_ucx_unpin(struct mfs_ucx_ep *ep);

#endif
