/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/gate_queue.h"

#include <errno.h>
#include <string.h>

#include "core/atomic.h"
#include "host/config.h"
#include "host/warned.h"
#include "nccl/device.h"

/* A message goes whole, so that is what the queue hands out. */
#define WHOLE (UINT64_MAX >> 1)
#define NO_ROOM "NCCL: the gate's queue took no more: a message goes in its original order"

int mfs_nccl_gate_queue_open(struct mfs_nccl_gate_queue *queue, const char *port)
{
    memset(queue, 0, sizeof(*queue));
    queue->host = mfs_host_get();
    if (!queue->host)
        return -ENOMEM;
    mfs_set(&queue->settings_version, mfs_host_settings_version(queue->host));
    mfs_set(&queue->scheduled, mfs_nccl_scheduled());
    return mfs_sender_join(queue->host, port, MFS_EGRESS, NULL, &queue->sender);
}

void mfs_nccl_gate_queue_close(struct mfs_nccl_gate_queue *queue)
{
    mfs_sender_leave(queue->sender);
}

static void follow(struct mfs_nccl_gate_queue *queue, uint64_t version)
{
    mfs_nccl_lock_take(&queue->lock);
    mfs_sender_follow(queue->sender);
    mfs_set(&queue->scheduled, mfs_nccl_scheduled());
    mfs_set(&queue->settings_version, version);
    mfs_nccl_lock_give(&queue->lock);
}

bool mfs_nccl_gate_queue_orders(struct mfs_nccl_gate_queue *queue)
{
    const uint64_t version = mfs_host_settings_version(queue->host);

    if (version != mfs_get(&queue->settings_version))
        follow(queue, version);
    return mfs_get(&queue->scheduled);
}

/* --- turns; lock held --- */

static void turn_add(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                     uint64_t bytes, int64_t now_ns)
{
    ticket->turn = true;
    ticket->bytes = bytes;
    ticket->turn_ns = now_ns;
    ticket->next = NULL;
    ticket->prev = queue->last_turn;
    *(queue->last_turn ? &queue->last_turn->next : &queue->turns) = ticket;
    queue->last_turn = ticket;
}

static void turn_remove(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket)
{
    *(ticket->prev ? &ticket->prev->next : &queue->turns) = ticket->next;
    *(ticket->next ? &ticket->next->prev : &queue->last_turn) = ticket->prev;
    ticket->turn = false;
    mfs_sub_own(&queue->waiting, 1);
}

static void dequeue(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                    int64_t now_ns)
{
    if (!ticket->queued)
        return;
    (void)mfs_sender_remove(queue->sender, &ticket->op, now_ns);
    ticket->queued = false;
    mfs_sub_own(&queue->waiting, 1);
}

/* Give turns while the port allows. */
static void give_turns(struct mfs_nccl_gate_queue *queue, int64_t now_ns)
{
    struct mfs_chunk chunk;

    while (queue->turns && now_ns - queue->turns->turn_ns > mfs_config_get()->lease) {
        mfs_sender_done(queue->sender, &queue->turns->to, queue->turns->bytes, now_ns);
        turn_remove(queue, queue->turns);
    }
    while (mfs_sender_operations(queue->sender) > 0 &&
           mfs_sender_next(queue->sender, WHOLE, now_ns, &chunk) == 0) {
        struct mfs_nccl_ticket *ticket = (struct mfs_nccl_ticket *)chunk.op;

        ticket->queued = false;
        turn_add(queue, ticket, chunk.length, now_ns); /* still waits */
    }
}

/* Queue it. false: it cannot be; it goes at once (fail open). */
static bool enqueue(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                    uint64_t bytes, const struct mfs_tag *tag, int64_t now_ns)
{
    ticket->op = (struct mfs_op){.length = bytes};
    if (mfs_sender_push(queue->sender, &ticket->op, &ticket->to, tag, now_ns) != 0) {
        mfs_count(queue->host, MFS_COUNT_FAULTS, 1);
        mfs_warned_note(queue->host, NO_ROOM, NO_ROOM);
        return false;
    }
    ticket->queued = true;
    ticket->since_ns = now_ns;
    mfs_add_own(&queue->waiting, 1);
    mfs_count(queue->host, MFS_COUNT_DEFERRED, 1);
    return true;
}

static bool ask(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket, uint64_t bytes,
                const struct mfs_tag *tag, uint64_t *window_bytes)
{
    const int64_t now_ns = mfs_now_ns();

    if (!ticket->queued && !ticket->turn && !enqueue(queue, ticket, bytes, tag, now_ns))
        return true;
    give_turns(queue, now_ns);
    if (ticket->turn) {
        turn_remove(queue, ticket);
        *window_bytes = ticket->bytes;
        return true;
    }
    if (ticket->queued && now_ns - ticket->since_ns <= mfs_config_get()->lease)
        return false;
    dequeue(queue, ticket, now_ns);
    return true; /* it has waited for long enough */
}

/* The connection as a destination. false: no memory. */
static bool known(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket)
{
    if (!MFS_LIKELY(ticket->to.user != NULL) &&
        mfs_sender_open(queue->sender, &ticket->to, ticket) != 0) {
        ticket->to.user = NULL;
        return false;
    }
    return true;
}

bool mfs_nccl_gate_queue_ask(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                             uint64_t bytes, const struct mfs_tag *tag, uint64_t *window_bytes)
{
    bool go = true;

    *window_bytes = 0;
    if (bytes == 0 || (bytes <= mfs_config_get()->small && mfs_get(&queue->waiting) == 0))
        return true;
    mfs_nccl_lock_take(&queue->lock);
    if (!known(queue, ticket)) {
        mfs_count(queue->host, MFS_COUNT_FAULTS, 1);
        mfs_warned_note(queue->host, NO_ROOM, NO_ROOM);
    } else if (mfs_get(&queue->waiting) == 0 &&
               mfs_sender_express(queue->sender, &ticket->to, bytes, WHOLE) == 0)
        *window_bytes = bytes;
    else
        go = ask(queue, ticket, bytes, tag, window_bytes);
    mfs_nccl_lock_give(&queue->lock);
    return go;
}

void mfs_nccl_gate_queue_keep(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                              uint64_t window_bytes)
{
    if (window_bytes == 0)
        return;
    mfs_nccl_lock_take(&queue->lock);
    mfs_add_own(&queue->waiting, 1);
    turn_add(queue, ticket, window_bytes, mfs_now_ns());
    mfs_nccl_lock_give(&queue->lock);
}

void mfs_nccl_gate_queue_done(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                              uint64_t window_bytes)
{
    if (window_bytes == 0)
        return;
    mfs_nccl_lock_take(&queue->lock);
    mfs_sender_done_now(queue->sender, &ticket->to, window_bytes, false);
    mfs_nccl_lock_give(&queue->lock);
}

void mfs_nccl_gate_queue_leave(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket)
{
    const int64_t now_ns = mfs_now_ns();

    if (!ticket->to.user)
        return;
    mfs_nccl_lock_take(&queue->lock);
    dequeue(queue, ticket, now_ns);
    if (ticket->turn) {
        mfs_sender_done(queue->sender, &ticket->to, ticket->bytes, now_ns);
        turn_remove(queue, ticket);
    }
    mfs_sender_close(queue->sender, &ticket->to);
    mfs_nccl_lock_give(&queue->lock);
}
