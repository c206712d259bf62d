/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RMLQ, the Reverse Multi-Level Queue: flows start low and are only promoted.
 *
 *   push(op, tag)                         take(max) -> chunk of the best flow
 *        |                                      ^
 *        v                                      |
 *   flow of the tag --- FIFO of operations      |
 *        |  place(policy)                       |
 *        v                                      |
 *   order heap: (level, key, FIFO) -------------+
 *   timer heap: recheck_ns  -> promotions that fall due
 *
 * Invariants: a flow's level never grows while it has operations queued, except
 * to the scavenger level (and back from it); chunks of one operation leave in
 * ascending order and cover [0, length) exactly once; take() returns a chunk
 * whenever anything is queued (work conserving); untagged traffic gets at least
 * its share of the bytes while it waits.
 *
 * Cost: push and take are O(1) in operations; O(log flows) when a flow becomes
 * active, idle or changes its place. No allocation after create: operations are
 * the caller's memory, flows come from a pool of max_flows. Not thread-safe: the
 * owner locks.
 */
#ifndef MFS_CORE_RMLQ_H
#define MFS_CORE_RMLQ_H

#include "policy.h"

struct mfs_flow;
struct mfs_rmlq;

/* One operation of the caller, in the caller's memory, zeroed before push. */
struct mfs_op {
    struct mfs_op *next, *prev; /* FIFO of the flow; owned by the queue while queued */
    struct mfs_flow *flow;      /* NULL when not queued */
    uint64_t length;            /* bytes, > 0; set by the caller */
    uint64_t taken;             /* bytes handed out by take() so far */
    int64_t posted_ns;          /* when it was pushed; written by the queue */
};

/* A piece of an operation that is sent at once: [offset, offset + length). */
struct mfs_chunk {
    struct mfs_op *op;
    uint64_t offset;
    uint64_t length;
    mfs_rank_t rank;   /* at which it was taken */
    struct mfs_tag tag;
    bool last;         /* the operation has left the queue */
};

/* What happens to a flow, for records; nothing is decided by it. */
enum mfs_flow_event {
    MFS_FLOW_QUEUED, /* it became active and has its first level */
    MFS_FLOW_MOVED,  /* its level changed: a promotion, or to the scavenger and back */
    MFS_FLOW_LEFT,   /* its last queued byte has left the queue (or was taken out) */
};

/* Called inside push, peek, take, remove; must not come back to the queue. Both may be NULL. */
struct mfs_flow_watch {
    void *ctx;
    /* level_before: where it was; the same as flow->level but for MFS_FLOW_MOVED */
    void (*told)(void *ctx, enum mfs_flow_event event, const struct mfs_flow_info *flow,
                 uint32_t level_before, int64_t now_ns);
};

struct mfs_rmlq_config {
    const struct mfs_policy *policy;
    struct mfs_params params;
    struct mfs_facts_source facts;
    uint32_t max_flows;         /* 1..2^24-1; flows with operations at one time [4096] */
    uint32_t untagged_permille; /* share that untagged traffic keeps, 0..1000 [50];
                                 * 0: only its rank counts (or the port keeps the share) */
    struct mfs_flow_watch watch; /* [nobody] */
};

/* Defaults: policy mfs, mfs_params_init, no facts, 4096 flows. */
MFS_API void mfs_rmlq_config_init(struct mfs_rmlq_config *config);
/* -EINVAL: a value out of bounds; -ENOMEM. */
MFS_API int mfs_rmlq_create(const struct mfs_rmlq_config *config, struct mfs_rmlq **queue);
MFS_API void mfs_rmlq_destroy(struct mfs_rmlq *queue); /* operations stay the caller's */

/* -EINVAL: length 0, or op already queued; -ENOSPC: no free flow (nothing changed). */
MFS_API int mfs_rmlq_push(struct mfs_rmlq *queue, struct mfs_op *op, const struct mfs_tag *tag,
                          int64_t now_ns);
/* Best flow's rank after promotions due at now_ns, or MFS_RANK_NONE when empty. */
MFS_API mfs_rank_t mfs_rmlq_peek(struct mfs_rmlq *queue, int64_t now_ns);
/* Length of the chunk that take() would return; 0 when empty. After peek() at the same time. */
MFS_API uint64_t mfs_rmlq_peek_bytes(struct mfs_rmlq *queue, uint64_t max_bytes);
/* Both, and what untagged traffic waits: for a port that keeps the untagged share (host/port.h). */
MFS_API void mfs_rmlq_peek_next(struct mfs_rmlq *queue, uint64_t max_bytes, int64_t now_ns,
                                struct mfs_next *next);
/*
 * The next chunk: at most max_bytes (>= 128), cut at a multiple of 128 bytes of the
 * operation unless it ends it. -EAGAIN: nothing is queued; -EINVAL: max_bytes < 128.
 */
MFS_API int mfs_rmlq_take(struct mfs_rmlq *queue, uint64_t max_bytes, int64_t now_ns,
                          struct mfs_chunk *chunk);
/*
 * What the last mfs_rmlq_peek_next() with the same max_bytes saw, if nothing was pushed or taken
 * since: the chunk that goes next or, when `untagged`, the best untagged one, whatever else waits.
 * Nothing is placed anew in between, so what the port was asked for is what is sent. -EAGAIN:
 * nothing (untagged) is queued; -EINVAL: max_bytes < 128.
 */
MFS_API int mfs_rmlq_take_next(struct mfs_rmlq *queue, uint64_t max_bytes, bool untagged,
                               struct mfs_chunk *chunk);
/* Take a queued operation out (cancel); O(1). -ENOENT: not queued. */
MFS_API int mfs_rmlq_remove(struct mfs_rmlq *queue, struct mfs_op *op);

/* Policy and parameters may change at any time; every flow is placed anew. */
MFS_API int mfs_rmlq_set_policy(struct mfs_rmlq *queue, const struct mfs_policy *policy,
                                const struct mfs_params *params, int64_t now_ns);
/* A change of less than 1/32 is ignored. O(flows) otherwise. */
MFS_API void mfs_rmlq_set_rate(struct mfs_rmlq *queue, uint64_t rate_Bps, int64_t now_ns);
/* When the next promotion falls due; MFS_TIME_NEVER if none. */
MFS_API int64_t mfs_rmlq_next_ns(const struct mfs_rmlq *queue);

MFS_API uint64_t mfs_rmlq_bytes(const struct mfs_rmlq *queue);
MFS_API uint64_t mfs_rmlq_operations(const struct mfs_rmlq *queue);
MFS_API uint32_t mfs_rmlq_flows(const struct mfs_rmlq *queue);
MFS_API uint64_t mfs_rmlq_promotions(const struct mfs_rmlq *queue);

#endif
