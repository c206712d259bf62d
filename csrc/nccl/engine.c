/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/engine.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "nccl/comm.h"
#include "nccl/log.h"
#include "nccl/peer.h"

#define TICK_NS INT64_C(10000000)
#define CLOSE_NS INT64_C(1000000000)
#define LOOKS_A_CLOCK 64u /* rounds between two looks at the clock */

/* --- begin and end --- */

static void queue_params(const struct mfs_nccl_engine *engine, struct mfs_params *params)
{
    const struct mfs_config *config = mfs_config_get();

    mfs_params_init(params);
    params->levels = (uint32_t)config->levels;
    params->theta_ns = config->theta;
    params->rate_Bps = mfs_port_rate_Bps(engine->port);
    params->rate_margin = mfs_port_rate_margin(engine->port);
    for (uint32_t stage = 0; mfs_stage_name(stage); stage++) {
        if (strcmp(config->untagged_stage, mfs_stage_name(stage)) == 0)
            params->untagged_stage = stage;
    }
}

static int queue_open(struct mfs_nccl_engine *engine)
{
    struct mfs_rmlq_config config;
    int error = mfs_port_open(engine->host, engine->device->port, MFS_EGRESS, &engine->port);

    if (!error)
        error = mfs_port_join(engine->host, engine->port, &engine->member);
    if (error)
        return error;
    mfs_rmlq_config_init(&config);
    config.policy = mfs_host_policy(engine->host);
    config.facts = mfs_request_source(engine->host);
    config.untagged_permille = 0; /* the port keeps the share, for all queues on it */
    queue_params(engine, &config.params);
    engine->settings_version = mfs_host_settings_version(engine->host);
    return mfs_rmlq_create(&config, &engine->queue);
}

static int workers_open(struct mfs_nccl_engine *engine)
{
    const ucp_worker_params_t params = {
        .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
        .thread_mode = UCS_THREAD_MODE_SERIALIZED,
    };

    for (unsigned klass = 0; klass < engine->classes; klass++) {
        const ucs_status_t status = engine->ucx->ucp_worker_create(
            engine->device->contexts[klass], &params, &engine->workers[klass]);

        if (status != UCS_OK) {
            engine->workers[klass] = NULL;
            mfs_nccl_warn("UCX has no worker for us: %s", engine->ucx->ucs_status_string(status));
            return -EIO;
        }
        if (mfs_nccl_wire_listen(engine, engine->workers[klass]) != 0)
            return -EIO;
    }
    return 0;
}

static struct mfs_nccl_engine *engine_make(struct mfs_nccl_context *context, int dev)
{
    struct mfs_nccl_engine *engine = calloc(1, sizeof(*engine));
    int error;

    if (!engine)
        return NULL;
    pthread_mutex_init(&engine->mutex, NULL);
    engine->ucx = mfs_nccl_ucx_get();
    engine->context = context;
    engine->device = mfs_nccl_device_at(dev);
    engine->host = mfs_host_get();
    engine->classes = mfs_nccl_classes(NULL);
    engine->channels = engine->classes * (unsigned)mfs_config_get()->nccl_channels;
    engine->scheduled = mfs_nccl_scheduled();
    engine->watch = epoll_create1(EPOLL_CLOEXEC);
    if (engine->watch < 0 ||
        getrandom(engine->uuid, sizeof(engine->uuid), 0) != sizeof(engine->uuid) ||
        workers_open(engine) != 0) {
        mfs_nccl_engine_free(engine);
        return NULL;
    }
    error = engine->host ? queue_open(engine) : -ENOMEM;
    if (error) { /* fail open */
        mfs_nccl_warn("not scheduled: %s; messages go in NCCL's own order", strerror(-error));
        if (engine->host)
            mfs_count(engine->host, MFS_COUNT_FAULTS, 1);
        engine->scheduled = false;
    }
    return engine;
}

struct mfs_nccl_engine *mfs_nccl_engine_get(struct mfs_nccl_context *context, int dev)
{
    struct mfs_nccl_engine *engine = NULL;

    if (!context || !mfs_nccl_device_at(dev)) {
        mfs_nccl_warn("there is no device %d", dev);
        return NULL;
    }
    pthread_mutex_lock(&context->mutex);
    if (context->engines[dev] && context->engines[dev]->stopped) {
        context->engines[dev]->next = context->stopped;
        context->stopped = context->engines[dev];
        context->engines[dev] = NULL;
    }
    if (!context->engines[dev])
        context->engines[dev] = engine_make(context, dev);
    engine = context->engines[dev];
    pthread_mutex_unlock(&context->mutex);
    return engine;
}

