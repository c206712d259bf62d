/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIFE OF A CHUNK: under the mutex it is taken from the queue and its bytes count
 * as in flight; without the mutex it is posted; under the mutex again the outcome
 * is noted. UCX may call chunk_done from another thread before the post has
 * returned here, so an operation is only finished when nobody is posting for it.
 *
 * CALLBACKS of the caller are never called from inside a post: a finished
 * operation goes on the worker's done list, and progress delivers from there. Its
 * status is visible at once.
 */
#include "ucx/dispatch.h"

#include <errno.h>
#include <string.h>

#include "host/config.h"

/* Fields and flags of the caller's that each chunk carries on. */
#define CHUNK_ATTRIBUTES                                                                           \
    (UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FIELD_MEMH | UCP_OP_ATTR_FLAG_FAST_CMPL |         \
     UCP_OP_ATTR_FLAG_MULTI_SEND)

static struct mfs_ucx_lane *lane_of(const struct mfs_ucx_request *request)
{
    return &request->worker->lanes[request->kind == MFS_UCX_PUT ? MFS_UCX_EGRESS : MFS_UCX_INGRESS];
}

/* --- the end of requests; mutex held --- */

/* Put the callback on the done list, if one is due. */
static bool call_back(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;

    if (request->silent || !(request->param.op_attr_mask & UCP_OP_ATTR_FIELD_CALLBACK))
        return false;
    request->listed = true;
    request->next = NULL;
    if (worker->done_last)
        worker->done_last->next = request;
    else
        worker->done_first = request;
    worker->done_last = request;
    atomic_fetch_add_explicit(&worker->done, 1, memory_order_relaxed);
    return true;
}

/* Before it is handed over, hand_over does the rest. */
static void finish(struct mfs_ucx_request *request, ucs_status_t status)
{
    atomic_store_explicit(&request->status, status, memory_order_release);
    if (request->returned && !call_back(request) && request->released)
        mfs_ucx_request_put(request);
}

ucs_status_ptr_t mfs_ucx_hand_over(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;
    ucs_status_ptr_t result = request;
    ucs_status_t status;

    pthread_mutex_lock(&worker->mutex);
    status = (ucs_status_t)atomic_load_explicit(&request->status, memory_order_relaxed);
    if (status == UCS_INPROGRESS) {
        request->returned = true;
    } else if (request->param.op_attr_mask & UCP_OP_ATTR_FLAG_NO_IMM_CMPL && status == UCS_OK) {
        request->returned = true;
        (void)call_back(request);
    } else {
        mfs_ucx_request_put(request);
        result = UCS_STATUS_PTR(status);
    }
    pthread_mutex_unlock(&worker->mutex);
    return result;
}

static void flush_done(void *ucx_request, ucs_status_t status, void *user_data)
{
    struct mfs_ucx_request *flush = user_data;
    struct mfs_ucx_worker *worker = flush->worker;

    pthread_mutex_lock(&worker->mutex);
    finish(flush, status);
    pthread_mutex_unlock(&worker->mutex);
    worker->api->ucp_request_free(ucx_request);
}

/* Without the mutex: the real flush, now that everything before it was issued. */
static void flush_issue(struct mfs_ucx_worker *worker, struct mfs_ucx_request *flush)
{
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = flush_done,
        .user_data = flush,
    };
    ucs_status_ptr_t result = flush->ep ? worker->api->ucp_ep_flush_nbx(flush->ep->handle, &param)
                                        : worker->api->ucp_worker_flush_nbx(worker->handle, &param);

    if (UCS_PTR_IS_PTR(result))
        return;
    pthread_mutex_lock(&worker->mutex);
    finish(flush, UCS_PTR_STATUS(result));
    pthread_mutex_unlock(&worker->mutex);
}

static void flush_ready(struct mfs_ucx_worker *worker, struct mfs_ucx_order *order)
{
    for (;;) {
        struct mfs_ucx_request *flush;

        pthread_mutex_lock(&worker->mutex);
        flush = mfs_ucx_order_ready(order);
        pthread_mutex_unlock(&worker->mutex);
        if (!flush)
            return;
        flush_issue(worker, flush);
    }
}

