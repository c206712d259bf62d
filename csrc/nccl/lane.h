/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate's order: messages of connections that wait for their turn on a device's egress
 * port. A message is NCCL's until its turn comes: it asks again and again.
 *
 *   ask ---- nothing waits, room in the window ------------------> go
 *    |
 *    +-- queue (RMLQ) -- best, room, no better of another process --> its turn: go when it asks
 *    |
 *    +-- longer than MFS_NCCL_HOLD ------------------------------> go, outside the window
 *
 * A turn that nobody asks for (NCCL has given up) is taken back after MFS_LEASE. Several
 * threads; a mutex, never held across a call of the inner plug-in. It is not taken while nothing
 * waits: the port's words are atomic, and a rank that such a pass overwrites is told again at
 * the waiting one's next look.
 */
#ifndef MFS_NCCL_LANE_H
#define MFS_NCCL_LANE_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/rmlq.h"
#include "host/host.h"
#include "host/port.h"

/* The place of one connection in the order; zeroed before use. */
struct mfs_nccl_ticket {
    struct mfs_op op;      /* first */
    bool queued, turn;
    uint64_t bytes;        /* counted in the window */
    int64_t since_ns;      /* when it began to wait */
    int64_t turn_ns;       /* when its turn came */
    struct mfs_nccl_ticket *next, *prev; /* those with a turn, oldest first */
};

struct mfs_nccl_lane {
    pthread_mutex_t mutex; /* guards all that follows, and the tickets in it */
    struct mfs_host *host;
    struct mfs_rmlq *queue;
    struct mfs_port *port;
    struct mfs_member *member;
    _Atomic uint64_t settings_version; /* read without the mutex, as `scheduled` is */
    _Atomic bool scheduled;
    struct mfs_nccl_ticket *turns, *last_turn;
    _Atomic uint32_t waiting; /* tickets in the queue or with a turn; 0: no mutex is needed */
};

/* -errno: it cannot be; everything goes at once then. */
int mfs_nccl_lane_open(struct mfs_nccl_lane *lane, const char *port);
void mfs_nccl_lane_close(struct mfs_nccl_lane *lane);
/* Is there an order at all? A change of the policy is seen here. */
bool mfs_nccl_lane_orders(struct mfs_nccl_lane *lane);
/* May a message of `bytes` go now? true: *window_bytes are to be given back when it is done. */
bool mfs_nccl_lane_ask(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket, uint64_t bytes,
                       const struct mfs_tag *tag, uint64_t *window_bytes);
/* It could not go after all (the inner plug-in said "try again"): its turn stays. */
void mfs_nccl_lane_keep(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket,
                        uint64_t window_bytes);
void mfs_nccl_lane_done(struct mfs_nccl_lane *lane, uint64_t window_bytes);
/* The connection ends. */
void mfs_nccl_lane_leave(struct mfs_nccl_lane *lane, struct mfs_nccl_ticket *ticket);

#endif
