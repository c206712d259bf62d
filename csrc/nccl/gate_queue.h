/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate's order: messages of connections that wait for their turn on a device's egress
 * port. A message is NCCL's until its turn comes: it asks again and again.
 *
 *   ask ---- nothing waits, room in the window ------------------> go
 *    |
 *    +-- queue -- best, room, no better of another process ------> its turn: go when it asks
 *    |
 *    +-- longer than MFS_LEASE ----------------------------------> go, outside the window
 *
 * A turn that nobody asks for (NCCL has given up) is taken back after MFS_LEASE. Several
 * threads; the lock is never held across a call of the inner plug-in.
 */
#ifndef MFS_NCCL_GATE_QUEUE_H
#define MFS_NCCL_GATE_QUEUE_H

#include <stdatomic.h>

#include "host/host.h"
#include "host/sender.h"
#include "nccl/lock.h"

/* The place of one connection in the order; zeroed before use. */
struct mfs_nccl_ticket {
    struct mfs_op op;      /* first */
    struct mfs_destination to; /* user is NULL until the first message */
    bool queued, turn;
    uint64_t bytes;        /* counted in the window */
    int64_t since_ns;      /* when it began to wait */
    int64_t turn_ns;       /* when its turn came */
    struct mfs_nccl_ticket *next, *prev; /* those with a turn, oldest first */
};

struct mfs_nccl_gate_queue {
    struct mfs_nccl_lock lock; /* guards all that follows, and the tickets in it */
    struct mfs_host *host;
    struct mfs_sender *sender;
    _Atomic uint64_t settings_version; /* read without the lock, as `scheduled` is */
    _Atomic bool scheduled;
    struct mfs_nccl_ticket *turns, *last_turn;
    _Atomic uint32_t waiting; /* tickets in the queue or with a turn */
};

/* -errno: it cannot be; everything goes at once then. */
int mfs_nccl_gate_queue_open(struct mfs_nccl_gate_queue *queue, const char *port);
void mfs_nccl_gate_queue_close(struct mfs_nccl_gate_queue *queue);
/* Is there an order at all? A change of the policy is seen here. */
bool mfs_nccl_gate_queue_orders(struct mfs_nccl_gate_queue *queue);
/* May a message of `bytes` go now? true: *window_bytes are to be given back when it is done. */
bool mfs_nccl_gate_queue_ask(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                             uint64_t bytes, const struct mfs_tag *tag, uint64_t *window_bytes);
/* It could not go after all (the inner plug-in said "try again"): its turn stays. */
void mfs_nccl_gate_queue_keep(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                              uint64_t window_bytes);
void mfs_nccl_gate_queue_done(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket,
                              uint64_t window_bytes);
/* The connection ends, and what was in the window for it. */
void mfs_nccl_gate_queue_leave(struct mfs_nccl_gate_queue *queue, struct mfs_nccl_ticket *ticket);

#endif