/*
 * See whether an operation has been issued, or is done. Mutex held. true: flushes may
 * have become ready (of *ep and of the worker).
 */
static bool settle(struct mfs_ucx_request *request, struct mfs_ucx_ep **ep)
{
    bool flushes = false;

    if (request->queued || request->posting > 0)
        return false;
    if (!request->issued) {
        request->issued = true;
        *ep = request->ep;
        request->ep = NULL;
        for (int i = 0; i < MFS_UCX_EPOCHS; i++) {
            flushes |= request->epochs[i]->closed;
            mfs_ucx_order_leave(request->epochs[i]);
        }
        mfs_ucx_tag_order_trim(&(*ep)->tags, &request->tag);
    }
    if (request->inflight == 0 &&
        atomic_load_explicit(&request->status, memory_order_relaxed) == UCS_INPROGRESS)
        finish(request, (ucs_status_t)request->error);
    return flushes;
}

/* Flushes that wait for operations of one tag. The order itself may go meanwhile. */
static void tag_flush_ready(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                            const struct mfs_tag *tag)
{
    for (;;) {
        struct mfs_ucx_order *order;
        struct mfs_ucx_request *flush;

        pthread_mutex_lock(&worker->mutex);
        order = mfs_ucx_tag_order(&ep->tags, tag, false);
        flush = order ? mfs_ucx_order_ready(order) : NULL;
        if (order && !flush)
            mfs_ucx_tag_order_trim(&ep->tags, tag);
        pthread_mutex_unlock(&worker->mutex);
        if (!flush)
            return;
        flush_issue(worker, flush);
    }
}

static void settled(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep, const struct mfs_tag *tag)
{
    tag_flush_ready(worker, ep, tag);
    flush_ready(worker, &ep->order);
    flush_ready(worker, &worker->order);
}

/* --- the queue --- */

static void list_remove(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;

    if (request->prev)
        request->prev->next = request->next;
    else
        worker->queued_first = request->next;
    if (request->next)
        request->next->prev = request->prev;
    else
        worker->queued_last = request->prev;
    request->next = request->prev = NULL;
    request->queued = false;
    atomic_fetch_sub_explicit(&worker->queued, 1, memory_order_relaxed);
}

