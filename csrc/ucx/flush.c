/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/flush.h"

#include <errno.h>

#include "core/atomic.h"
#include "host/tag.h"
#include "ucx/dispatch.h"
#include "ucx/ep.h"
#include "ucx/finish.h"
#include "ucx/list.h"
#include "ucx/tag_epochs.h"

static void make_ready(struct mfs_ucx_worker *worker, struct mfs_ucx_request *request)
{
    if (request->ep)
        mfs_ucx_pin(request->ep);
    mfs_ucx_list_append(&worker->ready, request);
    mfs_add_own(&worker->ready_count, 1);
}

void mfs_ucx_pin(struct mfs_ucx_ep *ep)
{
    ep->pins++;
}

void mfs_ucx_unpin(struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_request *close = ep->close;

    if (--ep->pins > 0)
        return;
    ep->close = NULL;
    if (close)
        make_ready(ep->worker, close);
    else
        mfs_ucx_ep_reap(ep);
}

static void collect(struct mfs_ucx_worker *worker, struct mfs_ucx_epochs *epochs)
{
    struct mfs_ucx_request *flush;

    while ((flush = mfs_ucx_epochs_ready(epochs, &worker->epoch_memory)) != NULL) {
        flush->epochs[0] = NULL;
        make_ready(worker, flush);
    }
}

int mfs_ucx_flush_enter(struct mfs_ucx_request *request, const struct mfs_tag *tag)
{
    struct mfs_ucx_epochs *counted_in[MFS_UCX_EPOCHS] = {
        [MFS_UCX_EPOCH_EP] = &request->ep->epochs,
        [MFS_UCX_EPOCH_WORKER] = &request->worker->epochs,
    };

    if (tag->request != MFS_REQUEST_NONE) {
        struct mfs_ucx_tag_epochs *of_tag = mfs_ucx_tag_epochs_get(request->ep, tag);

        if (!of_tag)
            return -ENOMEM;
        counted_in[MFS_UCX_EPOCH_TAG] = &of_tag->epochs;
    }
    for (int i = 0; i < MFS_UCX_EPOCHS; i++) {
        if (!counted_in[i])
            continue;
        request->epochs[i] = mfs_ucx_epochs_enter(counted_in[i], &request->worker->epoch_memory);
        if (!request->epochs[i]) {
            mfs_ucx_flush_left(request);
            return -ENOMEM;
        }
    }
    return 0;
}

void mfs_ucx_flush_left(struct mfs_ucx_request *request)
{
    struct mfs_ucx_epoch *last = request->epochs[MFS_UCX_EPOCH_TAG];
    struct mfs_ucx_tag_epochs *of_tag = last ? (struct mfs_ucx_tag_epochs *)last->epochs : NULL;

    for (int i = 0; i < MFS_UCX_EPOCHS; i++) {
        struct mfs_ucx_epoch *epoch = request->epochs[i];

        if (!epoch)
            continue;
        request->epochs[i] = NULL;
        mfs_ucx_epochs_leave(epoch);
        collect(request->worker, epoch->epochs);
    }
    if (of_tag)
        mfs_ucx_tag_epochs_reap(of_tag);
}

static void issued_done(void *ucx_request, ucs_status_t status, void *user_data)
{
    struct mfs_ucx_request *request = user_data;
    struct mfs_ucx_worker *worker = request->worker;

    mfs_ucx_lock(worker);
    mfs_ucx_finish(request, status);
    mfs_ucx_unlock(worker);
    worker->api->ucp_request_free(ucx_request);
}

/* Hand one flush or close to UCX. Without the mutex; its endpoint is pinned. The caller may have
 * freed the request when this returns. */
static void issue_one(struct mfs_ucx_worker *worker, struct mfs_ucx_request *request)
{
    const struct mfs_ucx_api *api = worker->api;
    struct mfs_ucx_ep *ep = request->ep;
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = issued_done,
        .user_data = request,
    };
    ucs_status_ptr_t result;

    if (request->force) {
        param.op_attr_mask |= UCP_OP_ATTR_FIELD_FLAGS;
        param.flags = UCP_EP_CLOSE_FLAG_FORCE;
    }
    if (request->kind == MFS_UCX_CLOSE)
        result = api->ucp_ep_close_nbx(ep->handle, &param);
    else if (ep)
        result = api->ucp_ep_flush_nbx(ep->handle, &param);
    else
        result = api->ucp_worker_flush_nbx(worker->handle, &param);
    mfs_ucx_lock(worker);
    if (!UCS_PTR_IS_PTR(result))
        mfs_ucx_finish(request, UCS_PTR_STATUS(result));
    if (ep)
        mfs_ucx_unpin(ep);
    mfs_ucx_unlock(worker);
}