static void workers_progress(struct mfs_nccl_engine *engine)
{
    for (unsigned klass = 0; klass < engine->classes; klass++)
        (void)engine->ucx->ucp_worker_progress(engine->workers[klass]);
}

/* Without error handling there is no closing by force: such end with their worker. */
static bool may_close(const struct mfs_nccl_peer *peer)
{
    return !peer->engine->stopped &&
           (peer->engine->device->rdma || (!peer->failed && peer->gone_ns == 0));
}

/* Close all endpoints: gently, then by force; false when some are still not closed. */
static bool peers_close(struct mfs_nccl_engine *engine, struct mfs_nccl_peer *peer)
{
    const int64_t until_ns = mfs_now_ns() + CLOSE_NS;
    void *requests[MFS_NCCL_CHANNELS_MAX] = {NULL};
    bool all = false;

    mfs_nccl_peer_close(peer, peer->failed || peer->gone_ns != 0, requests);
    while (!all && mfs_now_ns() < until_ns) {
        workers_progress(engine);
        all = true;
        for (unsigned channel = 0; channel < peer->channels; channel++) {
            if (!requests[channel])
                continue;
            if (engine->ucx->ucp_request_check_status(requests[channel]) == UCS_INPROGRESS) {
                all = false;
                continue;
            }
            engine->ucx->ucp_request_free(requests[channel]);
            requests[channel] = NULL;
        }
        if (!all)
            sched_yield();
    }
    return all;
}

void mfs_nccl_engine_free(struct mfs_nccl_engine *engine)
{
    pthread_mutex_lock(&engine->mutex);
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX && engine->comm_count > 0; i++) {
        if (engine->comms[i]) /* abandoned by NCCL: an aborted communicator */
            mfs_nccl_comm_free(engine->comms[i]);
    }
    for (struct mfs_nccl_peer *peer = engine->peers; peer; peer = peer->next) {
        if (engine->workers[0] && may_close(peer) && !peers_close(engine, peer))
            mfs_nccl_info("the endpoints to %s did not close in time", peer->name);
    }
    if (engine->self) {
        const ucp_request_param_t force = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
                                           .flags = UCP_EP_CLOSE_FLAG_FORCE};
        ucs_status_ptr_t result = engine->ucx->ucp_ep_close_nbx(engine->self, &force);

        if (UCS_PTR_IS_PTR(result))
            engine->ucx->ucp_request_free(result);
    }
    for (unsigned klass = 0; klass < MFS_NCCL_CLASSES_MAX; klass++) {
        if (engine->workers[klass])
            engine->ucx->ucp_worker_destroy(engine->workers[klass]);
    }
    while (engine->peers) {
        struct mfs_nccl_peer *peer = engine->peers;

        engine->peers = peer->next;
        mfs_nccl_peer_free(peer);
    }
    pthread_mutex_unlock(&engine->mutex);
    mfs_rmlq_destroy(engine->queue);
    if (engine->member)
        mfs_port_leave(engine->member);
    if (engine->port)
        mfs_port_close(engine->port);
    while (engine->slabs) {
        struct mfs_nccl_chunk *slab = engine->slabs;

        engine->slabs = slab->next;
        free(slab);
    }
    if (engine->watch >= 0)
        close(engine->watch);
    pthread_mutex_destroy(&engine->mutex);
    free(engine);
}

/* --- connections by id --- */

int mfs_nccl_engine_adopt(struct mfs_nccl_engine *engine, struct mfs_nccl_comm *comm)
{
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX; i++) {
        const uint32_t at = (engine->comm_hint + i) % MFS_NCCL_COMMS_MAX;

        if (engine->comms[at])
            continue;
        engine->comms[at] = comm;
        engine->comm_hint = at + 1;
        engine->comm_count++;
        comm->index = at;
        comm->generation = ++engine->generation;
        return 0;
    }
    return -ENOSPC;
}

