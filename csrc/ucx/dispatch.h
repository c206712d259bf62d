/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue and the chunks: what waits, and sending it. All of it happens inside the
 * caller's own calls: post, progress, flush, close.
 */
#ifndef MFS_UCX_DISPATCH_H
#define MFS_UCX_DISPATCH_H

#include "ucx/chunk.h"
#include "ucx/worker.h"

/* This thread is inside a call into UCX that may hold a lock of UCX's; more than 1: nested.
 * Of shared workers only: no other thread waits for the lock of another one. */
extern _Thread_local unsigned mfs_ucx_inside;

static inline void mfs_ucx_enter(const struct mfs_ucx_worker *worker)
{
    if (worker->shared)
        mfs_ucx_inside++;
}

static inline void mfs_ucx_leave(const struct mfs_ucx_worker *worker)
{
    if (worker->shared)
        mfs_ucx_inside--;
}

/* The sender of a lane of the endpoint's port, made at first use. -errno: it cannot be (pass
 * through). Mutex held. */
int mfs_ucx_lane_ready(struct mfs_ucx_ep *ep, uint8_t lane);
/* The endpoint as a destination of the lane's sender, which is ready. NULL: no memory. Mutex held.
 */
struct mfs_destination *mfs_ucx_lane_to(struct mfs_ucx_ep *ep, uint8_t lane);
/*
 * Queue an operation and send what the port allows. 0: *result is what the caller gets.
 * -errno: nothing was changed, hand it to UCX (after mfs_ucx_drain of what is before it).
 */
int mfs_ucx_enqueue(struct mfs_ucx_ep *ep, const struct mfs_ucx_operation *operation,
                    const struct mfs_tag *tag, ucs_status_ptr_t *result);
/* Send the best chunks while the port allows. Returns how many went. */
unsigned mfs_ucx_dispatch(struct mfs_ucx_worker *worker);
/* Send what is queued at once, in the order of posting, whatever the window; ep NULL: all. */
void mfs_ucx_drain(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep);
/*
 * The same, and what other threads were just posting has reached UCX when it returns: before
 * a call of UCX's that must cover it. If such a thread stands still for long, or waits for a
 * lock that UCX holds around the callback we are in, that is given up: counted as a fault.
 */
void mfs_ucx_drain_whole(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep);
/* The second half of it: what other threads were just posting has reached UCX. */
void mfs_ucx_wait_for_posts(struct mfs_ucx_worker *worker);
/* End what is queued with an error (of a peer that is gone: with that); ep NULL: all. */
void mfs_ucx_abandon(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep, ucs_status_t status);
/* Take one queued operation of which nothing has been sent out. false: too late. */
bool mfs_ucx_cancel(struct mfs_ucx_request *request);
/* Out of the queue before all of it was taken. Mutex held. */
void mfs_ucx_dequeue(struct mfs_ucx_request *request);
/* Is there something that a look at later, without an event, could move? */
bool mfs_ucx_restless(struct mfs_ucx_worker *worker);

#endif
