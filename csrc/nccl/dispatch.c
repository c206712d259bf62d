/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/dispatch.h"

#include <errno.h>
#include <stdlib.h>

#include "host/queue.h"
#include "nccl/comm.h"
#include "nccl/eager.h"
#include "nccl/peer.h"

static void count(struct mfs_nccl_engine *engine, enum mfs_counter counter, uint64_t amount)
{
    mfs_count_by(engine->host, engine->counts, counter, amount);
}

/* --- the queue and the port --- */

int mfs_nccl_queue_open(struct mfs_nccl_engine *engine)
{
    int error = mfs_port_open(engine->host, engine->device->port, MFS_EGRESS, &engine->port);

    if (!error)
        error = mfs_port_join(engine->host, engine->port, &engine->member);
    if (error)
        return error;
    engine->settings_version = mfs_host_settings_version(engine->host);
    return mfs_queue_create(engine->host, engine->port, &engine->queue);
}

static void settings(struct mfs_nccl_engine *engine)
{
    const uint64_t version = mfs_host_settings_version(engine->host);

    if (!engine->queue || version == engine->settings_version)
        return;
    engine->settings_version = version;
    engine->scheduled = mfs_nccl_scheduled();
    mfs_queue_settings(engine->host, engine->port, engine->queue);
}

/* --- chunks --- */

static struct mfs_nccl_chunk *chunk_get(struct mfs_nccl_engine *engine)
{
    enum { SLAB = 64 };
    struct mfs_nccl_chunk *chunk;

    if (!engine->free_chunks) {
        struct mfs_nccl_chunk *slab = calloc(SLAB, sizeof(*slab));

        if (!slab)
            return NULL;
        slab->next = engine->slabs;
        engine->slabs = slab;
        for (int i = 1; i < SLAB; i++) {
            slab[i].next = engine->free_chunks;
            engine->free_chunks = &slab[i];
        }
    }
    chunk = engine->free_chunks;
    engine->free_chunks = chunk->next;
    return chunk;
}

void mfs_nccl_window_done(struct mfs_nccl_engine *engine, uint64_t bytes)
{
    if (bytes == 0)
        return;
    engine->inflight -= bytes;
    mfs_member_done_now(engine->member, bytes, bytes);
}

void mfs_nccl_engine_finish_later(struct mfs_nccl_request *request)
{
    struct mfs_nccl_engine *engine = request->comm->engine;

    if (!request->sent || request->inflight > 0 || request->in_list)
        return;
    request->in_list = true;
    request->next = NULL;
    *(engine->put_last ? &engine->put_last->next : &engine->put_first) = request;
    engine->put_last = request;
}

static void chunk_over(struct mfs_nccl_chunk *chunk, ucs_status_t status)
{
    struct mfs_nccl_request *request = chunk->request;
    struct mfs_nccl_comm *comm = request->comm;
    struct mfs_nccl_engine *engine = comm->engine;

    mfs_nccl_window_done(engine, chunk->window_bytes);
    comm->peer->inflight[chunk->channel] -= chunk->bytes;
    request->inflight--;
    comm->inflight--;
    if (status != UCS_OK) {
        const char *reason = engine->ucx->ucs_status_string(status);

        if (comm->result == MFS_NCCL_OK)
            mfs_nccl_peer_fail(comm->peer, reason);
    }
    chunk->next = engine->free_chunks;
    engine->free_chunks = chunk;
    mfs_nccl_engine_finish_later(request);
}

static void on_chunk_done(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_chunk *chunk = user;
    const struct mfs_nccl_ucx *ucx = chunk->request->comm->engine->ucx;

    chunk_over(chunk, status);
    ucx->ucp_request_free(ucx_request);
}

static void chunk_put(struct mfs_nccl_chunk *chunk, uint64_t offset)
{
    struct mfs_nccl_request *request = chunk->request;
    struct mfs_nccl_engine *engine = request->comm->engine;
    struct mfs_nccl_peer *peer = request->comm->peer;
    const unsigned klass = chunk->channel / (engine->channels / engine->classes);
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = on_chunk_done,
        .user_data = chunk,
    };
    ucs_status_ptr_t result;

    if (request->mr && request->mr->memh[klass]) {
        param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
        param.memh = request->mr->memh[klass];
    }
    request->comm->has_put = true;
    request->comm->has_put_cuda |= !request->host;
    peer->inflight[chunk->channel] += chunk->bytes;
    request->channel_bytes[chunk->channel] += chunk->bytes;
    request->inflight++;
    request->comm->inflight++;
    result = engine->ucx->ucp_put_nbx(peer->eps[chunk->channel], request->data + offset,
                                      chunk->bytes, request->remote + offset,
                                      request->key->rkeys[chunk->channel], &param);
    if (!UCS_PTR_IS_PTR(result))
        chunk_over(chunk, UCS_PTR_STATUS(result));
}

