/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What we keep for each UCX worker and endpoint.
 *
 *   worker --+-- ports, each with a lane egress  (puts):  a sender on it
 *            |                and a lane ingress (gets):  a sender on it
 *            +-- queued operations, in the order of posting
 *            +-- ready:  flushes and closes that wait for nothing more
 *            +-- done:   callbacks to deliver
 *            +-- endpoints, each of one port, with its queued operations, and a destination of each
 *                lane
 *
 * THREADS: All of it is guarded by the worker's mutex, which is never held across
 * a call into UCX or of the caller's callback: both may come back to us. A worker that
 * its program uses from one thread at a time (UCS_THREAD_MODE_SINGLE and SERIALIZED) takes
 * no mutex, as UCX takes none for it. The maps from handles are read without a lock. A thread that
 * is about to call UCX with an endpoint pins it first (ep->pins); a close waits for the last pin.
 */
#ifndef MFS_UCX_WORKER_H
#define MFS_UCX_WORKER_H

#include <pthread.h>
#include "core/atomic.h"
#include "host/config.h"
#include "host/counters.h"
#include "host/host.h"
#include "host/sender.h"
#include "host/marks.h"
#include "ucx/copies.h"
#include "ucx/port.h"
#include "ucx/request.h"

#define MFS_UCX_TAG_BUCKETS 64u
#define MFS_UCX_EXPRESS_MAX 64u /* of a worker at one time; what is more takes the queue */

struct mfs_ucx_tag_epochs;

/* A chunk on its way; from a list of the worker's. */
struct mfs_ucx_chunk {
    struct mfs_ucx_request *request;
    uint64_t bytes; /* counted in the window; 0: sent outside it */
    struct mfs_ucx_chunk *next;
    uint8_t carries; /* MFS_MARK_NONE, as in one that is free, or its class: classes.h */
};

/* An operation that went without the queue: express.h. */
struct mfs_ucx_express {
    struct mfs_ucx_worker *worker;
    struct mfs_ucx_ep *ep;
    uint64_t bytes; /* counted in the window */
    struct mfs_tag tag; /* for who looks */
    ucp_send_nbx_callback_t callback; /* the caller's, or NULL */
    void *user_data;
    uint8_t lane;
    bool over; /* the callback came before the post had returned */
    bool silent; /* the caller gave the request back */
};

struct mfs_ucx_express_pool {
    _Atomic uint64_t used; /* a bit for each; written with the worker's mutex */
    _Atomic(void *) requests[MFS_UCX_EXPRESS_MAX]; /* UCX's; NULL: not known yet, or free */
    struct mfs_ucx_express all[MFS_UCX_EXPRESS_MAX];
    struct mfs_ucx_worker *next; /* of all that have one; with their own mutex */
};

struct mfs_ucx_list {
    struct mfs_ucx_request *first, *last;
};

struct mfs_ucx_worker {
    /* What an operation at an idle port looks at stands together. */
    const struct mfs_ucx_api *api;
    ucp_worker_h handle;
    const struct mfs_config *config;
    const _Atomic uint64_t *settings; /* the host's version of them, now */
    _Atomic uint64_t settings_version; /* that the lanes follow; with the mutex */
    struct mfs_count_row *counts; /* of a worker of one thread; NULL: none was left, or shared */
    /* Lengths of the lists, read without the mutex to skip work; written with it. */
    _Atomic uint32_t queued_count, ready_count, done_count;
    _Atomic bool defers; /* by these settings; mfs_ucx_defers() */
    uint64_t small; /* operations up to here go straight on where nothing waits */
    _Atomic uint32_t idle_rounds; /* of progress; it may miss some: ucx/watch.h */
    bool shared; /* several threads may be in it at a time: UCS_THREAD_MODE_MULTI */
    bool sleepless; /* its events do not tell of sends */
    bool classes; /* its puts have traffic classes: classes.h */
    bool ending; /* in ucp_worker_destroy */
    struct mfs_ucx_lane *lanes; /* that have a sender: egress first */
    struct mfs_ucx_port own; /* of endpoints that are known to use no other; the first of all */
    struct mfs_ucx_express_pool express;
    struct mfs_host *host;
    pthread_mutex_t mutex;
    struct mfs_ucx_list queued; /* operations in the queues */
    struct mfs_ucx_list ready;
    struct mfs_ucx_list done;
    /* Chunks between the mutex and the return of their post, on two sides: a drain that must
     * be complete turns to the other side, and waits until the one before is empty. Added to
     * under the mutex. */
    _Atomic uint32_t posting[2];
    unsigned posting_side; /* where chunks are added now */
    struct mfs_ucx_epochs epochs;
    struct mfs_ucx_tag_epochs *tag_epochs[MFS_UCX_TAG_BUCKETS];
    struct mfs_ucx_slabs epoch_memory, tag_memory;
    struct mfs_ucx_copies copies;
    struct mfs_ucx_pool requests;
    struct mfs_ucx_chunk *free_chunks;
    struct mfs_ucx_chunk *slabs; /* element 0 of each slab, chained */
    _Atomic bool far_asked; /* one thread enters it, or has: ucx/far.h */
    uint32_t far_place; /* by that one; MFS_FAR_NONE: other hosts do not know of it */
    uint8_t rails; /* of its context: rails.h */
    struct mfs_ucx_ep *eps; /* also those closed that a request still refers to */
    int lost; /* error of an operation that nobody watched, to be told by the
               * next flush of the worker; UCS_OK: none */
};

