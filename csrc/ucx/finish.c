/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LOST OPERATIONS: a caller may give a request back while its operation is deferred, and then
 * nobody sees that it fails. The error is kept, and told by every later flush of that endpoint and
 * by the next one of the worker (docs/decisions/0014).
 */
#include "ucx/finish.h"

#include "core/atomic.h"
#include "ucx/list.h"

/* Keep the error of an operation whose caller gave it back without having seen that. */
static void note_loss(const struct mfs_ucx_request *request, ucs_status_t status)
{
    if (status == UCS_OK || request->canceled || request->kind > MFS_UCX_GET)
        return;
    if (request->ep->lost == UCS_OK)
        request->ep->lost = status;
    request->worker->lost = status;
}

/* The status of a flush that went well in UCX: that of an operation lost before it, if there is
 * one.
 */
static ucs_status_t loss_of(const struct mfs_ucx_request *flush)
{
    ucs_status_t lost;

    if (flush->ep)
        return (ucs_status_t)flush->ep->lost;
    lost = (ucs_status_t)flush->worker->lost;
    flush->worker->lost = UCS_OK;
    return lost;
}

/* Put the callback on the done list, if one is due. */
static bool call_back(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;

    if (request->silent || !(request->attributes & UCP_OP_ATTR_FIELD_CALLBACK))
        return false;
    request->listed = true;
    mfs_ucx_list_append(&worker->done, request);
    mfs_add_own(&worker->done_count, 1);
    return true;
}

void mfs_ucx_finish(struct mfs_ucx_request *request, ucs_status_t status)
{
    if (request->kind == MFS_UCX_FLUSH && status == UCS_OK)
        status = request->canceled ? UCS_ERR_CANCELED : loss_of(request);
    request->result = status;
    mfs_ucx_copy_end(&request->worker->copies, request->buffer);
    if (!request->returned) { /* it ends inside its post: mfs_ucx_hand_over does the rest */
        mfs_publish(&request->status, status);
        return;
    }
    if (request->released)
        note_loss(request, status);
    if (call_back(request))
        return;
    mfs_publish(&request->status, status);
    if (request->released)
        mfs_ucx_request_put(request);
}

ucs_status_ptr_t mfs_ucx_hand_over(struct mfs_ucx_request *request)
{
    ucs_status_ptr_t result = mfs_ucx_request_handle(request);
    const ucs_status_t status = mfs_ucx_status(request);

    if (status == UCS_INPROGRESS) {
        request->returned = true;
    } else if (request->attributes & UCP_OP_ATTR_FLAG_NO_IMM_CMPL && status == UCS_OK) {
        request->returned = true;
        if (call_back(request))
            mfs_set(&request->status, UCS_INPROGRESS);
    } else {
        mfs_ucx_request_put(request);
        result = UCS_STATUS_PTR(status);
    }
    return result;
}

unsigned mfs_ucx_deliver(struct mfs_ucx_worker *worker)
{
    unsigned delivered = 0;

    while (mfs_get(&worker->done_count) > 0) {
        struct mfs_ucx_request *request;
        ucp_send_nbx_callback_t callback = NULL;
        void *user_data = NULL;
        ucs_status_t status = UCS_OK;

        mfs_ucx_lock(worker);
        request = mfs_ucx_list_pop(&worker->done);
        if (request) {
            mfs_add_own(&worker->done_count, -1);
            status = (ucs_status_t)request->result;
            mfs_publish(&request->status, status);
            if (!request->silent)
                callback = request->callback;
            if (request->attributes & UCP_OP_ATTR_FIELD_USER_DATA)
                user_data = request->user_data;
        }
        mfs_ucx_unlock(worker);
        if (!request)
            break;
        if (callback) {
            if (status != UCS_OK)
                mfs_set(&request->seen, true);
            callback(mfs_ucx_request_handle(request), status, user_data);
        }
        mfs_ucx_lock(worker);
        request->listed = false;
        if (request->released)
            mfs_ucx_request_put(request);
        mfs_ucx_unlock(worker);
        delivered++;
    }
    return delivered;
}

void mfs_ucx_release(struct mfs_ucx_request *request, bool silent)
{
    struct mfs_ucx_worker *worker = request->worker;

    if (!worker) /* its worker was destroyed before, and the slot with it */
        return;
    mfs_ucx_lock(worker);
    request->released = true;
    request->silent |= silent;
    if (request->listed) {
        if (silent && mfs_ucx_status(request) == UCS_INPROGRESS)
            note_loss(request, (ucs_status_t)request->result);
    } else if (mfs_ucx_status(request) != UCS_INPROGRESS) {
        if (!mfs_get(&request->seen))
            note_loss(request, mfs_ucx_status(request));
        mfs_ucx_request_put(request);
    }
    mfs_ucx_unlock(worker);
}
