/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIFE OF A CHUNK: under the mutex it is taken from the queue and its bytes count
 * as in flight; without the mutex it is posted; under the mutex again the outcome
 * is noted. UCX may call chunk_done from another thread before the post has
 * returned here, so an operation is only finished when nobody is posting for it.
 */
#include "ucx/dispatch.h"

#include <errno.h>

#include "ucx/finish.h"
#include "ucx/flush.h"

/* Fields and flags of the caller's that each chunk carries on. */
#define CHUNK_ATTRIBUTES                                                                           \
    (UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FIELD_MEMH | UCP_OP_ATTR_FLAG_FAST_CMPL |         \
     UCP_OP_ATTR_FLAG_MULTI_SEND)

static struct mfs_ucx_lane *lane_of(const struct mfs_ucx_request *request)
{
    return &request->worker->lanes[request->kind == MFS_UCX_PUT ? MFS_UCX_EGRESS : MFS_UCX_INGRESS];
}

/* --- the queue; mutex held --- */

static void list_add(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_ucx_ep *ep = request->ep;

    request->queued = true;
    request->prev = worker->queued.last;
    *(worker->queued.last ? &worker->queued.last->next : &worker->queued.first) = request;
    worker->queued.last = request;
    request->ep_prev = ep->queued.last;
    *(ep->queued.last ? &ep->queued.last->ep_next : &ep->queued.first) = request;
    ep->queued.last = request;
    atomic_fetch_add_explicit(&worker->queued_count, 1, memory_order_relaxed);
}

static void list_remove(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_ucx_ep *ep = request->ep;

    *(request->prev ? &request->prev->next : &worker->queued.first) = request->next;
    *(request->next ? &request->next->prev : &worker->queued.last) = request->prev;
    *(request->ep_prev ? &request->ep_prev->ep_next : &ep->queued.first) = request->ep_next;
    *(request->ep_next ? &request->ep_next->ep_prev : &ep->queued.last) = request->ep_prev;
    request->next = request->prev = request->ep_next = request->ep_prev = NULL;
    request->queued = false;
    atomic_fetch_sub_explicit(&worker->queued_count, 1, memory_order_relaxed);
}

/* Out of the queue before all of it was taken. */
static void dequeue(struct mfs_ucx_request *request)
{
    (void)mfs_rmlq_remove(lane_of(request)->queue, &request->op);
    list_remove(request);
}

/* It has been issued: flushes may wait for nothing more. */
static void order_leave(struct mfs_ucx_request *request)
{
    for (int i = 0; i < MFS_UCX_EPOCHS; i++) {
        struct mfs_ucx_order *order;

        if (!request->epochs[i])
            continue;
        order = request->epochs[i]->order;
        mfs_ucx_order_leave(request->epochs[i]);
        request->epochs[i] = NULL;
        mfs_ucx_flush_collect(request->worker, order);
        if (i == MFS_UCX_EPOCH_TAG)
            mfs_ucx_tag_order_trim(&request->ep->tags, order);
    }
}

/* See whether an operation has been issued, and whether it is done. */
static void settle(struct mfs_ucx_request *request)
{
    if (request->queued || request->posting > 0)
        return;
    if (!request->issued) {
        request->issued = true;
        order_leave(request);
    }
    if (request->inflight == 0)
        mfs_ucx_finish(request, (ucs_status_t)request->result);
}

/* Count it in the epochs that a later flush will wait for. */
static int order_enter(struct mfs_ucx_request *request, const struct mfs_tag *tag)
{
    const int epochs = mfs_ucx_tagged(tag) ? MFS_UCX_EPOCHS : MFS_UCX_EPOCH_TAG;
    struct mfs_ucx_order *orders[MFS_UCX_EPOCHS] = {
        [MFS_UCX_EPOCH_EP] = &request->ep->order,
        [MFS_UCX_EPOCH_WORKER] = &request->worker->order,
    };

    if (epochs > MFS_UCX_EPOCH_TAG)
        orders[MFS_UCX_EPOCH_TAG] = mfs_ucx_tag_order(&request->ep->tags, tag, true);
    for (int i = 0; i < epochs; i++) {
        request->epochs[i] = orders[i] ? mfs_ucx_order_enter(orders[i]) : NULL;
        if (!request->epochs[i]) {
            order_leave(request);
            return -ENOMEM;
        }
    }
    return 0;
}

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

static int enqueue(struct mfs_ucx_request *request, const struct mfs_tag *tag)
{
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_ucx_lane *lane = lane_of(request);
    int error;

    mfs_ucx_lane_settings(worker);
    error = mfs_ucx_lane_ready(worker, lane);
    if (error)
        return error;
    error = order_enter(request, tag);
    if (error)
        return error;
    error = mfs_rmlq_push(lane->queue, &request->op, tag, mfs_now_ns());
    if (error) {
        order_leave(request);
        return error;
    }
    list_add(request);
    return 0;
}