void mfs_ucx_issue(struct mfs_ucx_worker *worker)
{
    while (mfs_get(&worker->ready_count) > 0) {
        struct mfs_ucx_request *request;
        bool ending;

        mfs_ucx_lock(worker);
        request = mfs_ucx_list_pop(&worker->ready);
        ending = worker->ending;
        if (request) {
            mfs_add_own(&worker->ready_count, -1);
            if (ending) {
                struct mfs_ucx_ep *ep = request->ep;

                mfs_ucx_finish(request, UCS_ERR_CANCELED);
                if (ep)
                    mfs_ucx_unpin(ep);
            }
        }
        mfs_ucx_unlock(worker);
        if (!request)
            return;
        if (!ending)
            issue_one(worker, request);
    }
}

/* The request that the caller gets for a flush or close that waits. NULL: no memory. Mutex held. */
static struct mfs_ucx_request *waiter(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                                      enum mfs_ucx_kind kind, const ucp_request_param_t *param)
{
    struct mfs_ucx_request *request = mfs_ucx_request_get(worker, ep, kind);

    if (!request)
        return NULL;
    request->returned = true;
    request->attributes = param->op_attr_mask;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_CALLBACK)
        request->callback = param->cb.send;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_USER_DATA)
        request->user_data = param->user_data;
    return request;
}

/* The count of queued operations that a flush posted now must wait for; NULL: there are none. Mutex
 * held. */
static struct mfs_ucx_epochs *epochs_of(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_tag_epochs *of_tag;
    struct mfs_tag tag;

    if (!mfs_ucx_epochs_pending(&worker->epochs)) /* which counts those of all endpoints */
        return NULL;
    if (!ep)
        return &worker->epochs;
    tag = mfs_tag_look();
    if (tag.request == MFS_REQUEST_NONE)
        return &ep->epochs;
    of_tag = mfs_ucx_tag_epochs_find(ep, &tag);
    return of_tag ? &of_tag->epochs : NULL;
}

bool mfs_ucx_flush(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                   const ucp_request_param_t *param, ucs_status_ptr_t *result)
{
    const bool theirs =
        param->op_attr_mask & (UCP_OP_ATTR_FIELD_REQUEST | UCP_OP_ATTR_FLAG_FORCE_IMM_CMPL);
    struct mfs_ucx_request *flush = NULL;
    struct mfs_ucx_epochs *epochs;
    int lost = UCS_OK;
    bool pending;

    mfs_ucx_lock(worker);
    epochs = epochs_of(worker, ep);
    pending = epochs && mfs_ucx_epochs_pending(epochs);
    if (pending && !theirs) {
        flush = waiter(worker, ep, MFS_UCX_FLUSH, param);
        if (flush) {
            flush->epochs[0] = mfs_ucx_epochs_close(epochs, &worker->epoch_memory, flush);
            if (!flush->epochs[0]) {
                mfs_ucx_request_put(flush);
                flush = NULL;
            }
        }
        if (flush) /* another thread may just have issued the last operation before it */
            collect(worker, epochs);
    } else if (!pending) {
        lost = ep ? ep->lost : worker->lost;
        if (!ep)
            worker->lost = UCS_OK;
    }
    mfs_ucx_unlock(worker);
    if (flush) {
        mfs_ucx_issue(worker);
        *result = mfs_ucx_request_handle(flush);
        return true;
    }
    if (pending) /* UCX must do this flush itself, so it is handed all that comes before it now */
        mfs_ucx_drain_whole(worker, ep);
    *result = UCS_STATUS_PTR(lost);
    return lost != UCS_OK;
}

bool mfs_ucx_close(struct mfs_ucx_ep *ep, const ucp_request_param_t *param,
                   ucs_status_ptr_t *result)
{
    struct mfs_ucx_worker *worker = ep->worker;
    const bool force =
        (param->op_attr_mask & UCP_OP_ATTR_FIELD_FLAGS) && (param->flags & UCP_EP_CLOSE_FLAG_FORCE);
    struct mfs_ucx_request *close = NULL;

    if (force)
        mfs_ucx_abandon(worker, ep, UCS_ERR_CANCELED);
    else
        mfs_ucx_drain(worker, ep);
    mfs_ucx_issue(worker);
    mfs_ucx_ep_forget(ep);
    mfs_ucx_lock(worker);
    ep->closed = true;
    if (ep->pins > 0)
        close = waiter(worker, ep, MFS_UCX_CLOSE, param);
    if (close) {
        close->force = force;
        ep->close = close;
        *result = mfs_ucx_request_handle(close);
    } else {
        mfs_ucx_ep_reap(ep);
    }
    mfs_ucx_unlock(worker);
    return close != NULL;
}