void mfs_nccl_engine_disown(struct mfs_nccl_engine *engine, struct mfs_nccl_comm *comm)
{
    struct mfs_nccl_request **at = &engine->put_first;

    for (engine->put_last = NULL; *at;) { /* what was due for it is not any more */
        if ((*at)->comm == comm) {
            *at = (*at)->next;
        } else {
            engine->put_last = *at;
            at = &(*at)->next;
        }
    }
    if (engine->comms[comm->index] != comm)
        return;
    engine->comms[comm->index] = NULL;
    engine->comm_count--;
}

struct mfs_nccl_comm *mfs_nccl_engine_comm(struct mfs_nccl_engine *engine, uint32_t index,
                                           uint32_t generation)
{
    struct mfs_nccl_comm *comm = index < MFS_NCCL_COMMS_MAX ? engine->comms[index] : NULL;

    return comm && comm->generation == generation ? comm : NULL;
}

/* --- progress --- */

static void settings(struct mfs_nccl_engine *engine)
{
    const uint64_t version = mfs_host_settings_version(engine->host);
    struct mfs_params params;

    if (!engine->queue || version == engine->settings_version)
        return;
    engine->settings_version = version;
    engine->scheduled = mfs_nccl_scheduled();
    queue_params(engine, &params);
    (void)mfs_rmlq_set_policy(engine->queue, mfs_host_policy(engine->host), &params, mfs_now_ns());
}

static void tick(struct mfs_nccl_engine *engine, int64_t now_ns)
{
    engine->tick_ns = now_ns + TICK_NS;
    mfs_nccl_peers_tick(engine, now_ns);
    for (uint32_t i = 0, left = engine->comm_count; i < MFS_NCCL_COMMS_MAX && left > 0; i++) {
        if (!engine->comms[i])
            continue;
        left--;
        if (engine->comms[i]->sender)
            mfs_nccl_send_tick(engine->comms[i], now_ns);
    }
}

void mfs_nccl_engine_finish_puts(struct mfs_nccl_engine *engine)
{
    while (engine->put_first) {
        struct mfs_nccl_request *request = engine->put_first;

        engine->put_first = request->next;
        if (!engine->put_first)
            engine->put_last = NULL;
        request->in_list = false;
        mfs_nccl_send_all_put(request);
    }
}

void mfs_nccl_engine_stop(struct mfs_nccl_engine *engine)
{
    engine->stopped = true;
    for (struct mfs_nccl_peer *peer = engine->peers; peer; peer = peer->next)
        mfs_nccl_peer_fail(peer, "this side of its connections was stopped");
}