int mfs_ucx_enqueue(struct mfs_ucx_ep *ep, struct mfs_ucx_request *request,
                    const struct mfs_tag *tag)
{
    struct mfs_ucx_worker *worker = ep->worker;
    struct mfs_ucx_order *order;
    struct mfs_ucx_lane *lane;
    int error;

    request->tag = *tag;
    request->worker = worker;
    request->ep = ep;
    atomic_store_explicit(&request->status, UCS_INPROGRESS, memory_order_relaxed);
    lane = lane_of(request);
    pthread_mutex_lock(&worker->mutex);
    mfs_ucx_lane_settings(worker);
    error = mfs_ucx_lane_ready(worker, lane);
    if (!error)
        error = mfs_rmlq_push(lane->queue, &request->op, tag, mfs_now_ns());
    if (!error) {
        request->epochs[MFS_UCX_EPOCH_EP] = mfs_ucx_order_enter(&ep->order);
        request->epochs[MFS_UCX_EPOCH_WORKER] = mfs_ucx_order_enter(&worker->order);
        order = mfs_ucx_tag_order(&ep->tags, tag, true);
        request->epochs[MFS_UCX_EPOCH_TAG] = order ? mfs_ucx_order_enter(order) : NULL;
        if (!request->epochs[MFS_UCX_EPOCH_EP] || !request->epochs[MFS_UCX_EPOCH_WORKER] ||
            !request->epochs[MFS_UCX_EPOCH_TAG]) {
            for (int i = 0; i < MFS_UCX_EPOCHS; i++) {
                if (request->epochs[i])
                    mfs_ucx_order_leave(request->epochs[i]);
            }
            (void)mfs_rmlq_remove(lane->queue, &request->op);
            error = -ENOMEM;
        }
    }
    if (!error) {
        request->queued = true;
        request->prev = worker->queued_last;
        if (worker->queued_last)
            worker->queued_last->next = request;
        else
            worker->queued_first = request;
        worker->queued_last = request;
        atomic_fetch_add_explicit(&worker->queued, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&worker->mutex);
    return error;
}

/* --- chunks --- */

static void chunk_end(struct mfs_ucx_chunk *chunk, ucs_status_t status, bool posting)
{
    struct mfs_ucx_request *request = chunk->request;
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_ucx_lane *lane = lane_of(request);
    const struct mfs_tag tag = request->tag;
    struct mfs_ucx_ep *ep = NULL;
    bool flushes;

    pthread_mutex_lock(&worker->mutex);
    if (status != UCS_INPROGRESS) {
        if (chunk->bytes > 0) {
            lane->inflight -= chunk->bytes;
            mfs_member_done(lane->member, chunk->bytes, mfs_now_ns());
        }
        if (status != UCS_OK) {
            if (request->error == UCS_OK)
                request->error = status;
            if (request->queued) { /* the rest would be lost anyway */
                (void)mfs_rmlq_remove(lane->queue, &request->op);
                list_remove(request);
            }
        }
        request->inflight--;
        mfs_ucx_chunk_put(worker, chunk);
    }
    if (posting)
        request->posting--;
    flushes = settle(request, &ep);
    pthread_mutex_unlock(&worker->mutex);
    if (flushes)
        settled(worker, ep, &tag);
}

static void chunk_done(void *ucx_request, ucs_status_t status, void *user_data)
{
    struct mfs_ucx_chunk *chunk = user_data;
    const struct mfs_ucx_api *api = chunk->request->worker->api;

    chunk_end(chunk, status, false);
    api->ucp_request_free(ucx_request);
}

/* Without the mutex. request->posting and ->inflight count this chunk already. */
static void chunk_post(struct mfs_ucx_chunk *chunk, ucp_ep_h ep, uint64_t offset, uint64_t length)
{
    struct mfs_ucx_request *request = chunk->request;
    const struct mfs_ucx_api *api = request->worker->api;
    ucp_request_param_t param = {
        .op_attr_mask = (request->param.op_attr_mask & CHUNK_ATTRIBUTES) |
                        UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = chunk_done,
        .user_data = chunk,
        .memory_type = request->param.memory_type,
        .memh = request->param.memh,
    };
    char *buffer = (char *)request->buffer + offset;
    const uint64_t remote_addr = request->remote_addr + offset;
    ucs_status_ptr_t result =
        request->kind == MFS_UCX_PUT
            ? api->ucp_put_nbx(ep, buffer, length, remote_addr, request->rkey, &param)
            : api->ucp_get_nbx(ep, buffer, length, remote_addr, request->rkey, &param);

    if (UCS_PTR_IS_PTR(result)) {
        struct mfs_ucx_chunk pending = {.request = request};

        chunk_end(&pending, UCS_INPROGRESS, true); /* chunk itself may be gone by now */
    } else {
        chunk_end(chunk, UCS_PTR_STATUS(result), true);
    }
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
    chunk = mfs_ucx_chunk_alloc(worker);
    if (!chunk || mfs_rmlq_take(lane->queue, limit, now_ns, taken) != 0) {
        mfs_member_done(lane->member, bytes, now_ns);
        if (chunk)
            mfs_ucx_chunk_put(worker, chunk);
        lane->blocked = -ENOMEM;
        return NULL;
    }
    request = (struct mfs_ucx_request *)taken->op;
    chunk->request = request;
    chunk->bytes = bytes;
    lane->inflight += bytes;
    request->inflight++;
    request->posting++;
    if (taken->last)
        list_remove(request);
    return chunk;
}

unsigned mfs_ucx_dispatch(struct mfs_ucx_worker *worker)
{
    unsigned sent = 0;

    if (atomic_load_explicit(&worker->queued, memory_order_relaxed) == 0)
        return 0;
    for (int i = 0; i < MFS_UCX_LANES; i++) {
        struct mfs_ucx_lane *lane = &worker->lanes[i];

        for (;;) {
            struct mfs_ucx_chunk *chunk;
            struct mfs_chunk taken;
            ucp_ep_h ep = NULL;

            pthread_mutex_lock(&worker->mutex);
            mfs_ucx_lane_settings(worker);
            chunk = lane->queue ? chunk_take(worker, lane, &taken) : NULL;
            if (chunk)
                ep = chunk->request->ep->handle;
            pthread_mutex_unlock(&worker->mutex);
            if (!chunk)
                break;
            mfs_count(worker->host, MFS_COUNT_CHUNKS, 1);
            chunk_post(chunk, ep, taken.offset, taken.length);
            sent++;
        }
    }
    return sent;
}

/* The oldest queued operation (of ep), out of the queue; NULL: none. Mutex held. */
static struct mfs_ucx_request *oldest_out(struct mfs_ucx_worker *worker,
                                          const struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_request *request = worker->queued_first;

    while (request && ep && request->ep != ep)
        request = request->next;
    if (request) {
        (void)mfs_rmlq_remove(lane_of(request)->queue, &request->op);
        list_remove(request);
    }
    return request;
}

void mfs_ucx_drain(struct mfs_ucx_worker *worker, const struct mfs_ucx_ep *ep)
{
    for (;;) {
        struct mfs_ucx_request *request;
        struct mfs_ucx_chunk *chunk = NULL;
        struct mfs_ucx_ep *request_ep = NULL;
        struct mfs_tag tag = {0};
        uint64_t offset = 0;
        bool flushes = false;
        ucp_ep_h handle = NULL;

        pthread_mutex_lock(&worker->mutex);
        request = oldest_out(worker, ep);
        if (request) {
            tag = request->tag;
            chunk = mfs_ucx_chunk_alloc(worker);
            if (chunk) {
                chunk->request = request;
                chunk->bytes = 0;
                request->inflight++;
                request->posting++;
                offset = request->op.taken;
                handle = request->ep->handle;
            } else {
                request->error = UCS_ERR_NO_MEMORY;
                flushes = settle(request, &request_ep);
            }
        }
        pthread_mutex_unlock(&worker->mutex);
        if (!request)
            return;
        if (chunk)
            chunk_post(chunk, handle, offset, request->op.length - offset);
        else if (flushes)
            settled(worker, request_ep, &tag);
    }
}

void mfs_ucx_abandon(struct mfs_ucx_worker *worker, const struct mfs_ucx_ep *ep,
                     ucs_status_t status)
{
    for (;;) {
        struct mfs_ucx_request *request;
        struct mfs_ucx_ep *request_ep = NULL;
        struct mfs_tag tag = {0};
        bool flushes = false;

        pthread_mutex_lock(&worker->mutex);
        request = oldest_out(worker, ep);
        if (request) {
            tag = request->tag;
            if (request->error == UCS_OK)
                request->error = status;
            flushes = settle(request, &request_ep);
        }
        pthread_mutex_unlock(&worker->mutex);
        if (!request)
            return;
        if (flushes)
            settled(worker, request_ep, &tag);
    }
}

bool mfs_ucx_cancel(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;
    const struct mfs_tag tag = request->tag;
    struct mfs_ucx_ep *ep = NULL;
    bool canceled, flushes = false;

    pthread_mutex_lock(&worker->mutex);
    canceled = request->queued && request->op.taken == 0;
    if (canceled) {
        (void)mfs_rmlq_remove(lane_of(request)->queue, &request->op);
        list_remove(request);
        request->error = UCS_ERR_CANCELED;
        flushes = settle(request, &ep);
    }
    pthread_mutex_unlock(&worker->mutex);
    if (flushes)
        settled(worker, ep, &tag);
    return canceled;
}

/* What a flush waits for. NULL: nothing of its tag. Mutex held. */
static struct mfs_ucx_order *flush_order(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                                         const struct mfs_tag *tag)
{
    if (!ep)
        return &worker->order;
    if (tag->request == MFS_REQUEST_NONE && tag->stage == MFS_STAGE_NONE)
        return &ep->order;
    return mfs_ucx_tag_order(&ep->tags, tag, false);
}

bool mfs_ucx_flush_pending(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                           const struct mfs_tag *tag)
{
    struct mfs_ucx_order *order;
    bool pending;

    pthread_mutex_lock(&worker->mutex);
    order = flush_order(worker, ep, tag);
    pending = order && mfs_ucx_order_pending(order);
    pthread_mutex_unlock(&worker->mutex);
    return pending;
}

int mfs_ucx_flush_defer(struct mfs_ucx_request *flush)
{
    struct mfs_ucx_worker *worker = flush->worker;
    struct mfs_ucx_order *order;
    int error = -ENOENT;

    atomic_store_explicit(&flush->status, UCS_INPROGRESS, memory_order_relaxed);
    flush->kind = MFS_UCX_FLUSH;
    flush->returned = true;
    pthread_mutex_lock(&worker->mutex);
    order = flush_order(worker, flush->ep, &flush->tag);
    if (order && mfs_ucx_order_pending(order))
        error = mfs_ucx_order_close(order, flush);
    pthread_mutex_unlock(&worker->mutex);
    return error;
}

/* --- callbacks and release --- */

unsigned mfs_ucx_deliver(struct mfs_ucx_worker *worker)
{
    unsigned delivered = 0;

    while (atomic_load_explicit(&worker->done, memory_order_relaxed) > 0) {
        struct mfs_ucx_request *request;
        ucp_request_param_t param;
        bool silent;

        pthread_mutex_lock(&worker->mutex);
        request = worker->done_first;
        if (!request) {
            pthread_mutex_unlock(&worker->mutex);
            break;
        }
        worker->done_first = request->next;
        if (!worker->done_first)
            worker->done_last = NULL;
        atomic_fetch_sub_explicit(&worker->done, 1, memory_order_relaxed);
        silent = request->silent;
        param = request->param;
        pthread_mutex_unlock(&worker->mutex);
        if (!silent)
            param.cb.send(
                request, (ucs_status_t)atomic_load_explicit(&request->status, memory_order_relaxed),
                param.op_attr_mask & UCP_OP_ATTR_FIELD_USER_DATA ? param.user_data : NULL);
        pthread_mutex_lock(&worker->mutex);
        request->listed = false;
        if (request->released)
            mfs_ucx_request_put(request);
        pthread_mutex_unlock(&worker->mutex);
        delivered++;
    }
    return delivered;
}

void mfs_ucx_release(struct mfs_ucx_request *request, bool silent)
{
    struct mfs_ucx_worker *worker = request->worker;

    pthread_mutex_lock(&worker->mutex);
    request->released = true;
    request->silent |= silent;
    if (!request->listed &&
        atomic_load_explicit(&request->status, memory_order_relaxed) != UCS_INPROGRESS)
        mfs_ucx_request_put(request);
    pthread_mutex_unlock(&worker->mutex);
}

bool mfs_ucx_restless(struct mfs_ucx_worker *worker)
{
    bool restless;

    if (atomic_load_explicit(&worker->done, memory_order_relaxed) > 0)
        return true;
    if (atomic_load_explicit(&worker->queued, memory_order_relaxed) == 0)
        return false;
    pthread_mutex_lock(&worker->mutex);
    restless = false;
    for (int i = 0; i < MFS_UCX_LANES; i++) {
        struct mfs_ucx_lane *lane = &worker->lanes[i];

        /* waiting for our own bytes: UCX's event tells; anything else: nobody will */
        if (lane->queue && mfs_rmlq_operations(lane->queue) > 0 &&
            !(lane->blocked == -ENOBUFS && lane->inflight > 0))
            restless = true;
    }
    pthread_mutex_unlock(&worker->mutex);
    return restless;
}
