/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/lane.h"

#include <errno.h>
#include <string.h>

#include "host/config.h"
#include "host/queue.h"
#include "nccl/device.h"

/* A message goes whole, so that is what the queue hands out. */
#define WHOLE (UINT64_MAX >> 1)

int mfs_nccl_lane_open(struct mfs_nccl_lane *lane, const char *port)
{
    int error;

    memset(lane, 0, sizeof(*lane));
    pthread_mutex_init(&lane->mutex, NULL);
    lane->host = mfs_host_get();
    if (!lane->host)
        return -ENOMEM;
    error = mfs_port_open(lane->host, port, MFS_EGRESS, &lane->port);
    if (!error)
        error = mfs_port_join(lane->host, lane->port, &lane->member);
    if (error)
        return error;
    mfs_member_share(lane->member);
    lane->settings_version = mfs_host_settings_version(lane->host);
    lane->scheduled = mfs_nccl_scheduled();
    return mfs_queue_create(lane->host, lane->port, &lane->queue);
}

void mfs_nccl_lane_close(struct mfs_nccl_lane *lane)
{
    mfs_rmlq_destroy(lane->queue);
    if (lane->member)
        mfs_port_leave(lane->member);
    if (lane->port)
        mfs_port_close(lane->port);
    pthread_mutex_destroy(&lane->mutex);
}

static void settings(struct mfs_nccl_lane *lane, uint64_t version)
{
    pthread_mutex_lock(&lane->mutex);
    mfs_queue_settings(lane->host, lane->port, lane->queue);
    atomic_store_explicit(&lane->scheduled, mfs_nccl_scheduled(), memory_order_relaxed);
    atomic_store_explicit(&lane->settings_version, version, memory_order_relaxed);
    pthread_mutex_unlock(&lane->mutex);
}

bool mfs_nccl_lane_orders(struct mfs_nccl_lane *lane)
{
    const uint64_t version = mfs_host_settings_version(lane->host);

    if (version != atomic_load_explicit(&lane->settings_version, memory_order_relaxed))
        settings(lane, version);
    return atomic_load_explicit(&lane->scheduled, memory_order_relaxed);
}

/* --- turns; mutex held --- */

static void turn_add(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket, uint64_t bytes,
                     int64_t now_ns)
{
    ticket->turn = true;
    ticket->bytes = bytes;
    ticket->turn_ns = now_ns;
    ticket->next = NULL;
    ticket->prev = lane->last_turn;
    *(lane->last_turn ? &lane->last_turn->next : &lane->turns) = ticket;
    lane->last_turn = ticket;
}

static void turn_remove(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket)
{
    *(ticket->prev ? &ticket->prev->next : &lane->turns) = ticket->next;
    *(ticket->next ? &ticket->next->prev : &lane->last_turn) = ticket->prev;
    ticket->turn = false;
    atomic_fetch_sub_explicit(&lane->waiting, 1, memory_order_relaxed);
}

static void dispatch(struct mfs_nccl_lane *lane, int64_t now_ns)
{
    while (lane->turns && now_ns - lane->turns->turn_ns > mfs_config_get()->lease) {
        mfs_member_done(lane->member, lane->turns->bytes, now_ns);
        turn_remove(lane, lane->turns);
    }
    while (mfs_rmlq_operations(lane->queue) > 0) {
        struct mfs_nccl_ticket *ticket;
        struct mfs_chunk taken;
        struct mfs_next next;
        uint64_t bytes = 0;
        bool turn = false;

        mfs_rmlq_set_rate(lane->queue, mfs_port_rate_Bps(lane->port), now_ns);
        mfs_rmlq_peek_next(lane->queue, WHOLE, now_ns, &next);
        if (mfs_member_acquire_next(lane->member, &next, now_ns, &turn, &bytes) != 0)
            return;
        if (mfs_rmlq_take_next(lane->queue, WHOLE, turn, &taken) != 0) {
            mfs_member_done(lane->member, bytes, now_ns);
            return;
        }
        ticket = (struct mfs_nccl_ticket *)taken.op;
        ticket->queued = false;
        turn_add(lane, ticket, bytes, now_ns); /* still waits */
    }
    mfs_member_publish(lane->member, MFS_RANK_NONE, now_ns);
}

