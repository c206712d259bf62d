/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/watch.h"

#include <stdio.h>

#include "host/answers.h"
#include "host/log.h"
#include "host/waits.h"
#include "ucx/contacts.h"

#define WATCH_EVERY_NS INT64_C(10000000)

/* --- for the sender; mutex held --- */

void mfs_ucx_lane_stalled(void *ctx, const struct mfs_destination *destination, int64_t age_ns)
{
    const struct mfs_ucx_lane *lane = ctx;
    const unsigned long long operations = destination->voq.operations;
    char peer[MFS_PEER_NAME_MAX + 1], oldest[200], waits[80];

    mfs_waits_peer(lane->sender, destination, peer);
    mfs_waits_oldest(lane->worker->host, lane->sender, destination, oldest, sizeof(oldest));
    if (operations > 0)
        snprintf(waits, sizeof(waits), "%llu operations wait for it", operations);
    else
        snprintf(waits, sizeof(waits), "%llu bytes are in flight to it",
                 (unsigned long long)destination->inflight_bytes);
    mfs_log(MFS_LOG_WARN, "%s takes no bytes since %.1f s: %s%s; transfers to others go on", peer,
            (double)age_ns * 1e-9, waits, oldest);
}

void mfs_ucx_lane_describe(void *ctx, const struct mfs_destination *destination, char *name,
                           size_t size)
{
    const struct mfs_ucx_ep *ep = destination->user;

    (void)ctx;
    if (*ep->peer)
        snprintf(name, size, "%s", ep->peer);
    else
        snprintf(name, size, "the peer of endpoint %p", (void *)ep->handle);
}

struct asked {
    uint8_t lane;
    mfs_under_way each;
    void *found;
};

static void request_told(const struct mfs_ucx_request *request, void *ctx)
{
    const struct asked *asked = ctx;

    if (request->ep && request->kind <= MFS_UCX_GET && request->lane == asked->lane &&
        !request->queued && request->inflight > 0)
        asked->each(asked->found, &request->ep->to[request->lane], &request->tag,
                    request->op.length, request->op.posted_ns);
}

void mfs_ucx_lane_under_way(void *ctx, mfs_under_way each, void *found)
{
    const struct mfs_ucx_lane *lane = ctx;
    const struct mfs_ucx_express_pool *express = &lane->worker->express;
    struct asked asked = {(uint8_t)(lane - lane->worker->lanes), each, found};

    mfs_ucx_pool_each(&lane->worker->requests, request_told, &asked);
    for (uint64_t left = mfs_get(&express->used); left; left &= left - 1) {
        const struct mfs_ucx_express *one = &express->all[__builtin_ctzll(left)];

        if (one->lane == asked.lane && !one->over)
            each(found, &one->ep->to[one->lane], &one->tag, one->bytes, 0);
    }
}

/* --- without the mutex --- */

static bool all_in_flight(const struct mfs_sender *sender)
{
    return mfs_sender_operations(sender) == 0 && mfs_sender_inflight(sender) > 0;
}

__attribute__((noinline, cold)) void mfs_ucx_watch(struct mfs_ucx_worker *worker)
{
    if (worker->classes) {
        mfs_answers_look(worker->host, mfs_now_ns());
        mfs_set(&worker->idle_rounds, MFS_UCX_WATCH_ROUNDS - 1); /* and in the next such round */
    }
    mfs_ucx_contacts_round(worker->host);
    mfs_ucx_lock(worker);
    for (struct mfs_ucx_lane *lane = worker->lanes; lane; lane = lane->next) {
        struct mfs_sender *sender = lane->sender;
        uint64_t stalls;
        int64_t now_ns;

        if (!all_in_flight(sender))
            continue;
        now_ns = sender->others.now(sender->others.ctx, false);
        if (now_ns < lane->watch_ns)
            continue;
        lane->watch_ns = now_ns + WATCH_EVERY_NS;
        mfs_sender_watch(sender, mfs_now_ns());
        stalls = mfs_sender_stalls(sender);
        if (stalls > 0)
            mfs_ucx_count(worker, MFS_COUNT_STALLS, stalls);
    }
    mfs_ucx_unlock(worker);
}

void mfs_ucx_watch_sleep(struct mfs_ucx_worker *worker)
{
    mfs_ucx_lock(worker);
    for (struct mfs_ucx_lane *lane = worker->lanes; lane; lane = lane->next) {
        if (all_in_flight(lane->sender))
            mfs_sender_tell_waits(lane->sender, mfs_now_ns());
    }
    mfs_ucx_unlock(worker);
}