static struct mfs_nccl_chunk *chunk_begin(struct mfs_nccl_request *request, unsigned level,
                                          uint64_t bytes, uint64_t window_bytes)
{
    struct mfs_nccl_chunk *chunk = chunk_get(request->comm->engine);

    if (chunk)
        *chunk = (struct mfs_nccl_chunk){
            .request = request,
            .bytes = bytes,
            .window_bytes = window_bytes,
            .channel = mfs_nccl_peer_channel(request->comm->peer, mfs_nccl_class_of(level)),
        };
    return chunk;
}

/* Without queue and window, as there is no order. -ENOMEM. */
static int put_now(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    const uint64_t channels = engine->channels / engine->classes;
    uint64_t part = (request->bytes + channels - 1) / channels, offset = 0;

    if (part < 65536)
        part = 65536;
    part = (part + 127) / 128 * 128;
    do {
        const uint64_t left = request->bytes - offset;
        const uint64_t bytes = left < part ? left : part;
        struct mfs_nccl_chunk *chunk = chunk_begin(request, 0, bytes, 0);

        if (!chunk)
            return -ENOMEM;
        request->sent = offset + bytes == request->bytes;
        chunk_put(chunk, offset);
        offset += bytes;
    } while (offset < request->bytes && request->comm->result == MFS_NCCL_OK);
    return 0;
}

/* --- the queue --- */

/* More flows at one time than the queue knows: a coarser tag will do. */
static int push(struct mfs_rmlq *queue, struct mfs_op *op, const struct mfs_tag *tag)
{
    const struct mfs_tag stage = {MFS_REQUEST_NONE, 0, tag->stage};
    const int64_t now_ns = mfs_now_ns();
    int error = mfs_rmlq_push(queue, op, tag, now_ns);

    return error == -ENOSPC ? mfs_rmlq_push(queue, op, &stage, now_ns) : error;
}

static void send_now(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    count(engine, MFS_COUNT_STRAIGHT, 1);
    if (request->kind == MFS_NCCL_EAGER)
        mfs_nccl_eager_send(request, mfs_nccl_class_of(0));
    else if (put_now(engine, request) != 0)
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
}

static bool waits(struct mfs_nccl_engine *engine, const struct mfs_nccl_request *request)
{
    if (request->bytes == 0 || !engine->queue)
        return false;
    if (request->bytes <= engine->small_bytes && !engine->waiting)
        return false; /* the way of a small message on an idle port: nothing else is looked at */
    settings(engine);
    return engine->scheduled;
}

static void count_call(struct mfs_nccl_engine *engine, uint64_t bytes)
{
    count(engine, MFS_COUNT_CALLS, 1);
    count(engine, MFS_COUNT_BYTES, bytes);
}

/* A message of one chunk that finds the port idle: it sees the window, but no queue. */
static bool express(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    struct mfs_nccl_chunk *chunk = NULL;

    if (engine->waiting || engine->classes > 1 || /* its class is that of its level */
        mfs_member_express(engine->member, request->bytes, 0) != 0)
        return false;
    engine->inflight += request->bytes;
    if (request->kind != MFS_NCCL_EAGER)
        chunk = chunk_begin(request, 0, request->bytes, request->bytes);
    count(engine, MFS_COUNT_DEFERRED, 1);
    count(engine, MFS_COUNT_CHUNKS, 1);
    if (chunk) {
        request->sent = true;
        chunk_put(chunk, 0);
    } else if (request->kind == MFS_NCCL_EAGER) {
        request->window_bytes = request->bytes;
        mfs_nccl_eager_send(request, 0);
    } else {
        mfs_nccl_window_done(engine, request->bytes);
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
    }
    return true;
}

