/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIFE OF A CHUNK: under the mutex it is taken from the queue and its bytes count
 * as in flight; without the mutex it is posted; under the mutex again the outcome
 * is noted. UCX may call chunk_done from another thread before the post has
 * returned here, so an operation is only finished when nobody is posting for it.
 */
#include "ucx/chunk.h"

#include "ucx/dispatch.h"
#include "ucx/ep.h"
#include "ucx/finish.h"
#include "ucx/flush.h"

#define LOOK_BYTES 4096u /* of a chunk, the socket takes so much at once or nothing */

/* Only what the mask says was set: the rest of the caller's struct may be garbage. */
static void param_copy(struct mfs_ucx_request *request, const ucp_request_param_t *param)
{
    request->attributes = param->op_attr_mask;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_CALLBACK)
        request->callback = param->cb.send;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_USER_DATA)
        request->user_data = param->user_data;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_MEMORY_TYPE)
        request->memory_type = (uint8_t)param->memory_type;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_MEMH)
        request->memh = param->memh;
}

struct mfs_ucx_request *mfs_ucx_request_of_operation(struct mfs_ucx_ep *ep,
                                                     const struct mfs_ucx_operation *operation)
{
    struct mfs_ucx_request *request = mfs_ucx_request_get(ep->worker, ep, operation->kind);

    if (!request)
        return NULL;
    request->lane = mfs_ucx_own_lane(operation);
    request->op.length = operation->bytes;
    request->buffer = operation->buffer;
    request->remote_addr = operation->remote_addr;
    request->rkey = operation->rkey;
    param_copy(request, operation->param);
    return request;
}

struct mfs_ucx_lane *mfs_ucx_lane_of(const struct mfs_ucx_request *request)
{
    return mfs_ucx_lane(request->ep, request->lane);
}

void mfs_ucx_end_if_over(struct mfs_ucx_request *request)
{
    if (request->queued || request->posting > 0)
        return;
    if (!request->issued) {
        request->issued = true;
        mfs_ucx_flush_left(request);
    }
    if (request->inflight == 0)
        mfs_ucx_finish(request, (ucs_status_t)request->result);
}

static void chunk_over(struct mfs_ucx_chunk *chunk, ucs_status_t status)
{
    struct mfs_ucx_request *request = chunk->request;

    if (chunk->bytes > 0)
        mfs_sender_done_now(mfs_ucx_lane_of(request)->sender, &request->ep->to[request->lane],
                            chunk->bytes, false);
    if (status != UCS_OK) {
        if (request->result == UCS_OK)
            request->result = status;
        mfs_ucx_ep_outcome(request->ep, status);
        if (request->queued) /* the rest would be lost anyway */
            mfs_ucx_dequeue(request);
    }
    if (!MFS_LIKELY(chunk->carries == MFS_MARK_NONE)) {
        mfs_marks_over(&request->ep->marks, chunk->carries);
        chunk->carries = MFS_MARK_NONE;
    }
    request->inflight--;
    mfs_ucx_chunk_put(request->worker, chunk);
}

static void chunk_done(void *ucx_request, ucs_status_t status, void *user_data)
{
    struct mfs_ucx_chunk *chunk = user_data;
    struct mfs_ucx_request *request = chunk->request;
    struct mfs_ucx_worker *worker = request->worker;

    mfs_ucx_lock(worker);
    chunk_over(chunk, status);
    mfs_ucx_end_if_over(request);
    mfs_ucx_unlock(worker);
    mfs_ucx_issue(worker);
    worker->api->ucp_request_free(ucx_request);
}

void mfs_ucx_chunk_begin(struct mfs_ucx_chunk *chunk, struct mfs_ucx_request *request,
                         uint64_t bytes)
{
    chunk->request = request;
    chunk->bytes = bytes;
    request->inflight++;
    request->posting++;
    mfs_ucx_pin(request->ep);
}

void mfs_ucx_chunk_class(struct mfs_ucx_chunk *chunk, unsigned level)
{
    if (chunk->request->kind == MFS_UCX_PUT)
        chunk->carries = mfs_marks_begin(&chunk->request->ep->marks, level);
}

/* Without the mutex. On the way of each chunk: not a call of its own. */
static inline __attribute__((always_inline)) ucs_status_ptr_t
hand_to_ucx(struct mfs_ucx_chunk *chunk, const struct mfs_ucx_request *request, uint64_t offset,
            uint64_t length)
{
    const struct mfs_ucx_api *api = request->worker->api;
    const ucp_ep_h ep = request->ep->handle;
    const ucp_request_param_t param = {
        .op_attr_mask = (request->attributes & MFS_UCX_CHUNK_ATTRIBUTES) |
                        UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = chunk_done,
        .user_data = chunk,
        .memory_type = (ucs_memory_type_t)request->memory_type,
        .memh = request->memh,
    };
    char *buffer = (char *)request->buffer + offset;
    const uint64_t remote_addr = request->remote_addr + offset;

    if (request->kind == MFS_UCX_PUT)
        return api->ucp_put_nbx(ep, buffer, length, remote_addr, request->rkey, &param);
    return api->ucp_get_nbx(ep, buffer, length, remote_addr, request->rkey, &param);
}

/* The same of a chunk with a class, and which of UCX's sockets was given its bytes, if that is not
 * known. */
static __attribute__((noinline, cold)) ucs_status_ptr_t
hand_and_look(struct mfs_ucx_chunk *chunk, const struct mfs_ucx_request *request, uint64_t offset,
              uint64_t length)
{
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_ucx_ep *ep = request->ep;
    struct mfs_sockets before;
    struct mfs_socket grown;
    ucs_status_ptr_t result;
    bool looks;

    mfs_ucx_lock(worker);
    looks = mfs_marks_want_socket(&ep->marks);
    mfs_ucx_unlock(worker);
    if (looks)
        mfs_sockets_look(&before);
    result = hand_to_ucx(chunk, request, offset, length);
    if (!looks)
        return result;
    grown = mfs_sockets_grown(&before, length < LOOK_BYTES ? length : LOOK_BYTES);
    mfs_ucx_lock(worker);
    mfs_marks_saw(&ep->marks, grown);
    mfs_ucx_unlock(worker);
    return result;
}

/* One more or less on that side of worker->posting. */
static void posting_add(struct mfs_ucx_worker *worker, unsigned side, int amount)
{
    if (worker->shared) /* release: who sees it gone calls UCX after this post */
        mfs_bump(&worker->posting[side], (uint32_t)amount);
    else
        mfs_add_own(&worker->posting[side], (uint32_t)amount);
}

void mfs_ucx_chunk_post(struct mfs_ucx_chunk *chunk, struct mfs_ucx_request *request,
                        uint64_t offset, uint64_t length)
{
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_ucx_ep *ep = request->ep;
    const unsigned side = worker->posting_side;
    ucs_status_ptr_t result;

    posting_add(worker, side, 1);
    mfs_ucx_unlock(worker);
    mfs_ucx_enter(worker);
    if (MFS_LIKELY(chunk->carries == MFS_MARK_NONE))
        result = hand_to_ucx(chunk, request, offset, length);
    else
        result = hand_and_look(chunk, request, offset, length);
    mfs_ucx_leave(worker);
    posting_add(worker, side, -1);
    mfs_ucx_lock(worker);
    if (!UCS_PTR_IS_PTR(result)) /* else chunk_done has it, and may have been called already */
        chunk_over(chunk, UCS_PTR_STATUS(result));
    request->posting--;
    mfs_ucx_end_if_over(request);
    mfs_ucx_unpin(ep);
}
