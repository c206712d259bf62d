/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/worker.h"

#include <stdlib.h>

#include "host/config.h"
#include "host/far.h"
#include "host/log.h"
#include "ucx/contacts.h"
#include "ucx/ep.h"
#include "ucx/far.h"
#include "ucx/map.h"

#define CHUNKS_IN_SLAB 64

static struct mfs_ucx_map workers = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct mfs_ucx_worker *mfs_ucx_worker_find(ucp_worker_h handle)
{
    return mfs_ucx_map_find(&workers, handle);
}

struct mfs_ucx_worker *mfs_ucx_worker_add(const struct mfs_ucx_api *api, ucp_worker_h handle,
                                          const struct mfs_ucx_area *area,
                                          const ucp_worker_params_t *params)
{
    const unsigned sends = UCP_WAKEUP_RMA | UCP_WAKEUP_TX;
    struct mfs_ucx_worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        return NULL;
    worker->handle = handle;
    worker->api = api;
    worker->sleepless =
        (params->field_mask & UCP_WORKER_PARAM_FIELD_EVENTS) && !(params->events & sends);
    worker->shared = (params->field_mask & UCP_WORKER_PARAM_FIELD_THREAD_MODE) &&
                     params->thread_mode == UCS_THREAD_MODE_MULTI;
    worker->rails = area->rails;
    worker->config = mfs_config_get();
    worker->classes = mfs_marks_are_on();
    worker->small = worker->classes ? 0 : worker->config->small; /* only the queue knows levels */
    worker->host = mfs_host_get();
    if (!worker->host ||
        mfs_ucx_pool_init(&worker->requests, area->bytes, area->init, area->cleanup) != 0 ||
        mfs_ucx_map_add(&workers, handle, worker) != 0) {
        mfs_log(MFS_LOG_INFO, "a UCX worker is not scheduled for");
        free(worker);
        return NULL;
    }
    worker->settings = mfs_host_settings_word(worker->host);
    mfs_ucx_port_init(&worker->own, worker);
    mfs_ucx_settings_follow(worker);
    if (!worker->shared)
        worker->counts = mfs_count_row_get(worker->host);
    pthread_mutex_init(&worker->mutex, NULL);
    worker->far_place = MFS_FAR_NONE;
    mfs_ucx_far_enter(worker);
    mfs_ucx_contacts_ask(worker->host);
    return worker;
}

void mfs_ucx_worker_drop(struct mfs_ucx_worker *worker)
{
    mfs_ucx_map_remove(&workers, worker->handle);
    for (struct mfs_ucx_ep *ep = worker->eps; ep; ep = ep->next) {
        if (!ep->closed)
            mfs_ucx_ep_forget(ep);
    }
}

void mfs_ucx_worker_free(struct mfs_ucx_worker *worker)
{
    while (worker->slabs) {
        struct mfs_ucx_chunk *slab = worker->slabs;

        worker->slabs = slab->next;
        free(slab);
    }
    while (worker->eps)
        mfs_ucx_ep_free(worker->eps);
    mfs_ucx_ports_free(&worker->own);
    mfs_ucx_far_leave(worker);
    mfs_ucx_contacts_end(worker->host);
    mfs_ucx_pool_free(&worker->requests);
    mfs_ucx_copies_free(&worker->copies);
    mfs_ucx_slabs_free(&worker->tag_memory);
    mfs_ucx_slabs_free(&worker->epoch_memory);
    pthread_mutex_destroy(&worker->mutex);
    mfs_count_row_put(worker->counts);
    free(worker);
}

/* --- requests --- */

struct mfs_ucx_request *mfs_ucx_request_get(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                                            enum mfs_ucx_kind kind)
{
    struct mfs_ucx_request *request = mfs_ucx_pool_get(&worker->requests);

    if (!request)
        return NULL;
    request->worker = worker;
    request->ep = ep;
    if (ep)
        ep->refs++;
    request->kind = (uint8_t)kind;
    mfs_set(&request->status, UCS_INPROGRESS);
    return request;
}

void mfs_ucx_request_put(struct mfs_ucx_request *request)
{
    if (request->ep) {
        request->ep->refs--;
        mfs_ucx_ep_reap(request->ep);
        request->ep = NULL;
    }
    mfs_ucx_pool_put(&request->worker->requests, request);
}

void mfs_ucx_settings_follow(struct mfs_ucx_worker *worker)
{
    const uint64_t version = mfs_host_settings_version(worker->host);
    const bool defers = mfs_host_policy(worker->host)->defers || worker->config->pace > 0;

    mfs_set(&worker->defers, defers);
    mfs_set(&worker->settings_version, version);
    for (struct mfs_ucx_lane *lane = worker->lanes; lane; lane = lane->next)
        mfs_sender_follow(lane->sender);
}

/* --- chunks --- */

bool mfs_ucx_chunk_ready(struct mfs_ucx_worker *worker)
{
    struct mfs_ucx_chunk *slab;

    if (MFS_LIKELY(worker->free_chunks != NULL))
        return true;
    slab = calloc(CHUNKS_IN_SLAB, sizeof(*slab));
    if (!slab)
        return false;
    slab->next = worker->slabs;
    worker->slabs = slab;
    for (int i = 1; i < CHUNKS_IN_SLAB; i++)
        mfs_ucx_chunk_put(worker, &slab[i]);
    return true;
}

struct mfs_ucx_chunk *mfs_ucx_chunk_get(struct mfs_ucx_worker *worker)
{
    struct mfs_ucx_chunk *chunk = mfs_ucx_chunk_ready(worker) ? worker->free_chunks : NULL;

    if (chunk)
        worker->free_chunks = chunk->next;
    return chunk;
}

void mfs_ucx_chunk_put(struct mfs_ucx_worker *worker, struct mfs_ucx_chunk *chunk)
{
    chunk->next = worker->free_chunks;
    worker->free_chunks = chunk;
}
