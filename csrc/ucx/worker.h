/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we keep for each UCX worker and endpoint.
 *
 *   worker --+-- lane egress  (puts):  queue + member of the port
 *            +-- lane ingress (gets):  queue + member of the port
 *            +-- list of queued operations, in the order of posting
 *            +-- endpoints
 *
 * THREADS: All of it is guarded by the worker's mutex, which is never held across
 * a call into UCX or of the caller's callback: both may come back to us. The maps
 * from handles are read without a lock.
 */
#ifndef MFS_UCX_WORKER_H
#define MFS_UCX_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/rmlq.h"
#include "host/host.h"
#include "host/port.h"
#include "ucx/request.h"

enum { MFS_UCX_EGRESS, MFS_UCX_INGRESS, MFS_UCX_LANES };

struct mfs_ucx_lane {
    struct mfs_rmlq *queue; /* NULL until the first operation is deferred */
    struct mfs_port *port;
    struct mfs_member *member;
    uint64_t promotions;    /* of the queue, as counted so far */
    uint64_t inflight;      /* our bytes in the window */
    int blocked;            /* why the last dispatch stopped: 0, -ENOBUFS, -EBUSY, -EAGAIN */
};

/* A chunk on its way; from a list of the worker's. */
struct mfs_ucx_chunk {
    struct mfs_ucx_request *request;
    uint64_t bytes; /* counted in the window; 0: sent outside it */
    struct mfs_ucx_chunk *next;
};

struct mfs_ucx_worker {
    ucp_worker_h handle;
    const struct mfs_ucx_api *api;
    struct mfs_host *host;
    pthread_mutex_t mutex;
    struct mfs_ucx_lane lanes[MFS_UCX_LANES];
    uint64_t settings_version;
    struct mfs_ucx_request *queued_first, *queued_last; /* operations in the queues */
    _Atomic uint64_t queued;                            /* how many; read without the mutex */
    struct mfs_ucx_request *done_first, *done_last;     /* callbacks to deliver */
    _Atomic uint32_t done;
    struct mfs_ucx_order order;
    struct mfs_ucx_chunk *free_chunks;
    struct mfs_ucx_chunk *slabs; /* element 0 of each slab, chained */
    struct mfs_ucx_ep *eps;
};

struct mfs_ucx_ep {
    ucp_ep_h handle;
    struct mfs_ucx_worker *worker;
    struct mfs_ucx_order order;
    struct mfs_ucx_tag_orders tags;
    struct mfs_ucx_ep *next, *prev; /* of the worker */
};

/* NULL: not one of those we schedule for. */
struct mfs_ucx_worker *mfs_ucx_worker_find(ucp_worker_h handle);
struct mfs_ucx_ep *mfs_ucx_ep_find(ucp_ep_h handle);

/* Begin to schedule for a worker, an endpoint. No memory: we do not, nothing is lost. */
void mfs_ucx_worker_add(const struct mfs_ucx_api *api, ucp_worker_h handle);
void mfs_ucx_ep_add(struct mfs_ucx_worker *worker, ucp_ep_h handle);
void mfs_ucx_ep_drop(struct mfs_ucx_ep *ep);
/* From now on the handle is unknown; the state lives until mfs_ucx_worker_free. */
void mfs_ucx_worker_drop(struct mfs_ucx_worker *worker);
void mfs_ucx_worker_free(struct mfs_ucx_worker *worker);

/* The queue of a lane, made at first use. -errno: it cannot be (pass through). Mutex held. */
int mfs_ucx_lane_ready(struct mfs_ucx_worker *worker, struct mfs_ucx_lane *lane);
/* Take over a changed policy. Mutex held. */
void mfs_ucx_lane_settings(struct mfs_ucx_worker *worker);

/* From and to the worker's list. alloc: NULL without memory. Mutex held. */
struct mfs_ucx_chunk *mfs_ucx_chunk_alloc(struct mfs_ucx_worker *worker);
void mfs_ucx_chunk_put(struct mfs_ucx_worker *worker, struct mfs_ucx_chunk *chunk);

/* Write this process's counters to MFS_STATS, if that is set. */
void mfs_ucx_stats_write(struct mfs_host *host);

#endif
