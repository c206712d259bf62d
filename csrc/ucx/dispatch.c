/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/dispatch.h"

#include <errno.h>
#include <sched.h>

#include "host/log.h"
#include "ucx/chunk.h"
#include "ucx/finish.h"
#include "ucx/flush.h"
#include "ucx/watch.h"

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
    ep->untagged[request->lane] += request->untagged;
    mfs_add_own(&worker->queued_count, 1);
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
    ep->untagged[request->lane] -= request->untagged;
    mfs_add_own(&worker->queued_count, -1);
}

void mfs_ucx_dequeue(struct mfs_ucx_request *request)
{
    (void)mfs_sender_remove(mfs_ucx_lane_of(request)->sender, &request->op, mfs_now_ns());
    list_remove(request);
}

/* --- lanes; mutex held --- */

static bool lane_may_post(void *ctx)
{
    return mfs_ucx_chunk_ready(((struct mfs_ucx_lane *)ctx)->worker);
}

/* Without the mutex for a moment: flushes must not wait for the rest of a long dispatch. */
static void issue_between(struct mfs_ucx_worker *worker)
{
    if (mfs_get(&worker->ready_count) == 0)
        return;
    mfs_ucx_unlock(worker);
    mfs_ucx_issue(worker);
    mfs_ucx_lock(worker);
}

static void lane_post(void *ctx, const struct mfs_chunk *next)
{
    struct mfs_ucx_worker *worker = ((struct mfs_ucx_lane *)ctx)->worker;
    struct mfs_ucx_request *request = (struct mfs_ucx_request *)next->op;
    struct mfs_ucx_chunk *chunk = mfs_ucx_chunk_get(worker); /* lane_may_post has seen one */

    mfs_ucx_chunk_begin(chunk, request, next->length);
    if (!MFS_LIKELY(!worker->classes))
        mfs_ucx_chunk_class(chunk, mfs_rank_level(next->rank));
    if (next->last)
        list_remove(request);
    mfs_ucx_chunk_post(chunk, request, next->offset, next->length);
    issue_between(worker);
}

/* Among those of the worker that have a sender. */
static void lane_list(struct mfs_ucx_lane *lane, enum mfs_direction direction)
{
    struct mfs_ucx_lane **at = &lane->worker->lanes;

    while (direction == MFS_INGRESS && *at)
        at = &(*at)->next;
    lane->next = *at;
    *at = lane;
}

static __attribute__((noinline, cold)) int lane_make(struct mfs_ucx_lane *lane, const char *port,
                                                     enum mfs_direction direction)
{
    const struct mfs_transport_ops transport = {
        .ready = lane_may_post,
        .post = lane_post,
        .stalled = mfs_ucx_lane_stalled,
        .ctx = lane,
        .describe = mfs_ucx_lane_describe,
        .under_way = mfs_ucx_lane_under_way,
    };
    const int error =
        mfs_sender_join(lane->worker->host, port, direction, &transport, &lane->sender);

    if (!error)
        lane_list(lane, direction);
    return error;
}

int mfs_ucx_lane_ready(struct mfs_ucx_ep *ep, uint8_t number)
{
    struct mfs_ucx_port *port = mfs_get(&ep->port);

    if (MFS_LIKELY(port->lanes[number].sender != NULL))
        return 0;
    return lane_make(&port->lanes[number], port->name,
                     number == MFS_UCX_EGRESS ? MFS_EGRESS : MFS_INGRESS);
}

static __attribute__((noinline, cold)) struct mfs_destination *lane_open(struct mfs_ucx_ep *ep,
                                                                         uint8_t lane)
{
    struct mfs_destination *to = &ep->to[lane];

    if (mfs_sender_open(mfs_ucx_lane(ep, lane)->sender, to, ep) != 0) {
        to->user = NULL;
        return NULL;
    }
    to->end.peer = ep->far_peer;
    if (*mfs_peer_get())
        snprintf(ep->peer, sizeof(ep->peer), "%s", mfs_peer_get());
    return to;
}

struct mfs_destination *mfs_ucx_lane_to(struct mfs_ucx_ep *ep, uint8_t lane)
{
    return MFS_LIKELY(ep->to[lane].user != NULL) ? &ep->to[lane] : lane_open(ep, lane);
}

/*
 * PUTS AND GETS: each direction of a port has its own lane, so a put could leave before a get
 * of the same endpoint that was posted earlier. UCX does not promise otherwise, but over one
 * connection it does keep the order, and a program may count on it: its last put says that
 * the peer need not answer gets any more (ucx_perftest -t ucp_get). Who tags its traffic
 * asks for another order than that of posting; who does not gets the order of posting: an
 * untagged operation joins the lane where earlier untagged ones of its endpoint still wait.
 */
