/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/config.h"
#include "host/log.h"
#include "ucx/map.h"

#define CHUNKS_IN_SLAB 64

static struct mfs_ucx_map workers = {.mutex = PTHREAD_MUTEX_INITIALIZER};
static struct mfs_ucx_map eps = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct mfs_ucx_worker *mfs_ucx_worker_find(ucp_worker_h handle)
{
    return mfs_ucx_map_find(&workers, handle);
}

struct mfs_ucx_ep *mfs_ucx_ep_find(ucp_ep_h handle)
{
    return mfs_ucx_map_find(&eps, handle);
}

void mfs_ucx_worker_add(const struct mfs_ucx_api *api, ucp_worker_h handle)
{
    struct mfs_ucx_worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return;
    worker->handle = handle;
    worker->api = api;
    worker->host = mfs_host_get();
    if (!worker->host || mfs_ucx_map_add(&workers, handle, worker) != 0) {
        free(worker);
        return;
    }
    worker->settings_version = mfs_host_settings_version(worker->host);
    pthread_mutex_init(&worker->mutex, NULL);
}

void mfs_ucx_ep_add(struct mfs_ucx_worker *worker, ucp_ep_h handle)
{
    struct mfs_ucx_ep *ep = calloc(1, sizeof(*ep));

    if (!ep)
        return;
    ep->handle = handle;
    ep->worker = worker;
    if (mfs_ucx_map_add(&eps, handle, ep) != 0) {
        free(ep);
        return;
    }
    pthread_mutex_lock(&worker->mutex);
    ep->next = worker->eps;
    if (worker->eps)
        worker->eps->prev = ep;
    worker->eps = ep;
    pthread_mutex_unlock(&worker->mutex);
}

static void ep_free(struct mfs_ucx_ep *ep)
{
    mfs_ucx_map_remove(&eps, ep->handle);
    mfs_ucx_order_free(&ep->order);
    mfs_ucx_tag_orders_free(&ep->tags);
    free(ep);
}

void mfs_ucx_ep_drop(struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_worker *worker = ep->worker;

    pthread_mutex_lock(&worker->mutex);
    if (ep->prev)
        ep->prev->next = ep->next;
    else
        worker->eps = ep->next;
    if (ep->next)
        ep->next->prev = ep->prev;
    pthread_mutex_unlock(&worker->mutex);
    ep_free(ep);
}

void mfs_ucx_worker_drop(struct mfs_ucx_worker *worker)
{
    mfs_ucx_map_remove(&workers, worker->handle);
    while (worker->eps) {
        struct mfs_ucx_ep *ep = worker->eps;

        worker->eps = ep->next;
        ep_free(ep);
    }
}

void mfs_ucx_worker_free(struct mfs_ucx_worker *worker)
{
    for (int i = 0; i < MFS_UCX_LANES; i++) {
        mfs_rmlq_destroy(worker->lanes[i].queue);
        mfs_port_leave(worker->lanes[i].member);
        mfs_port_close(worker->lanes[i].port);
    }
    while (worker->slabs) {
        struct mfs_ucx_chunk *slab = worker->slabs;

        worker->slabs = slab->next;
        free(slab);
    }
    mfs_ucx_order_free(&worker->order);
    pthread_mutex_destroy(&worker->mutex);
    free(worker);
}

/* --- lanes --- */

static void queue_params(const struct mfs_ucx_lane *lane, struct mfs_params *params)
{
    const struct mfs_config *config = mfs_config_get();

    mfs_params_init(params);
    params->levels = (uint32_t)config->levels;
    params->theta_ns = config->theta;
    params->rate_Bps = mfs_port_rate_Bps(lane->port);
    for (uint32_t stage = 0; mfs_stage_name(stage); stage++) {
        if (strcmp(config->untagged_stage, mfs_stage_name(stage)) == 0)
            params->untagged_stage = stage;
    }
}

int mfs_ucx_lane_ready(struct mfs_ucx_worker *worker, struct mfs_ucx_lane *lane)
{
    const enum mfs_direction direction =
        lane == &worker->lanes[MFS_UCX_EGRESS] ? MFS_EGRESS : MFS_INGRESS;
    struct mfs_rmlq_config config;
    int error = 0;

    if (lane->queue)
        return 0;
    if (!lane->port)
        error = mfs_port_open(worker->host, mfs_config_get()->port, direction, &lane->port);
    if (!error && !lane->member)
        error = mfs_port_join(worker->host, lane->port, &lane->member);
    if (error)
        return error;
    mfs_rmlq_config_init(&config);
    config.policy = mfs_host_policy(worker->host);
    config.facts = mfs_request_source(worker->host);
    config.untagged_permille = (uint32_t)mfs_config_get()->untagged_share;
    queue_params(lane, &config.params);
    return mfs_rmlq_create(&config, &lane->queue);
}

void mfs_ucx_lane_settings(struct mfs_ucx_worker *worker)
{
    const uint64_t version = mfs_host_settings_version(worker->host);

    if (version == worker->settings_version)
        return;
    worker->settings_version = version;
    for (int i = 0; i < MFS_UCX_LANES; i++) {
        struct mfs_ucx_lane *lane = &worker->lanes[i];
        struct mfs_params params;

        if (!lane->queue)
            continue;
        queue_params(lane, &params);
        (void)mfs_rmlq_set_policy(lane->queue, mfs_host_policy(worker->host), &params,
                                  mfs_now_ns());
    }
}

/* --- chunks --- */

struct mfs_ucx_chunk *mfs_ucx_chunk_alloc(struct mfs_ucx_worker *worker)
{
    struct mfs_ucx_chunk *chunk = worker->free_chunks;

    if (!chunk) {
        struct mfs_ucx_chunk *slab = calloc(CHUNKS_IN_SLAB, sizeof(*slab));

        if (!slab)
            return NULL;
        slab->next = worker->slabs;
        worker->slabs = slab;
        for (int i = 1; i < CHUNKS_IN_SLAB; i++)
            mfs_ucx_chunk_put(worker, &slab[i]);
        chunk = worker->free_chunks;
    }
    worker->free_chunks = chunk->next;
    return chunk;
}

void mfs_ucx_chunk_put(struct mfs_ucx_worker *worker, struct mfs_ucx_chunk *chunk)
{
    chunk->next = worker->free_chunks;
    worker->free_chunks = chunk;
}

/* --- statistics --- */

void mfs_ucx_stats_write(struct mfs_host *host)
{
    const char *path = mfs_config_get()->stats;
    char line[1024];
    size_t length;
    int fd;

    if (!*path)
        return;
    length = (size_t)snprintf(line, sizeof(line), "{\"pid\": %d", (int)getpid());
    for (int i = 0; i < MFS_COUNT_LAST; i++)
        length +=
            (size_t)snprintf(line + length, sizeof(line) - length, ", \"%s\": %llu",
                             mfs_counter_name((enum mfs_counter)i),
                             (unsigned long long)mfs_count_process(host, (enum mfs_counter)i));
    length += (size_t)snprintf(line + length, sizeof(line) - length, "}\n");
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, length) != (ssize_t)length)
        mfs_log(MFS_LOG_WARN, "MFS_STATS=%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}