int mfs_ucx_enqueue(struct mfs_ucx_ep *ep, const struct mfs_ucx_operation *operation,
                    const struct mfs_tag *tag, struct mfs_ucx_request **out)
{
    struct mfs_ucx_worker *worker = ep->worker;
    struct mfs_ucx_request *request;
    int error = -ENOMEM;

    pthread_mutex_lock(&worker->mutex);
    request = mfs_ucx_request_get(worker, ep, operation->kind);
    if (request) {
        request->op.length = operation->bytes;
        request->buffer = operation->buffer;
        request->remote_addr = operation->remote_addr;
        request->rkey = operation->rkey;
        param_copy(request, operation->param);
        error = enqueue(request, tag);
        if (error)
            mfs_ucx_request_put(request);
        else
            *out = request;
    }
    pthread_mutex_unlock(&worker->mutex);
    return error;
}

/* --- chunks --- */

/* The peer is gone for good: what waits for it will fail like this. */
static bool is_failure(ucs_status_t status)
{
    return status == UCS_ERR_CONNECTION_RESET || status == UCS_ERR_ENDPOINT_TIMEOUT ||
           status == UCS_ERR_UNREACHABLE || status == UCS_ERR_NOT_CONNECTED ||
           status == UCS_ERR_REJECTED || status == UCS_ERR_IO_ERROR;
}

static void chunk_over(struct mfs_ucx_chunk *chunk, ucs_status_t status)
{
    struct mfs_ucx_request *request = chunk->request;
    struct mfs_ucx_lane *lane = lane_of(request);

    if (chunk->bytes > 0) {
        lane->inflight -= chunk->bytes;
        mfs_member_done(lane->member, chunk->bytes, mfs_now_ns());
    }
    if (status != UCS_OK) {
        if (request->result == UCS_OK)
            request->result = status;
        if (is_failure(status))
            request->ep->failed = status;
        if (request->queued) /* the rest would be lost anyway */
            dequeue(request);
    }
    request->inflight--;
    mfs_ucx_chunk_put(request->worker, chunk);
}

static void chunk_done(void *ucx_request, ucs_status_t status, void *user_data)
{
    struct mfs_ucx_chunk *chunk = user_data;
    struct mfs_ucx_request *request = chunk->request;
    struct mfs_ucx_worker *worker = request->worker;

    pthread_mutex_lock(&worker->mutex);
    chunk_over(chunk, status);
    settle(request);
    pthread_mutex_unlock(&worker->mutex);
    mfs_ucx_issue(worker);
    worker->api->ucp_request_free(ucx_request);
}

/* For a chunk that is about to be posted. Mutex held. */
static void chunk_begin(struct mfs_ucx_chunk *chunk, struct mfs_ucx_request *request,
                        uint64_t bytes)
{
    chunk->request = request;
    chunk->bytes = bytes;
    request->inflight++;
    request->posting++;
    mfs_ucx_pin(request->ep);
}

/* Without the mutex, after chunk_begin. The request may be gone when this returns. */
static void chunk_post(struct mfs_ucx_chunk *chunk, struct mfs_ucx_request *request,
                       uint64_t offset, uint64_t length)
{
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_ucx_ep *ep = request->ep;
    const ucp_request_param_t param = {
        .op_attr_mask = (request->attributes & CHUNK_ATTRIBUTES) | UCP_OP_ATTR_FIELD_CALLBACK |
                        UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = chunk_done,
        .user_data = chunk,
        .memory_type = (ucs_memory_type_t)request->memory_type,
        .memh = request->memh,
    };
    char *buffer = (char *)request->buffer + offset;
    const uint64_t remote_addr = request->remote_addr + offset;
    ucs_status_ptr_t result;

    if (request->kind == MFS_UCX_PUT)
        result = worker->api->ucp_put_nbx(ep->handle, buffer, length, remote_addr, request->rkey,
                                          &param);
    else
        result = worker->api->ucp_get_nbx(ep->handle, buffer, length, remote_addr, request->rkey,
                                          &param);
    pthread_mutex_lock(&worker->mutex);
    if (!UCS_PTR_IS_PTR(result)) /* else chunk_done has it, and may have been called already */
        chunk_over(chunk, UCS_PTR_STATUS(result));
    request->posting--;
    settle(request);
    mfs_ucx_unpin(ep);
    pthread_mutex_unlock(&worker->mutex);
    mfs_ucx_issue(worker);
}

/* Take the lane's best chunk if the port allows. NULL: not now (lane->blocked says why). */
static struct mfs_ucx_chunk *chunk_take(struct mfs_ucx_worker *worker, struct mfs_ucx_lane *lane,
                                        struct mfs_chunk *taken)
{
    const int64_t now_ns = mfs_now_ns();
    struct mfs_ucx_request *request;
    struct mfs_ucx_chunk *chunk;
    uint64_t limit, bytes, promotions;
    mfs_rank_t rank;

