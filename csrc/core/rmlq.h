/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RMLQ, the Reverse Multi-Level Queue: flows start low and are only promoted. Each destination
 * has a queue of its own in it, so that one that takes no bytes holds up no other (switches call
 * these virtual output queues).
 *
 *   push(op, voq, tag)                                   take(voq, kind, max) -> chunk
 *        |                                                     ^
 *        v                                                     |
 *   flow of (voq, tag) --- FIFO of operations                  |
 *        |  place(policy)                                      |
 *        v                                                     |
 *   heap of the voq's flows: (level, key, FIFO) -> its best    |
 *        v                                                     |
 *   heap of the voqs of a class, by their best ---- head() ----+
 *   timer heap: recheck_ns  -> promotions that fall due
 *
 * The owner (core/sender.h) says in which class a voq is: it asks for the best of those that are
 * open and of those that are slow, and a parked one is in no order at all. A change of class is
 * O(log voqs), however many flows the voq has.
 *
 * Invariants: a flow's level never grows while it has operations queued, except
 * to the scavenger level (and back from it); chunks of one operation leave in
 * ascending order and cover [0, length) exactly once.
 *
 * Cost: push and take are O(1) in operations; O(log flows) when a flow becomes
 * active, idle or changes its place. Operations are the caller's memory, flows come from a pool
 * of max_flows. The only memory that grows is a voq's heap, when the voq has more flows at one
 * time than ever before. Not thread-safe: the owner locks.
 */
#ifndef MFS_CORE_RMLQ_H
#define MFS_CORE_RMLQ_H

#include "core/heap.h"
#include "core/why.h"

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

/* Traffic of a request, and traffic of none: each has an order of its own. */
enum mfs_kind { MFS_TAGGED, MFS_UNTAGGED, MFS_KINDS };

enum mfs_voq_class {
    MFS_VOQ_OPEN,
    MFS_VOQ_SLOW,
    MFS_VOQ_CLASSES,
    MFS_VOQ_PARKED = MFS_VOQ_CLASSES,
};

/* The queue of one destination, in the caller's memory. Fields are the queue's. */
struct mfs_voq {
    struct mfs_heap flows[MFS_KINDS]; /* by their index in the queue's pool */
    uint32_t active[MFS_KINDS];       /* flows, in the heaps or to be placed there */
    uint64_t operations;              /* queued */
    uint32_t index;                   /* in the queue's table of voqs */
    uint32_t class;                   /* enum mfs_voq_class */
    mfs_rank_t limit; /* what has a larger rank is held back; MFS_RANK_NONE: nothing is. Untagged
                       * traffic keeps its share: there it is MFS_RANK_LAST */
};

/* The best flow of a class and kind. */
struct mfs_head {
    mfs_rank_t rank;     /* MFS_RANK_NONE: nothing waits there */
    uint64_t bytes;      /* of its next chunk; 0 when nothing waits */
    struct mfs_voq *voq; /* NULL when nothing waits */
};

/* A piece of an operation that is sent at once: [offset, offset + length). */
struct mfs_chunk {
    struct mfs_op *op;
    struct mfs_voq *voq;
    uint64_t offset;
    uint64_t length;
    mfs_rank_t rank;   /* at which it was taken */
    struct mfs_tag tag;
    bool last;         /* the operation has left the queue */
};

/* What happens to a flow, for records; nothing is decided by it. */
enum mfs_flow_event {
    MFS_FLOW_QUEUED, /* it became active and has its first level */
    MFS_FLOW_MOVED,  /* its level changed: promoted, given up and back, its deadline gone */
    MFS_FLOW_LEFT,   /* its last queued byte has left the queue (or was taken out) */
    MFS_FLOW_COMPLETED, /* its last byte was acknowledged; of senders alone (core/departed.h) */
};

struct mfs_flow_told {
    enum mfs_flow_event event;
    uint32_t level_before; /* where it was; the same as flow->level but for MFS_FLOW_MOVED */
    const struct mfs_flow_info *flow;
    const struct mfs_facts *facts; /* what is known of its request */
    int64_t now_ns;
    struct mfs_why why; /* of its level, where that is new */
};

/* Called inside push, peek, take, remove and done; must not come back to the queue. All may be
 * NULL. */
struct mfs_flow_watch {
    void *ctx;
    bool (*wanted)(void *ctx); /* is there a use for it now? NULL: always */
    void (*told)(void *ctx, const struct mfs_flow_told *told);
};

struct mfs_rmlq_config {
    const struct mfs_policy *policy;
    struct mfs_params params;
    struct mfs_facts_source facts;
    uint32_t max_flows;          /* 1..2^24-1; flows with operations at one time [4096] */
    struct mfs_flow_watch watch; /* [nobody] */
};

/* Defaults: policy mfs, mfs_params_init, no facts, 4096 flows. */
MFS_API void mfs_rmlq_config_init(struct mfs_rmlq_config *config);
/* -EINVAL: a value out of bounds; -ENOMEM. */
MFS_API int mfs_rmlq_create(const struct mfs_rmlq_config *config, struct mfs_rmlq **queue);
/* Operations and voqs stay the caller's; the voqs were closed before. */
MFS_API void mfs_rmlq_destroy(struct mfs_rmlq *queue);

/* A queue for one destination more, open. -ENOMEM. */
MFS_API int mfs_voq_open(struct mfs_rmlq *queue, struct mfs_voq *voq);
/* Nothing is queued in it. One that was never opened is left alone, if it is zeroed. */
MFS_API void mfs_voq_close(struct mfs_rmlq *queue, struct mfs_voq *voq);
/* Flows of the voq whose rank is larger are no candidates until another limit is set; untagged ones
 * are for the untagged share alone. */
MFS_API void mfs_voq_limit(struct mfs_rmlq *queue, struct mfs_voq *voq, mfs_rank_t limit);
MFS_API void mfs_voq_move(struct mfs_rmlq *queue, struct mfs_voq *voq, enum mfs_voq_class class);

/* -EINVAL: length 0, or op already queued; -ENOSPC: no free flow (nothing changed). */
MFS_API int mfs_rmlq_push(struct mfs_rmlq *queue, struct mfs_op *op, struct mfs_voq *voq,
                          const struct mfs_tag *tag, int64_t now_ns);
/* Bring every flow to where it belongs at now_ns: before head() and take(). */
MFS_API void mfs_rmlq_place_due(struct mfs_rmlq *queue, int64_t now_ns);
/* How many open voqs have something that waits; one with traffic of both kinds counts twice. */
MFS_API uint32_t mfs_rmlq_waiting_voqs(const struct mfs_rmlq *queue);
/* Does anything wait in an open voq? Without place_due(). */
MFS_API bool mfs_rmlq_waits(const struct mfs_rmlq *queue);
/* The best of a class and kind, and its next chunk of at most max_bytes (>= 128). */
MFS_API void mfs_rmlq_head(const struct mfs_rmlq *queue, enum mfs_voq_class class,
                           enum mfs_kind kind, uint64_t max_bytes, struct mfs_head *head);
/*
 * The next chunk of a head's voq: at most max_bytes (>= 128), cut at a multiple of 128 bytes of
 * the operation unless it ends it. Nothing is placed anew, so it is what head() has shown if
 * nothing was pushed, removed or moved since. There is one.
 */
MFS_API void mfs_rmlq_take(struct mfs_rmlq *queue, struct mfs_voq *voq, enum mfs_kind kind,
                           uint64_t max_bytes, struct mfs_chunk *chunk);
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