void mfs_nccl_engine_submit(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    const uint64_t bytes = request->bytes; /* it may be over before it is counted */
    struct mfs_tag tag;

    if (!waits(engine, request)) {
        send_now(engine, request); /* first: it travels while the rest is done */
        count_call(engine, bytes);
        count(engine, MFS_COUNT_TAGGED, mfs_batch_get().request != MFS_REQUEST_NONE);
        return;
    }
    count_call(engine, bytes);
    tag = mfs_nccl_message_tag_get(&engine->context->message_tag);
    count(engine, MFS_COUNT_TAGGED, tag.request != MFS_REQUEST_NONE);
    if (express(engine, request))
        return;
    request->op = (struct mfs_op){.length = request->bytes};
    if (push(engine->queue, &request->op, &tag) != 0) { /* fail open */
        count(engine, MFS_COUNT_FAULTS, 1);
        send_now(engine, request);
        return;
    }
    request->queued = engine->waiting = true;
    count(engine, MFS_COUNT_DEFERRED, 1);
    mfs_nccl_engine_dispatch(engine);
}

static void rest(struct mfs_nccl_engine *engine, int64_t now_ns)
{
    engine->waiting = mfs_rmlq_operations(engine->queue) > 0;
    if (!engine->waiting)
        mfs_member_publish(engine->member, MFS_RANK_NONE, now_ns);
}

void mfs_nccl_engine_withdraw(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    if (!request->queued)
        return;
    request->queued = false;
    request->sent = true; /* as much of it as ever will be */
    (void)mfs_rmlq_remove(engine->queue, &request->op);
    mfs_nccl_window_done(engine, request->window_bytes);
    request->window_bytes = 0;
    rest(engine, mfs_now_ns());
}

/* It goes whole, however small chunks and window are, when its first chunk may. */
static void take_whole(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request,
                       int64_t now_ns)
{
    const uint64_t left = request->bytes - request->window_bytes;

    (void)mfs_rmlq_remove(engine->queue, &request->op);
    mfs_member_overdraw(engine->member, left);
    engine->inflight += left;
    request->window_bytes += left;
    request->queued = false;
    rest(engine, now_ns);
}

/* Take the best chunk if the port allows, and send it. */
static bool send_best(struct mfs_nccl_engine *engine)
{
    const int64_t now_ns = mfs_now_ns();
    const uint64_t limit = mfs_port_chunk(engine->port);
    struct mfs_nccl_request *request;
    struct mfs_nccl_chunk *chunk;
    struct mfs_chunk taken;
    struct mfs_next next;
    uint64_t bytes = 0;
    bool turn = false;

    mfs_rmlq_set_rate(engine->queue, mfs_port_rate_Bps(engine->port), now_ns);
    mfs_rmlq_peek_next(engine->queue, limit, now_ns, &next);
    if (mfs_member_acquire_next(engine->member, &next, now_ns, &turn, &bytes) != 0)
        return false;
    if (mfs_rmlq_take_next(engine->queue, limit, turn, &taken) != 0) {
        mfs_member_done(engine->member, bytes, now_ns);
        return false;
    }
    request = (struct mfs_nccl_request *)(void *)((char *)taken.op -
                                                  offsetof(struct mfs_nccl_request, op));
    engine->inflight += bytes;
    request->queued = !taken.last;
    if (taken.last)
        rest(engine, now_ns);
    if (request->kind == MFS_NCCL_EAGER) {
        request->window_bytes = bytes;
        if (!taken.last)
            take_whole(engine, request, now_ns);
        mfs_nccl_eager_send(request, mfs_nccl_class_of(mfs_rank_level(taken.rank)));
        return true;
    }
    chunk = chunk_begin(request, mfs_rank_level(taken.rank), taken.length, bytes);
    if (!chunk) {
        mfs_nccl_window_done(engine, bytes);
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
        return false;
    }
    request->sent = taken.last;
    chunk_put(chunk, taken.offset);
    return true;
}

void mfs_nccl_engine_dispatch(struct mfs_nccl_engine *engine)
{
    uint64_t sent = 0, promotions;

    if (!engine->waiting)
        return;
    settings(engine);
    while (engine->waiting && send_best(engine))
        sent++;
    count(engine, MFS_COUNT_CHUNKS, sent);
    promotions = mfs_rmlq_promotions(engine->queue);
    count(engine, MFS_COUNT_PROMOTIONS, promotions - engine->promotions);
    engine->promotions = promotions;
}