    mfs_rmlq_set_rate(lane->queue, mfs_port_rate_Bps(lane->port), now_ns);
    rank = mfs_rmlq_peek(lane->queue, now_ns);
    promotions = mfs_rmlq_promotions(lane->queue);
    if (promotions != lane->promotions) {
        mfs_count(worker->host, MFS_COUNT_PROMOTIONS, promotions - lane->promotions);
        lane->promotions = promotions;
    }
    lane->blocked = 0;
    if (rank == MFS_RANK_NONE) {
        mfs_member_publish(lane->member, rank, now_ns);
        return NULL;
    }
    limit = mfs_port_chunk(lane->port);
    bytes = mfs_rmlq_peek_bytes(lane->queue, limit);
    lane->blocked = mfs_member_acquire(lane->member, rank, bytes, now_ns);
    if (lane->blocked)
        return NULL;
    chunk = mfs_ucx_chunk_get(worker);
    if (!chunk || mfs_rmlq_take(lane->queue, limit, now_ns, taken) != 0) {
        mfs_member_done(lane->member, bytes, now_ns);
        if (chunk)
            mfs_ucx_chunk_put(worker, chunk);
        lane->blocked = -ENOMEM;
        return NULL;
    }
    request = (struct mfs_ucx_request *)taken->op;
    lane->inflight += bytes;
    chunk_begin(chunk, request, bytes);
    if (taken->last)
        list_remove(request);
    return chunk;
}

unsigned mfs_ucx_dispatch(struct mfs_ucx_worker *worker)
{
    unsigned sent = 0;

    if (atomic_load_explicit(&worker->queued_count, memory_order_relaxed) == 0)
        return 0;
    for (int i = 0; i < MFS_UCX_LANES; i++) {
        struct mfs_ucx_lane *lane = &worker->lanes[i];

        for (;;) {
            struct mfs_ucx_chunk *chunk = NULL;
            struct mfs_chunk taken;

            pthread_mutex_lock(&worker->mutex);
            if (lane->queue) {
                mfs_ucx_lane_settings(worker);
                chunk = chunk_take(worker, lane, &taken);
            }
            pthread_mutex_unlock(&worker->mutex);
            if (!chunk)
                break;
            mfs_count(worker->host, MFS_COUNT_CHUNKS, 1);
            chunk_post(chunk, (struct mfs_ucx_request *)taken.op, taken.offset, taken.length);
            sent++;
        }
    }
    return sent;
}

/* --- all at once --- */

/* The oldest queued operation (of ep), out of the queue; NULL: none. Mutex held. */
static struct mfs_ucx_request *oldest_out(struct mfs_ucx_worker *worker,
                                          const struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_request *request = ep ? ep->queued.first : worker->queued.first;

    if (request)
        dequeue(request);
    return request;
}

void mfs_ucx_drain(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep)
{
    for (;;) {
        struct mfs_ucx_request *request;
        struct mfs_ucx_chunk *chunk = NULL;
        uint64_t offset = 0;

        pthread_mutex_lock(&worker->mutex);
        request = oldest_out(worker, ep);
        if (request) {
            offset = request->op.taken;
            chunk = mfs_ucx_chunk_get(worker);
            if (chunk) {
                chunk_begin(chunk, request, 0);
            } else {
                request->result = UCS_ERR_NO_MEMORY;
                settle(request);
            }
        }
        pthread_mutex_unlock(&worker->mutex);
        if (!request)
            return;
        if (chunk)
            chunk_post(chunk, request, offset, request->op.length - offset);
        else
            mfs_ucx_issue(worker);
    }
}

void mfs_ucx_abandon(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep, ucs_status_t status)
{
    struct mfs_ucx_request *request;

    pthread_mutex_lock(&worker->mutex);
    while ((request = oldest_out(worker, ep)) != NULL) {
        if (request->result == UCS_OK)
            request->result = request->ep->failed != UCS_OK ? request->ep->failed : status;
        settle(request);
    }
    pthread_mutex_unlock(&worker->mutex);
    mfs_ucx_issue(worker);
}

bool mfs_ucx_cancel(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;
    bool canceled;

    pthread_mutex_lock(&worker->mutex);
    canceled = request->queued && request->op.taken == 0;
    if (canceled) {
        dequeue(request);
        request->canceled = true;
        request->result = UCS_ERR_CANCELED;
        settle(request);
    }
    pthread_mutex_unlock(&worker->mutex);
    mfs_ucx_issue(worker);
    return canceled;
}

bool mfs_ucx_restless(struct mfs_ucx_worker *worker)
{
    bool restless = false;

    if (atomic_load_explicit(&worker->done_count, memory_order_relaxed) > 0)
        return true;
    if (atomic_load_explicit(&worker->queued_count, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&worker->mutex);
    for (int i = 0; i < MFS_UCX_LANES; i++) {
        struct mfs_ucx_lane *lane = &worker->lanes[i];

        /* waiting for our own bytes: UCX's event tells; anything else: nobody will */
        if (lane->queue && mfs_rmlq_operations(lane->queue) > 0 &&
            (lane->blocked != -ENOBUFS || lane->inflight == 0 || worker->sleepless))
            restless = true;
    }
    pthread_mutex_unlock(&worker->mutex);
    return restless;
}