static bool ask(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket, uint64_t bytes,
                const struct mfs_tag *tag, uint64_t *window_bytes)
{
    const int64_t now_ns = mfs_now_ns();

    *window_bytes = 0;
    if (!ticket->queued && !ticket->turn) {
        ticket->op = (struct mfs_op){.length = bytes};
        if (mfs_rmlq_push(lane->queue, &ticket->op, tag, now_ns) != 0) {
            mfs_count(lane->host, MFS_COUNT_FAULTS, 1); /* fail open */
            return true;
        }
        ticket->queued = true;
        atomic_fetch_add_explicit(&lane->waiting, 1, memory_order_relaxed);
        ticket->since_ns = now_ns;
        mfs_count(lane->host, MFS_COUNT_DEFERRED, 1);
    }
    dispatch(lane, now_ns);
    if (ticket->turn) {
        turn_remove(lane, ticket);
        *window_bytes = ticket->bytes;
        return true;
    }
    if (ticket->queued && now_ns - ticket->since_ns <= mfs_config_get()->nccl_hold)
        return false;
    if (ticket->queued) {
        (void)mfs_rmlq_remove(lane->queue, &ticket->op);
        atomic_fetch_sub_explicit(&lane->waiting, 1, memory_order_relaxed);
    }
    ticket->queued = false;
    return true; /* it has waited for long enough */
}

bool mfs_nccl_lane_ask(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket, uint64_t bytes,
                       const struct mfs_tag *tag, uint64_t *window_bytes)
{
    bool go;

    *window_bytes = 0;
    if (bytes == 0)
        return true;
    if (atomic_load_explicit(&lane->waiting, memory_order_relaxed) == 0) {
        if (bytes <= mfs_config_get()->small)
            return true;
        /* straight through: nothing waits here, nobody better elsewhere, and there is room */
        if (mfs_member_express(lane->member, bytes, WHOLE) == 0) {
            *window_bytes = bytes;
            return true;
        }
    }
    pthread_mutex_lock(&lane->mutex);
    go = ask(lane, ticket, bytes, tag, window_bytes);
    pthread_mutex_unlock(&lane->mutex);
    return go;
}

void mfs_nccl_lane_keep(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket,
                        uint64_t window_bytes)
{
    if (window_bytes == 0)
        return;
    pthread_mutex_lock(&lane->mutex);
    atomic_fetch_add_explicit(&lane->waiting, 1, memory_order_relaxed);
    turn_add(lane, ticket, window_bytes, mfs_now_ns());
    pthread_mutex_unlock(&lane->mutex);
}

void mfs_nccl_lane_done(struct mfs_nccl_lane *lane, uint64_t window_bytes)
{
    if (window_bytes > 0)
        mfs_member_done_now(lane->member, window_bytes, window_bytes); /* takes no lock */
}

void mfs_nccl_lane_leave(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket)
{
    pthread_mutex_lock(&lane->mutex);
    if (ticket->queued) {
        (void)mfs_rmlq_remove(lane->queue, &ticket->op);
        atomic_fetch_sub_explicit(&lane->waiting, 1, memory_order_relaxed);
    }
    ticket->queued = false;
    if (ticket->turn) {
        mfs_member_done(lane->member, ticket->bytes, mfs_now_ns());
        turn_remove(lane, ticket);
    }
    if (mfs_rmlq_operations(lane->queue) == 0)
        mfs_member_publish(lane->member, MFS_RANK_NONE, mfs_now_ns());
    pthread_mutex_unlock(&lane->mutex);
}
