/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/dispatch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/warned.h"
#include "nccl/comm.h"
#include "nccl/eager.h"
#include "nccl/far.h"
#include "nccl/log.h"
#include "nccl/marks.h"
#include "nccl/peer.h"
#include "nccl/queue.h"

#define NO_ROOM "NCCL: the queue took no more: a message goes in its original order"

static void count(struct mfs_nccl_engine *engine, enum mfs_counter counter, uint64_t amount)
{
    mfs_count_by(engine->host, engine->counts, counter, amount);
}

/* --- the queue and the port --- */

static void post(void *ctx, const struct mfs_chunk *next);

static void peer_stalled(void *ctx, const struct mfs_destination *destination, int64_t age_ns)
{
    const struct mfs_nccl_peer *peer = destination->user;

    (void)ctx;
    mfs_nccl_warn(
        "%s takes no bytes since %.1f s: %llu messages wait for it; those to others go on",
        peer->name, (double)age_ns * 1e-9, (unsigned long long)destination->voq.operations);
}

static void peer_describe(void *ctx, const struct mfs_destination *destination, char *name,
                          size_t size)
{
    (void)ctx;
    snprintf(name, size, "%s", ((const struct mfs_nccl_peer *)destination->user)->name);
}

int mfs_nccl_sender_open(struct mfs_nccl_engine *engine)
{
    const struct mfs_transport_ops transport = {
        .post = post, .stalled = peer_stalled, .ctx = engine, .describe = peer_describe};

    engine->settings_version = mfs_host_settings_version(engine->host);
    return mfs_sender_join(engine->host, engine->device->port, MFS_EGRESS, &transport,
                           &engine->sender);
}

/* The peer as a destination. NULL: no memory. */
static struct mfs_destination *to(struct mfs_nccl_peer *peer)
{
    if (MFS_LIKELY(peer->to.user != NULL))
        return &peer->to;
    if (mfs_sender_open(peer->engine->sender, &peer->to, peer) != 0) {
        peer->to.user = NULL;
        return NULL;
    }
    mfs_nccl_far_enter(peer->engine); /* the agent may have come since it was made */
    peer->to.end.peer = mfs_nccl_far_uid(peer->uuid);
    return &peer->to;
}

static void settings(struct mfs_nccl_engine *engine)
{
    const uint64_t version = mfs_host_settings_version(engine->host);

    if (!engine->sender || version == engine->settings_version)
        return;
    engine->settings_version = version;
    engine->scheduled = mfs_nccl_scheduled();
    mfs_sender_follow(engine->sender);
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

static void chunk_over(struct mfs_nccl_chunk *chunk, ucs_status_t status)
{
    struct mfs_nccl_request *request = chunk->request;
    struct mfs_nccl_comm *comm = request->comm;
    struct mfs_nccl_engine *engine = comm->engine;

    mfs_nccl_window_done(comm->peer, chunk->window_bytes);
    mfs_nccl_mark_over(comm->peer, chunk->channel, chunk->carries);
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
    mfs_nccl_mark_look(peer, chunk->channel);
    result = engine->ucx->ucp_put_nbx(peer->eps[chunk->channel], request->data + offset,
                                      chunk->bytes, request->remote + offset,
                                      request->key->rkeys[chunk->channel], &param);
    mfs_nccl_mark_saw(peer, chunk->channel, chunk->bytes);
    if (!UCS_PTR_IS_PTR(result))
        chunk_over(chunk, UCS_PTR_STATUS(result));
}

static struct mfs_nccl_chunk *chunk_begin(struct mfs_nccl_request *request, unsigned level,
                                          uint64_t bytes, uint64_t window_bytes)
{
    struct mfs_nccl_peer *peer = request->comm->peer;
    struct mfs_nccl_chunk *chunk = chunk_get(request->comm->engine);

    if (!chunk)
        return NULL;
    *chunk = (struct mfs_nccl_chunk){
        .request = request,
        .bytes = bytes,
        .window_bytes = window_bytes,
        .channel = mfs_nccl_peer_channel(peer, mfs_nccl_class_of(level)),
    };
    chunk->carries = mfs_nccl_mark_begin(peer, chunk->channel, level);
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

static void send_now(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    count(engine, MFS_COUNT_STRAIGHT, 1);
    if (request->kind == MFS_NCCL_EAGER)
        mfs_nccl_eager_send(request, 0);
    else if (put_now(engine, request) != 0)
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
}

static bool waits(struct mfs_nccl_engine *engine, const struct mfs_nccl_request *request)
{
    if (request->bytes == 0 || !engine->sender)
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
    struct mfs_destination *peer = to(request->comm->peer);
    struct mfs_nccl_chunk *chunk = NULL;

    /* where there are classes, its own is that of its level */
    if (!peer || engine->classes > 1 || request->comm->peer->marks ||
        mfs_sender_express(engine->sender, peer, request->bytes, 0) != 0)
        return false;
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
        mfs_nccl_window_done(request->comm->peer, request->bytes);
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
    }
    return true;
}

void mfs_nccl_engine_submit(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    const uint64_t bytes = request->bytes; /* it may be over before it is counted */
    struct mfs_destination *peer;
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
    peer = to(request->comm->peer);
    if (!peer || mfs_sender_push(engine->sender, &request->op, peer, &tag, mfs_now_ns()) != 0) {
        /* fail open */
        count(engine, MFS_COUNT_FAULTS, 1);
        mfs_warned_note(engine->host, NO_ROOM, NO_ROOM);
        send_now(engine, request);
        return;
    }
    request->queued = engine->waiting = true;
    count(engine, MFS_COUNT_DEFERRED, 1);
    mfs_nccl_engine_dispatch(engine);
}

/* An eager message goes whole, however small chunks and window are, when its first chunk may. */
static void post_eager(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request,
                       const struct mfs_chunk *next)
{
    request->window_bytes = next->length;
    if (!next->last) {
        const uint64_t left = request->bytes - next->length;

        mfs_nccl_dequeue(engine, request);
        mfs_sender_overdraw(engine->sender, &request->comm->peer->to, left);
        request->window_bytes += left;
    }
    mfs_nccl_eager_send(request, mfs_rank_level(next->rank));
}

/* The sender has chosen it. */
static void post(void *ctx, const struct mfs_chunk *next)
{
    struct mfs_nccl_engine *engine = ctx;
    struct mfs_nccl_request *request =
        (struct mfs_nccl_request *)(void *)((char *)next->op -
                                            offsetof(struct mfs_nccl_request, op));
    struct mfs_nccl_chunk *chunk;

    request->queued = !next->last;
    engine->waiting = mfs_sender_operations(engine->sender) > 0;
    if (request->kind == MFS_NCCL_EAGER) {
        post_eager(engine, request, next);
        return;
    }
    chunk = chunk_begin(request, mfs_rank_level(next->rank), next->length, next->length);
    if (!chunk) {
        mfs_nccl_window_done(request->comm->peer, next->length);
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
        return;
    }
    request->sent = next->last;
    chunk_put(chunk, next->offset);
}

void mfs_nccl_engine_dispatch(struct mfs_nccl_engine *engine)
{
    if (!engine->waiting)
        return;
    settings(engine);
    count(engine, MFS_COUNT_CHUNKS, mfs_sender_send(engine->sender, mfs_now_ns()));
    count(engine, MFS_COUNT_PROMOTIONS, mfs_sender_promotions(engine->sender));
    count(engine, MFS_COUNT_STALLS, mfs_sender_stalls(engine->sender));
}