static void lane_join(struct mfs_ucx_request *request, const struct mfs_tag *tag)
{
    const uint8_t other = !request->lane;

    request->tag = *tag;
    request->untagged = tag->request == MFS_REQUEST_NONE && tag->stage == MFS_STAGE_NONE;
    if (request->untagged && request->ep->untagged[other] > 0)
        request->lane = other;
}

static int enqueue(struct mfs_ucx_request *request, const struct mfs_tag *tag, int64_t now_ns)
{
    struct mfs_ucx_worker *worker = request->worker;
    struct mfs_destination *to;
    struct mfs_ucx_lane *lane;
    int error;

    lane_join(request, tag);
    lane = mfs_ucx_lane_of(request);
    mfs_ucx_lane_settings(worker);
    error = mfs_ucx_lane_ready(request->ep, request->lane);
    if (error)
        return error;
    to = mfs_ucx_lane_to(request->ep, request->lane);
    if (!to)
        return -ENOMEM;
    error = mfs_ucx_flush_enter(request, tag);
    if (error)
        return error;
    error = mfs_sender_push(lane->sender, &request->op, to, tag, now_ns);
    if (error) {
        mfs_ucx_flush_left(request);
        return error;
    }
    list_add(request);
    return 0;
}

/* Mutex held, but for moments. */
static unsigned dispatch(struct mfs_ucx_worker *worker, int64_t now_ns)
{
    uint64_t promotions = 0, stalls = 0;
    unsigned sent = 0;

    mfs_ucx_lane_settings(worker);
    for (struct mfs_ucx_lane *lane = worker->lanes; lane; lane = lane->next) {
        struct mfs_sender *sender = lane->sender;

        if (mfs_sender_operations(sender) == 0)
            continue;
        sent += mfs_sender_send(sender, now_ns);
        promotions += mfs_sender_promotions(sender);
        stalls += mfs_sender_stalls(sender);
    }
    if (sent > 0)
        mfs_ucx_count(worker, MFS_COUNT_CHUNKS, sent);
    if (promotions > 0)
        mfs_ucx_count(worker, MFS_COUNT_PROMOTIONS, promotions);
    if (stalls > 0)
        mfs_ucx_count(worker, MFS_COUNT_STALLS, stalls);
    return sent;
}

unsigned mfs_ucx_dispatch(struct mfs_ucx_worker *worker)
{
    unsigned sent;

    if (mfs_get(&worker->queued_count) == 0)
        return 0;
    mfs_ucx_lock(worker);
    sent = dispatch(worker, mfs_now_ns());
    mfs_ucx_unlock(worker);
    return sent;
}

/* Our own bytes fill the window, as far as we know: room comes with progress, which looks. */
static bool is_full(const struct mfs_ucx_lane *lane)
{
    return lane->sender->blocked == -ENOBUFS && lane->sender->told.inflight_bytes > 0;
}

int mfs_ucx_enqueue(struct mfs_ucx_ep *ep, const struct mfs_ucx_operation *operation,
                    const struct mfs_tag *tag, ucs_status_ptr_t *result)
{
    struct mfs_ucx_worker *worker = ep->worker;
    const int64_t now_ns = mfs_now_ns();
    struct mfs_ucx_request *request;
    int error = -ENOMEM;

    mfs_ucx_lock(worker);
    request = mfs_ucx_request_of_operation(ep, operation);
    if (request) {
        error = enqueue(request, tag, now_ns);
        if (error)
            mfs_ucx_request_put(request);
    }
    if (!error) {
        if (!is_full(mfs_ucx_lane_of(request)))
            (void)dispatch(worker, now_ns);
        *result = mfs_ucx_hand_over(request);
    }
    mfs_ucx_unlock(worker);
    return error;
}

/* --- all at once --- */

/* The oldest queued operation (of ep), out of the queue; NULL: none. Mutex held. */
static struct mfs_ucx_request *oldest_out(struct mfs_ucx_worker *worker,
                                          const struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_request *request = ep ? ep->queued.first : worker->queued.first;

    if (request)
        mfs_ucx_dequeue(request);
    return request;
}

void mfs_ucx_drain(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_request *request;

    mfs_ucx_lock(worker);
    while ((request = oldest_out(worker, ep)) != NULL) {
        const uint64_t offset = request->op.taken;
        struct mfs_ucx_chunk *chunk = mfs_ucx_chunk_get(worker);

        if (chunk) {
            mfs_ucx_chunk_begin(chunk, request, 0);
            mfs_ucx_chunk_post(chunk, request, offset, request->op.length - offset);
        } else {
            request->result = UCS_ERR_NO_MEMORY;
            mfs_ucx_end_if_over(request);
        }
        issue_between(worker);
    }
    mfs_ucx_unlock(worker);
}

