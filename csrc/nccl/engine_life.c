/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/engine_life.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "nccl/comm.h"
#include "nccl/dispatch.h"
#include "nccl/far.h"
#include "nccl/handshake.h"
#include "nccl/log.h"
#include "nccl/peer.h"

#define CLOSE_NS INT64_C(1000000000)

/* --- begin and end --- */

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
    engine->ucx = mfs_nccl_ucx_get();
    engine->context = context;
    engine->device = mfs_nccl_device_at(dev);
    engine->host = mfs_host_get();
    engine->counts = engine->host ? mfs_count_row_get(engine->host) : NULL;
    engine->classes = mfs_nccl_classes(NULL);
    engine->channels = engine->classes * (unsigned)mfs_config_get()->nccl_channels;
    engine->scheduled = mfs_nccl_scheduled();
    engine->small_bytes = mfs_config_get()->small;
    engine->watch = epoll_create1(EPOLL_CLOEXEC);
    if (engine->watch < 0 ||
        getrandom(engine->uuid, sizeof(engine->uuid), 0) != sizeof(engine->uuid) ||
        workers_open(engine) != 0) {
        mfs_nccl_engine_free(engine);
        return NULL;
    }
    error = engine->host ? mfs_nccl_sender_open(engine) : -ENOMEM;
    if (error) { /* fail open */
        mfs_nccl_warn("not scheduled: %s; messages go in NCCL's own order", strerror(-error));
        if (engine->host)
            mfs_count(engine->host, MFS_COUNT_FAULTS, 1);
        engine->scheduled = false;
    }
    mfs_nccl_far_enter(engine);
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
    if (context->engines[dev] && mfs_get(&context->engines[dev]->stopped)) {
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

static bool is_gone(const struct mfs_nccl_peer *peer)
{
    return peer->failed || peer->gone_ns != 0;
}

/* Progress until these are over (true), the peer has ended, or it is `until_ns`. */
static bool await(struct mfs_nccl_peer *peer, void **requests, int64_t until_ns)
{
    struct mfs_nccl_engine *engine = peer->engine;
    bool all = false;

    for (int64_t now_ns = mfs_now_ns(); !all && now_ns < until_ns; now_ns = mfs_now_ns()) {
        mfs_nccl_workers_progress(engine);
        mfs_nccl_peers_tick(engine, now_ns);
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
        if (!all && is_gone(peer))
            break;
        if (!all)
            sched_yield();
    }
    return all;
}

/* What becomes of them is of no interest any more. */
static void let_be(struct mfs_nccl_peer *peer, void **requests)
{
    for (unsigned channel = 0; channel < peer->channels; channel++) {
        if (requests[channel])
            peer->engine->ucx->ucp_request_free(requests[channel]);
        requests[channel] = NULL;
    }
}

/*
 * THE END OF ENDPOINTS: gently, so that what was said last arrives. A peer that has ended takes
 * nothing, which RDMA finds out by retries that last a second and more. So it is flushed first,
 * while its socket is looked at, and closed by force when it is gone or late. Where UCX does not
 * handle errors (all but RDMA) there is no closing by force: such end with their worker. false:
 * they do not close.
 */
static bool peer_close(struct mfs_nccl_peer *peer, int64_t until_ns)
{
    const bool rdma = peer->engine->device->rdma;
    void *flushes[MFS_NCCL_CHANNELS_MAX] = {NULL}, *closes[MFS_NCCL_CHANNELS_MAX] = {NULL};
    bool flushed = true, closed;

    if (!rdma && is_gone(peer))
        return true;
    if (rdma && !is_gone(peer)) {
        mfs_nccl_peer_flush(peer, flushes);
        flushed = await(peer, flushes, until_ns);
    }
    mfs_nccl_peer_close(peer, rdma && (!flushed || is_gone(peer)), closes);
    let_be(peer, flushes);
    closed = await(peer, closes, until_ns) || is_gone(peer);
    let_be(peer, closes);
    return closed;
}

static bool any_inflight(const struct mfs_nccl_engine *engine)
{
    for (uint32_t i = 0, left = engine->comm_count; i < MFS_NCCL_COMMS_MAX && left > 0; i++) {
        if (!engine->comms[i])
            continue;
        left--;
        if (engine->comms[i]->inflight > 0)
            return true;
    }
    return false;
}

/*
 * Connections that NCCL has not closed: an aborted communicator. What UCX still has of theirs is
 * waited for: it ends the process (UCX 1.21) when a worker goes with a copy between processes
 * pending, which is made by our own progress.
 */
static void comms_abandon(struct mfs_nccl_engine *engine)
{
    const int64_t until_ns = mfs_now_ns() + CLOSE_NS;
    const bool aborted = engine->comm_count > 0;

    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX && engine->comm_count > 0; i++) {
        if (!engine->comms[i])
            continue;
        engine->comms[i]->said = true; /* NCCL knows */
        mfs_nccl_comm_fail(engine->comms[i], MFS_NCCL_REMOTE_ERROR, "it was aborted");
    }
    for (struct mfs_nccl_peer *peer = engine->peers; aborted && peer; peer = peer->next) {
        void *closes[MFS_NCCL_CHANNELS_MAX] = {NULL};

        if (!engine->device->rdma)
            break;
        mfs_nccl_peer_close(peer, true, closes); /* UCX gives back what it has of theirs */
        let_be(peer, closes);
    }
    while (any_inflight(engine) && mfs_now_ns() < until_ns)
        mfs_nccl_workers_progress(engine);
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX && engine->comm_count > 0; i++) {
        if (engine->comms[i])
            mfs_nccl_comm_free(engine->comms[i]);
    }
}

void mfs_nccl_engine_free(struct mfs_nccl_engine *engine)
{
    int64_t until_ns;

    mfs_nccl_lock_take(&engine->lock);
    while (engine->connecting) {
        struct mfs_nccl_handshake *handshake = engine->connecting;

        engine->connecting = handshake->next;
        mfs_nccl_handshake_free(handshake);
    }
    comms_abandon(engine);
    until_ns = mfs_now_ns() + CLOSE_NS;
    for (struct mfs_nccl_peer *peer = engine->peers; peer && !mfs_get(&engine->stopped);
         peer = peer->next) {
        if (engine->workers[0] && !peer_close(peer, until_ns))
            mfs_nccl_info("the endpoints to %s did not close in time", peer->name);
    }
    for (unsigned klass = 0; klass < MFS_NCCL_CLASSES_MAX; klass++) {
        if (engine->workers[klass])
            engine->ucx->ucp_worker_destroy(engine->workers[klass]);
    }
    mfs_nccl_far_leave(engine);
    while (engine->peers) {
        struct mfs_nccl_peer *peer = engine->peers;

        engine->peers = peer->next;
        mfs_nccl_peer_free(peer);
    }
    mfs_nccl_lock_give(&engine->lock);
    mfs_sender_leave(engine->sender);
    mfs_nccl_controls_free(engine);
    while (engine->slabs) {
        struct mfs_nccl_chunk *slab = engine->slabs;

        engine->slabs = slab->next;
        free(slab);
    }
    free(engine->sockets);
    if (engine->watch >= 0)
        close(engine->watch);
    mfs_count_row_put(engine->counts);
    if (engine->host)
        mfs_stats_write(engine->host);
    free(engine);
}