struct mfs_ucx_ep {
    ucp_ep_h handle;
    struct mfs_ucx_worker *worker;
    _Atomic(struct mfs_ucx_port *) port; /* NULL until its first operation; then it stays */
    struct mfs_ucx_epochs epochs;
    struct mfs_ucx_list queued;
    uint32_t untagged[MFS_UCX_LANES]; /* of the queued ones, by lane */
    struct mfs_destination to[MFS_UCX_LANES]; /* user is NULL until the first use */
    uint32_t refs; /* requests that point here */
    uint32_t pins; /* threads in UCX with the handle; flushes on the ready list */
    struct mfs_ucx_request *close; /* a close that waits for the last pin */
    int lost; /* error of an operation that nobody watched: its flushes fail */
    int failed; /* error of a chunk that says that the peer is gone */
    struct mfs_ucx_made made;
    struct mfs_marks marks; /* of its puts; unused where the worker has no classes */
    bool closed; /* the caller's handle is no longer ours */
    uint64_t far_peer; /* who is there, for other hosts; 0: not known */
    uint32_t contact; /* by mfs_ucx_contact_enter() */
    char peer[MFS_PEER_NAME_MAX + 1]; /* its name for people; "": nobody has said it */
    struct mfs_ucx_ep *next, *prev; /* of the worker */
};

/* What a context asked of its requests, and what is known of it. */
struct mfs_ucx_area {
    size_t bytes;
    uint8_t rails; /* ucx/rails.h */
    void (*init)(void *handle);
    void (*cleanup)(void *handle);
};

static inline void mfs_ucx_lock(struct mfs_ucx_worker *worker)
{
    if (worker->shared)
        pthread_mutex_lock(&worker->mutex);
}

static inline void mfs_ucx_unlock(struct mfs_ucx_worker *worker)
{
    if (worker->shared)
        pthread_mutex_unlock(&worker->mutex);
}

/* Count what happens with it. */
static inline void mfs_ucx_count(struct mfs_ucx_worker *worker, enum mfs_counter counter,
                                 uint64_t amount)
{
    mfs_count_by(worker->host, worker->counts, counter, amount);
}

/* Of an endpoint whose port is known. */
static inline struct mfs_ucx_lane *mfs_ucx_lane(const struct mfs_ucx_ep *ep, unsigned lane)
{
    return &mfs_get(&ep->port)->lanes[lane];
}

/* NULL: not one of those we schedule for. */
struct mfs_ucx_worker *mfs_ucx_worker_find(ucp_worker_h handle);
/* Begin to schedule for a worker, as the caller's parameters made it. NULL: without memory we do
 * not; nothing is lost. */
struct mfs_ucx_worker *mfs_ucx_worker_add(const struct mfs_ucx_api *api, ucp_worker_h handle,
                                          const struct mfs_ucx_area *area,
                                          const ucp_worker_params_t *params);
/* From now on the handles of it and its endpoints are unknown; the state stays. */
void mfs_ucx_worker_drop(struct mfs_ucx_worker *worker);
void mfs_ucx_worker_free(struct mfs_ucx_worker *worker);

/* Take over a changed policy. Mutex held. */
void mfs_ucx_settings_follow(struct mfs_ucx_worker *worker);

static inline bool mfs_ucx_settings_old(const struct mfs_ucx_worker *worker)
{
    return mfs_see(worker->settings) != mfs_get(&worker->settings_version);
}

/* Mutex held. */
static inline void mfs_ucx_lane_settings(struct mfs_ucx_worker *worker)
{
    if (!MFS_LIKELY(!mfs_ucx_settings_old(worker)))
        mfs_ucx_settings_follow(worker);
}

/* Does an operation wait for its turn, by the policy of now? Without the mutex. */
static inline bool mfs_ucx_defers(struct mfs_ucx_worker *worker)
{
    if (!MFS_LIKELY(!mfs_ucx_settings_old(worker))) {
        mfs_ucx_lock(worker);
        mfs_ucx_settings_follow(worker);
        mfs_ucx_unlock(worker);
    }
    return mfs_get(&worker->defers);
}

/* From and to the worker's list. ready: there is one, if there is memory. get: NULL without.
 * Mutex held. */
bool mfs_ucx_chunk_ready(struct mfs_ucx_worker *worker);
struct mfs_ucx_chunk *mfs_ucx_chunk_get(struct mfs_ucx_worker *worker);
void mfs_ucx_chunk_put(struct mfs_ucx_worker *worker, struct mfs_ucx_chunk *chunk);

/* A request that refers to ep (or NULL: to the worker alone). NULL: no memory. Mutex held. */
struct mfs_ucx_request *mfs_ucx_request_get(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                                            enum mfs_ucx_kind kind);
void mfs_ucx_request_put(struct mfs_ucx_request *request);

#endif
