/* SPDX-License-Identifier: Apache-2.0 */
/* An abort is rare, so it may look at all that the endpoint has queued. */
#include "ucx/abort.h"

#include "ucx/chunk.h"
#include "ucx/dispatch.h"
#include "ucx/flush.h"

/* Is it still to be handed to UCX, or does it wait for what is? Mutex held. */
static bool waits(const struct mfs_ucx_request *request)
{
    return request->queued || mfs_ucx_flush_waits_for(request);
}

/*
 * Traffic without a tag counts in the epoch of its endpoint, as all does; but what has a tag is a
 * transfer on its own, with a flush of its own.
 */
static bool belongs_to(const struct mfs_ucx_request *operation, const struct mfs_ucx_request *given)
{
    const struct mfs_ucx_epoch *epoch = mfs_ucx_flush_waits_for(given);

    if (!epoch)
        return operation == given;
    if (operation->epochs[MFS_UCX_EPOCH_TAG])
        return operation->epochs[MFS_UCX_EPOCH_TAG] == epoch;
    return operation->epochs[MFS_UCX_EPOCH_EP] == epoch ||
           operation->epochs[MFS_UCX_EPOCH_WORKER] == epoch;
}

/* Mutex held. */
static void take_back(struct mfs_ucx_worker *worker, struct mfs_ucx_request *given)
{
    struct mfs_ucx_request *operation, *next;

    for (operation = worker->queued.first; operation; operation = next) {
        next = operation->next;
        if (!belongs_to(operation, given))
            continue;
        mfs_ucx_dequeue(operation);
        operation->canceled = true;
        if (operation->result == UCS_OK)
            operation->result = UCS_ERR_CANCELED;
        mfs_ucx_end_if_over(operation); /* it may be gone after this */
    }
    given->canceled = true;
}

void mfs_ucx_canceled(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;
    const bool aborts = mfs_abort_get();
    bool waited;

    if (!worker || (!aborts && mfs_ucx_cancel(request)))
        return;
    mfs_ucx_lock(worker);
    waited = waits(request);
    if (waited && aborts)
        take_back(worker, request);
    mfs_ucx_unlock(worker);
    if (!waited)
        return;
    if (aborts) {
        mfs_ucx_issue(worker);
        mfs_ucx_wait_for_posts(worker);
    } else {
        mfs_ucx_drain_whole(worker, request->ep);
    }
}