void mfs_nccl_engine_progress(struct mfs_nccl_engine *engine)
{
    if (engine->stopped)
        return;
    workers_progress(engine);
    mfs_nccl_engine_finish_puts(engine);
    mfs_nccl_engine_dispatch(engine);
    mfs_nccl_engine_finish_puts(engine);
    if (++engine->looks % LOOKS_A_CLOCK == 0) {
        const int64_t now_ns = mfs_now_ns();

        if (now_ns >= engine->tick_ns)
            tick(engine, now_ns);
    }
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

static void window_done(struct mfs_nccl_engine *engine, uint64_t bytes)
{
    if (bytes == 0)
        return;
    engine->inflight -= bytes;
    mfs_member_done(engine->member, bytes, mfs_now_ns());
}

void mfs_nccl_engine_settle(struct mfs_nccl_request *request)
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

    window_done(engine, chunk->window_bytes);
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
    mfs_nccl_engine_settle(request);
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

static void eager_send(struct mfs_nccl_chunk *chunk)
{
    struct mfs_nccl_request *request = chunk->request;
    struct mfs_nccl_engine *engine = request->comm->engine;
    struct mfs_nccl_comm *comm = request->comm;
    const unsigned klass = chunk->channel / (engine->channels / engine->classes);
    ucp_request_param_t param = {
        .op_attr_mask =
            UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS,
        .cb.send = on_chunk_done,
        .flags = UCP_AM_SEND_FLAG_EAGER,
        .user_data = chunk,
    };
    ucs_status_ptr_t result;

    if (request->mr && request->mr->memh[klass]) {
        param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
        param.memh = request->mr->memh[klass];
    }
    request->header = (struct mfs_nccl_header){
        .comm = comm->remote_index,
        .generation = comm->remote_generation,
        .seq = request->seq,
        .bytes = request->bytes,
    };
    comm->peer->inflight[chunk->channel] += chunk->bytes;
    request->inflight++;
    comm->inflight++;
    result = engine->ucx->ucp_am_send_nbx(comm->peer->eps[chunk->channel], MFS_NCCL_WIRE_EAGER,
                                          &request->header, MFS_NCCL_HEADER_SHORT, request->data,
                                          request->bytes, &param);
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

/* Without queue and window: small and nothing waits, or no scheduling. -ENOMEM. */
static int send_now(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    const uint64_t channels = engine->channels / engine->classes;
    uint64_t part = (request->bytes - request->op.taken + channels - 1) / channels;
    uint64_t offset = request->op.taken;

    if (part < 65536)
        part = 65536;
    part = (part + 127) / 128 * 128;
    do {
        const uint64_t left = request->bytes - offset;
        const bool eager = request->kind == MFS_NCCL_EAGER;
        const uint64_t bytes = eager || left < part ? left : part;
        struct mfs_nccl_chunk *chunk = chunk_begin(request, 0, bytes, 0);

        if (!chunk)
            return -ENOMEM;
        request->sent = offset + bytes == request->bytes;
        if (eager)
            eager_send(chunk);
        else
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

void mfs_nccl_engine_submit(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    const struct mfs_tag tag = mfs_nccl_flow_tag(&engine->context->flow);
    int error = 0;

    request->op = (struct mfs_op){.length = request->bytes};
    settings(engine);
    mfs_count(engine->host, MFS_COUNT_CALLS, 1);
    mfs_count(engine->host, MFS_COUNT_BYTES, request->bytes);
    if (tag.request != MFS_REQUEST_NONE)
        mfs_count(engine->host, MFS_COUNT_TAGGED, 1);
    if (engine->scheduled &&
        (request->bytes > mfs_config_get()->small || mfs_rmlq_operations(engine->queue) > 0) &&
        request->bytes > 0) {
        error = push(engine->queue, &request->op, &tag);
        if (!error) {
            request->queued = true;
            mfs_count(engine->host, MFS_COUNT_DEFERRED, 1);
            mfs_nccl_engine_dispatch(engine);
            return;
        }
        mfs_count(engine->host, MFS_COUNT_FAULTS, 1);
    }
    mfs_count(engine->host, MFS_COUNT_STRAIGHT, 1);
    if (send_now(engine, request) != 0)
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
}

static void rest(struct mfs_nccl_engine *engine, int64_t now_ns)
{
    if (mfs_rmlq_operations(engine->queue) == 0)
        mfs_member_publish(engine->member, MFS_RANK_NONE, now_ns);
}

void mfs_nccl_engine_withdraw(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    if (!request->queued)
        return;
    request->queued = false;
    request->sent = true; /* as much of it as ever will be */
    (void)mfs_rmlq_remove(engine->queue, &request->op);
    window_done(engine, request->window_bytes);
    request->window_bytes = 0;
    rest(engine, mfs_now_ns());
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
    request = (struct mfs_nccl_request *)taken.op;
    engine->inflight += bytes;
    request->queued = !taken.last;
    if (taken.last)
        rest(engine, now_ns);
    if (request->kind == MFS_NCCL_EAGER) { /* goes whole, however small the chunks are */
        request->window_bytes += bytes;
        if (!taken.last)
            return true;
        taken.length = request->bytes;
        bytes = request->window_bytes;
        request->window_bytes = 0;
    }
    chunk = chunk_begin(request, mfs_rank_level(taken.rank), taken.length, bytes);
    if (!chunk) {
        window_done(engine, bytes);
        mfs_nccl_comm_fail(request->comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
        return false;
    }
    request->sent = taken.last;
    if (request->kind == MFS_NCCL_EAGER)
        eager_send(chunk);
    else
        chunk_put(chunk, taken.offset);
    return true;
}

void mfs_nccl_engine_dispatch(struct mfs_nccl_engine *engine)
{
    uint64_t sent = 0, promotions;

    if (!engine->queue || mfs_rmlq_operations(engine->queue) == 0)
        return;
    settings(engine);
    while (mfs_rmlq_operations(engine->queue) > 0 && send_best(engine))
        sent++;
    if (sent > 0)
        mfs_count(engine->host, MFS_COUNT_CHUNKS, sent);
    promotions = mfs_rmlq_promotions(engine->queue);
    if (promotions != engine->promotions)
        mfs_count(engine->host, MFS_COUNT_PROMOTIONS, promotions - engine->promotions);
    engine->promotions = promotions;
}
