/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/core only: the state of a queue, shared by the files of rmlq and of the sender.
 *
 *   rmlq.c         operations in, chunks out
 *   rmlq_flows.c   flows by destination and tag: a pool, a table, the list of those to place
 *   rmlq_voq.c     the queues of the destinations, and the order among them
 *   rmlq_place.c   asks the policy when something that a flow was judged by has changed
 */
#ifndef MFS_CORE_RMLQ_INSIDE_H
#define MFS_CORE_RMLQ_INSIDE_H

#include "core/heap.h"
#include "core/rmlq.h"
#include "core/window.h"

#define MFS_NO_FLOW UINT32_MAX

/* Two cache lines: what the policy sees, what the queue needs. */
struct mfs_flow {
    _Alignas(64) struct mfs_flow_info info;
    struct mfs_op *head, *tail;  /* operations, oldest first */
    struct mfs_voq *voq;
    uint64_t sequence;           /* order of becoming active */
    uint32_t next;               /* free list, or dirty list while dirty */
    uint32_t prev;               /* dirty list */
    uint32_t moves;              /* of its place */
    bool dirty;
    bool cut;                    /* something of it was taken out */
};

/* Cell of the table of flows: a probe and a deletion touch no flow but the right one. */
struct mfs_flow_cell {
    uint32_t flow; /* index, or MFS_NO_FLOW */
    uint32_t hash; /* of its voq and tag; where it belongs: hash & table_mask */
};

struct mfs_rmlq {
    const struct mfs_policy *policy;
    struct mfs_params params;
    struct mfs_facts_source source;
    struct mfs_flow_watch watch;
    struct mfs_departures *departures; /* of the sender whose queue it is; NULL: of none */
    uint64_t facts_version;    /* as of the last placing of all flows */
    int64_t now_ns;            /* latest time seen; the clock never runs back here */
    struct mfs_heap order[MFS_VOQ_CLASSES][MFS_KINDS]; /* voqs, by the best flow of each */
    struct mfs_heap timers;    /* flows; rank = recheck_ns */
    uint32_t *where;           /* of each flow in the heap of its voq */
    struct mfs_voq **voqs;     /* by index; NULL: a free place */
    uint32_t voqs_count, voqs_room;
    uint32_t voqs_limited;     /* with a limit */
    struct mfs_flow *flows;    /* max_flows of them */
    struct mfs_flow_cell *table; /* (voq, tag) -> flow; open addressing, table_mask + 1 cells */
    uint32_t table_mask;
    uint32_t free_flows;       /* head of the free list */
    uint32_t dirty_flows;      /* head of the list of flows to place before the next look */
    uint64_t share_bytes;      /* virtual time of fair sharing */
    uint64_t sequence;
    uint64_t bytes, operations, promotions;
    uint32_t active;
};

static inline uint32_t mfs_flow_index(const struct mfs_rmlq *queue, const struct mfs_flow *flow)
{
    return (uint32_t)(flow - queue->flows);
}

static inline enum mfs_kind mfs_flow_kind(const struct mfs_flow *flow)
{
    return flow->info.tag.request == MFS_REQUEST_NONE ? MFS_UNTAGGED : MFS_TAGGED;
}

/* The clock never runs back here, and "never" does not come. */
static inline void mfs_rmlq_clock(struct mfs_rmlq *queue, int64_t now_ns)
{
    if (now_ns > queue->now_ns)
        queue->now_ns = now_ns < MFS_TIME_NEVER ? now_ns : MFS_TIME_NEVER - 1;
}

static inline uint64_t mfs_rmlq_chunk_bytes(const struct mfs_op *op, uint64_t max_bytes)
{
    const uint64_t left = op->length - op->taken;

    return left > max_bytes ? max_bytes - max_bytes % MFS_CHUNK_ALIGN : left;
}

/* The best flow of a voq that has one. */
static inline struct mfs_flow *mfs_voq_best(const struct mfs_rmlq *queue, const struct mfs_voq *voq,
                                            enum mfs_kind kind)
{
    return &queue->flows[mfs_heap_item(&voq->flows[kind].entries[0])];
}

/* As mfs_rmlq_head. */
static inline void mfs_rmlq_best(const struct mfs_rmlq *queue, enum mfs_voq_class class,
                                 enum mfs_kind kind, uint64_t max_bytes, struct mfs_head *head)
{
    const struct mfs_heap *order = &queue->order[class][kind];

    if (order->count == 0) {
        *head = (struct mfs_head){.rank = MFS_RANK_NONE};
        return;
    }
    head->rank = order->entries[0].rank;
    head->voq = queue->voqs[mfs_heap_item(&order->entries[0])];
    head->bytes = mfs_rmlq_chunk_bytes(mfs_voq_best(queue, head->voq, kind)->head, max_bytes);
}

/* Is a flow to be placed anew? */
static inline bool mfs_rmlq_is_due(struct mfs_rmlq *queue, int64_t now_ns)
{
    mfs_rmlq_clock(queue, now_ns);
    return queue->dirty_flows != MFS_NO_FLOW ||
           (queue->timers.count > 0 && queue->timers.entries[0].rank <= (uint64_t)queue->now_ns) ||
           (queue->source.version &&
            queue->source.version(queue->source.ctx) != queue->facts_version);
}

/* --- rmlq_flows.c --- */
/* The flow of the tag in the voq, a new one if need be; NULL: no flow is free, or no memory. */
struct mfs_flow *mfs_flow_get(struct mfs_rmlq *queue, struct mfs_voq *voq,
                              const struct mfs_tag *tag);
void mfs_flow_put(struct mfs_rmlq *queue, struct mfs_flow *flow); /* it ran empty */
/* It is to be placed before the next look; and no more. */
void mfs_flow_dirty(struct mfs_rmlq *queue, struct mfs_flow *flow);
void mfs_flow_clean(struct mfs_rmlq *queue, struct mfs_flow *flow);
/* facts: of its request; place: by which it is in its level. NULL, both: they are not at hand. */
void mfs_flow_tell(struct mfs_rmlq *queue, const struct mfs_flow *flow, enum mfs_flow_event event,
                   uint32_t level_before, const struct mfs_facts *facts,
                   const struct mfs_place *place);
/* What the source knows of the tag's request. */
void mfs_flow_facts(const struct mfs_rmlq *queue, const struct mfs_tag *tag,
                    struct mfs_facts *facts);

/* --- rmlq_voq.c --- */
/* The best flow of the voq may have changed: bring the voq to where it belongs. */
void mfs_voq_place(struct mfs_rmlq *queue, struct mfs_voq *voq, enum mfs_kind kind);

/* --- rmlq_place.c --- */
void mfs_rmlq_place_all(struct mfs_rmlq *queue);

#endif