/*
 * WAITING FOR ANOTHER THREAD'S POST: that thread is inside ucp_put_nbx or ucp_get_nbx, with
 * our callbacks only, so it needs nothing but processor time and UCX's lock. We hold that lock
 * only inside a call of UCX's, that is in a callback: there the wait is short, as it may be in
 * vain. Anywhere else it ends by itself; the limit is for callbacks that we do not know of
 * (of the old receive calls, which do not come by here).
 */
#define PATIENCE_NS INT64_C(10000000000)
#define PATIENCE_INSIDE_NS INT64_C(10000000)

_Thread_local unsigned mfs_ucx_inside;

/* -ETIMEDOUT */
static int wait_until_posted(struct mfs_ucx_worker *worker, unsigned side, int64_t until_ns)
{
    while (mfs_see(&worker->posting[side]) > 0) {
        if (mfs_now_ns() >= until_ns)
            return -ETIMEDOUT;
        sched_yield();
    }
    return 0;
}

/* What is being posted now is on one side; what comes later adds to the other. */
static int wait_for_posts(struct mfs_ucx_worker *worker)
{
    const int64_t until_ns = mfs_now_ns() + (mfs_ucx_inside > 0 ? PATIENCE_INSIDE_NS : PATIENCE_NS);

    for (;;) {
        bool turned = false;
        unsigned side;
        int error;

        mfs_ucx_lock(worker);
        side = worker->posting_side;
        if (mfs_see(&worker->posting[!side]) == 0) {
            worker->posting_side = !side;
            turned = true;
        }
        mfs_ucx_unlock(worker);
        /* not turned: another one waits for the other side */
        error = wait_until_posted(worker, turned ? side : !side, until_ns);
        if (error || turned)
            return error;
    }
}

void mfs_ucx_wait_for_posts(struct mfs_ucx_worker *worker)
{
    static _Atomic bool said;

    if (!worker->shared || wait_for_posts(worker) == 0)
        return;
    mfs_ucx_count(worker, MFS_COUNT_FAULTS, 1);
    mfs_warn_once(&said, "a fence or flush did not wait for what another thread was posting");
}

void mfs_ucx_drain_whole(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep)
{
    mfs_ucx_drain(worker, ep);
    mfs_ucx_wait_for_posts(worker);
}

void mfs_ucx_abandon(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep, ucs_status_t status)
{
    struct mfs_ucx_request *request;

    mfs_ucx_lock(worker);
    while ((request = oldest_out(worker, ep)) != NULL) {
        if (request->result == UCS_OK)
            request->result = request->ep->failed != UCS_OK ? request->ep->failed : status;
        mfs_ucx_end_if_over(request);
    }
    mfs_ucx_unlock(worker);
    mfs_ucx_issue(worker);
}

bool mfs_ucx_cancel(struct mfs_ucx_request *request)
{
    struct mfs_ucx_worker *worker = request->worker;
    bool canceled;

    mfs_ucx_lock(worker);
    canceled = request->queued && request->op.taken == 0;
    if (canceled) {
        mfs_ucx_dequeue(request);
        request->canceled = true;
        request->result = UCS_ERR_CANCELED;
        mfs_ucx_end_if_over(request);
    }
    mfs_ucx_unlock(worker);
    mfs_ucx_issue(worker);
    return canceled;
}

/* What waits in it can go without an event of UCX's: where our own bytes must move first, that
 * tells; else nobody will. */
static bool sender_restless(const struct mfs_ucx_worker *worker, const struct mfs_sender *sender)
{
    return mfs_sender_operations(sender) > 0 &&
           (mfs_sender_restless(sender) || mfs_sender_inflight(sender) == 0 || worker->sleepless);
}

bool mfs_ucx_restless(struct mfs_ucx_worker *worker)
{
    bool restless = false;

    if (mfs_get(&worker->done_count) > 0)
        return true;
    if (mfs_get(&worker->queued_count) == 0) {
        mfs_ucx_watch_sleep(worker);
        return false;
    }
    mfs_ucx_lock(worker);
    for (struct mfs_ucx_lane *lane = worker->lanes; lane; lane = lane->next)
        restless = restless || sender_restless(worker, lane->sender);
    for (struct mfs_ucx_lane *lane = worker->lanes; lane && !restless; lane = lane->next)
        mfs_sender_tell_waits(lane->sender, mfs_now_ns()); /* the caller may sleep for long */
    mfs_ucx_unlock(worker);
    return restless;
}
