/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ORDER: The levels are not K lists but the top bits of one rank, so that "best
 * flow" is the root of one heap, a promotion is one decrease-key, and processes
 * can compare ranks with one load. Only flows are in the heap: 100,000 operations
 * with one tag are one entry, and their order among themselves is a list.
 *
 * PLACING: A flow is placed by the policy when something it was judged by has
 * changed: operations were added (once before the next look, not once each), a
 * known promotion falls due (timer heap), what is known of requests moved (one
 * version number for all; then every flow is placed anew, O(flows), at the rate of
 * control messages, not of traffic), or the policy was exchanged. Sending bytes
 * makes no flow more urgent, so take() asks again only for places that say so;
 * a timer that turns out to be early is simply set again.
 *
 * UNTAGGED: Untagged flows have a heap of their own. While both kinds wait, each
 * tagged byte earns the untagged ones share/(1000-share) of a byte; when that is
 * worth a chunk they get one, whatever waits. So n bytes of untagged traffic leave
 * before n * 1000/share + one chunk bytes in all have left. Where several queues share
 * a port the port keeps this account for all of them and theirs is off (share 0): with
 * one of its own each, a queue whose tagged traffic never has the best rank would earn
 * nothing, and two would spend what was earned once.
 */
#include "core/rmlq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/window.h"

#define NO_FLOW UINT32_MAX
#define CREDIT_MAX (UINT64_C(1) << 43) /* bytes; its products below stay in 64 bits */

/* Two cache lines: what the policy sees, what the queue needs. */
struct mfs_flow {
    _Alignas(64) struct mfs_flow_info info;
    struct mfs_op *head, *tail;  /* operations, oldest first */
    uint64_t sequence;           /* order of becoming active */
    uint32_t next;               /* free list, or dirty list while dirty */
    uint32_t prev;               /* dirty list */
    uint32_t moves;              /* of its place */
    bool dirty;
};

/* Cell of the table of flows: a probe and a deletion touch no flow but the right one. */
struct cell {
    uint32_t flow; /* index, or NO_FLOW */
    uint32_t hash; /* of its tag; where it belongs: hash & table_mask */
};

enum { TAGGED, UNTAGGED, KINDS };

struct mfs_rmlq {
    const struct mfs_policy *policy;
    struct mfs_params params;
    struct mfs_facts_source source;
    struct mfs_flow_watch watch;
    uint64_t facts_version;    /* as of the last placing of all flows */
    int64_t now_ns;            /* latest time seen; the clock never runs back here */
    struct mfs_heap order[KINDS];
    struct mfs_heap timers;    /* rank = recheck_ns */
    struct mfs_flow *flows;    /* max_flows of them */
    struct cell *table;        /* tag -> flow; open addressing, table_mask + 1 cells */
    uint32_t table_mask;
    uint32_t free_flows;       /* head of the free list */
    uint32_t dirty_flows;      /* head of the list of flows to place before the next look */
    uint32_t untagged_permille;
    uint64_t untagged_credit;  /* bytes owed to untagged traffic, in thousandths */
    uint64_t share_bytes;      /* virtual time of fair sharing */
    uint64_t sequence;
    uint64_t bytes, operations, promotions;
    uint32_t active;
};

/* --- flows by tag --- */

static uint32_t tag_hash(const struct mfs_tag *tag)
{
    uint64_t hash =
        tag->request ^ ((uint64_t)tag->layer << 32 | tag->stage) * UINT64_C(0x9E3779B97F4A7C15);

    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    hash ^= hash >> 32;
    return (uint32_t)hash;
}

static bool tag_equal(const struct mfs_tag *a, const struct mfs_tag *b)
{
    return a->request == b->request && a->layer == b->layer && a->stage == b->stage;
}

/* The tag's cell, or the free one where it would go. */
static struct cell *tag_cell(struct mfs_rmlq *queue, const struct mfs_tag *tag, uint32_t hash)
{
    uint32_t at = hash & queue->table_mask;

    while (queue->table[at].flow != NO_FLOW &&
           (queue->table[at].hash != hash ||
            !tag_equal(&queue->flows[queue->table[at].flow].info.tag, tag)))
        at = (at + 1) & queue->table_mask;
    return &queue->table[at];
}

/* Backward-shift deletion: no tombstones, look-ups stay short for ever. */
static void flow_forget(struct mfs_rmlq *queue, uint32_t index)
{
    const uint32_t mask = queue->table_mask;
    uint32_t hole = tag_hash(&queue->flows[index].info.tag) & mask, at;

    while (queue->table[hole].flow != index)
        hole = (hole + 1) & mask;
    for (at = (hole + 1) & mask; queue->table[at].flow != NO_FLOW; at = (at + 1) & mask) {
        if (((at - queue->table[at].hash) & mask) >= ((at - hole) & mask)) {
            queue->table[hole] = queue->table[at];
            hole = at;
        }
    }
    queue->table[hole].flow = NO_FLOW;
}

static inline uint32_t flow_index(const struct mfs_rmlq *queue, const struct mfs_flow *flow)
{
    return (uint32_t)(flow - queue->flows);
}

static inline struct mfs_heap *flow_order(struct mfs_rmlq *queue, const struct mfs_flow *flow)
{
    return &queue->order[flow->info.tag.request == MFS_REQUEST_NONE ? UNTAGGED : TAGGED];
}

static void flow_dirty(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    if (flow->dirty)
        return;
    flow->dirty = true;
    flow->prev = NO_FLOW;
    flow->next = queue->dirty_flows;
    queue->dirty_flows = flow_index(queue, flow);
    if (flow->next != NO_FLOW)
        queue->flows[flow->next].prev = queue->dirty_flows;
}

static void flow_clean(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    if (!flow->dirty)
        return;
    flow->dirty = false;
    if (flow->prev != NO_FLOW)
        queue->flows[flow->prev].next = flow->next;
    else
        queue->dirty_flows = flow->next;
    if (flow->next != NO_FLOW)
        queue->flows[flow->next].prev = flow->prev;
}

static struct mfs_flow *flow_get(struct mfs_rmlq *queue, const struct mfs_tag *tag)
{
    const uint32_t hash = tag_hash(tag);
    struct cell *cell = tag_cell(queue, tag, hash);
    struct mfs_flow *flow;

    if (cell->flow != NO_FLOW)
        return &queue->flows[cell->flow];
    if (queue->free_flows == NO_FLOW)
        return NULL;
    *cell = (struct cell){queue->free_flows, hash};
    flow = &queue->flows[cell->flow];
    queue->free_flows = flow->next;
    memset(flow, 0, sizeof(*flow));
    flow->info.tag = *tag;
    flow->info.active_ns = queue->now_ns;
    flow->info.arrival_ns = queue->now_ns;
    flow->info.share_bytes = queue->share_bytes;
    flow->info.level = MFS_LEVELS_MAX;
    flow->sequence = queue->sequence++;
    queue->active++;
    return flow;
}

static __attribute__((noinline, cold)) void flow_tell(struct mfs_rmlq *queue,
                                                      const struct mfs_flow *flow,
                                                      enum mfs_flow_event event,
                                                      uint32_t level_before)
{
    queue->watch.told(queue->watch.ctx, event, &flow->info, level_before, queue->now_ns);
}

/* The flow ran empty. */
static void flow_put(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    uint32_t index = flow_index(queue, flow);

    if (queue->watch.told)
        flow_tell(queue, flow, MFS_FLOW_LEFT, flow->info.level);
    mfs_heap_remove(flow_order(queue, flow), index);
    mfs_heap_remove(&queue->timers, index);
    flow_forget(queue, index);
    flow_clean(queue, flow);
    queue->active--;
    flow->next = queue->free_flows;
    queue->free_flows = index;
}

/* --- placing --- */

/* Ask the policy; a level only falls, but to the scavenger and back. */
static mfs_rank_t flow_judge(struct mfs_rmlq *queue, struct mfs_flow *flow, int64_t *recheck_ns)
{
    const uint32_t scavenger = queue->params.levels;
    uint32_t level = flow->info.level;
    struct mfs_place place = {queue->params.levels - 1, MFS_MOVES_STILL, 0, MFS_TIME_NEVER};
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    if (queue->source.read && flow->info.tag.request != MFS_REQUEST_NONE)
        (void)queue->source.read(queue->source.ctx, flow->info.tag.request, &facts);
    queue->policy->place(&queue->params, &flow->info, &facts, queue->now_ns, &place);
    if (place.level > scavenger)
        place.level = scavenger;
    if (level < scavenger && place.level != scavenger && place.level > level)
        place.level = level;
    if (level < MFS_LEVELS_MAX && place.level < level)
        queue->promotions++;
    flow->info.level = place.level;
    if (queue->watch.told && level != place.level)
        flow_tell(queue, flow, level < MFS_LEVELS_MAX ? MFS_FLOW_MOVED : MFS_FLOW_QUEUED,
                  level < MFS_LEVELS_MAX ? level : place.level);
    flow->moves = place.moves;
    *recheck_ns = place.recheck_ns > queue->now_ns ? place.recheck_ns : queue->now_ns + 1;
    return mfs_rank_make(place.level, place.key);
}

static void flow_place(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    uint32_t index = flow_index(queue, flow);
    int64_t recheck_ns;
    mfs_rank_t rank = flow_judge(queue, flow, &recheck_ns);

    mfs_heap_set(flow_order(queue, flow), index, rank, flow->sequence);
    if (recheck_ns == MFS_TIME_NEVER)
        mfs_heap_remove(&queue->timers, index);
    else
        mfs_heap_set(&queue->timers, index, (uint64_t)recheck_ns, flow->sequence);
}

static void place_dirty(struct mfs_rmlq *queue)
{
    while (queue->dirty_flows != NO_FLOW) {
        struct mfs_flow *flow = &queue->flows[queue->dirty_flows];

        flow_clean(queue, flow);
        flow_place(queue, flow);
    }
}

static void place_all(struct mfs_rmlq *queue)
{
    place_dirty(queue);
    while (queue->timers.count > 0)
        queue->timers.where[mfs_heap_item(&queue->timers.entries[--queue->timers.count])] =
            MFS_HEAP_NOWHERE;
    for (int kind = 0; kind < KINDS; kind++) {
        struct mfs_heap *order = &queue->order[kind];

        for (uint32_t at = 0; at < order->count; at++) {
            uint32_t index = mfs_heap_item(&order->entries[at]);
            int64_t recheck_ns;

            order->entries[at].rank = flow_judge(queue, &queue->flows[index], &recheck_ns);
            if (recheck_ns != MFS_TIME_NEVER)
                mfs_heap_set(&queue->timers, index, (uint64_t)recheck_ns,
                             queue->flows[index].sequence);
        }
        mfs_heap_rebuild(order);
    }
}

/* The clock never runs back here, and "never" does not come. */
static void clock_set(struct mfs_rmlq *queue, int64_t now_ns)
{
    if (now_ns > queue->now_ns)
        queue->now_ns = now_ns < MFS_TIME_NEVER ? now_ns : MFS_TIME_NEVER - 1;
}

/* Bring every flow to where it belongs at now_ns. */
static void settle(struct mfs_rmlq *queue, int64_t now_ns)
{
    clock_set(queue, now_ns);
    if (queue->source.version) {
        uint64_t version = queue->source.version(queue->source.ctx);

        if (version != queue->facts_version) {
            queue->facts_version = version;
            place_all(queue);
        }
    }
    if (queue->dirty_flows != NO_FLOW)
        place_dirty(queue);
    while (queue->timers.count > 0 && queue->timers.entries[0].rank <= (uint64_t)queue->now_ns)
        flow_place(queue, &queue->flows[mfs_heap_item(&queue->timers.entries[0])]);
}

/* --- the queue --- */

void mfs_rmlq_config_init(struct mfs_rmlq_config *config)
{
    memset(config, 0, sizeof(*config));
    config->policy = mfs_policy_find("mfs");
    mfs_params_init(&config->params);
    config->max_flows = 4096;
    config->untagged_permille = 50;
}

static bool params_valid(const struct mfs_params *params)
{
    return params->levels >= 2 && params->levels < MFS_LEVELS_MAX && params->theta_ns > 0 &&
           params->rate_margin >= 1.0 && params->mlu_base > 1.0 && params->mlu_top > 0.0 &&
           params->load >= 0.0 && params->load < 1.0 && params->promote_interval_ns >= 0 &&
           mfs_stage_name(params->untagged_stage) != NULL;
}

int mfs_rmlq_create(const struct mfs_rmlq_config *config, struct mfs_rmlq **out)
{
    struct mfs_rmlq *queue;
    uint32_t cells = 16;
    int kind, error = 0;

    if (!config->policy || !params_valid(&config->params) || config->max_flows == 0 ||
        config->max_flows >= 1u << MFS_HEAP_ITEM_BITS || config->untagged_permille > 1000)
        return -EINVAL;
    queue = calloc(1, sizeof(*queue));
    if (!queue)
        return -ENOMEM;
    while (cells < 2 * config->max_flows)
        cells *= 2;
    for (kind = 0; kind < KINDS && !error; kind++)
        error = mfs_heap_init(&queue->order[kind], config->max_flows);
    if (!error)
        error = mfs_heap_init(&queue->timers, config->max_flows);
    queue->flows =
        aligned_alloc(_Alignof(struct mfs_flow), sizeof(*queue->flows) * config->max_flows);
    queue->table = malloc(sizeof(*queue->table) * cells);
    if (error || !queue->flows || !queue->table) {
        mfs_rmlq_destroy(queue);
        return -ENOMEM;
    }
    memset(queue->table, 0xff, sizeof(*queue->table) * cells);
    for (uint32_t i = 0; i < config->max_flows; i++)
        queue->flows[i].next = i + 1 < config->max_flows ? i + 1 : NO_FLOW;
    queue->table_mask = cells - 1;
    queue->dirty_flows = NO_FLOW;
    queue->policy = config->policy;
    queue->params = config->params;
    queue->source = config->facts;
    queue->watch = config->watch;
    queue->untagged_permille = config->untagged_permille;
    if (queue->source.version)
        queue->facts_version = queue->source.version(queue->source.ctx);
    *out = queue;
    return 0;
}

void mfs_rmlq_destroy(struct mfs_rmlq *queue)
{
    if (!queue)
        return;
    for (int kind = 0; kind < KINDS; kind++)
        mfs_heap_free(&queue->order[kind]);
    mfs_heap_free(&queue->timers);
    free(queue->flows);
    free(queue->table);
    free(queue);
}

int mfs_rmlq_push(struct mfs_rmlq *queue, struct mfs_op *op, const struct mfs_tag *tag,
                  int64_t now_ns)
{
    static const struct mfs_tag everything;
    struct mfs_flow *flow;

    if (op->length == 0 || op->flow)
        return -EINVAL;
    clock_set(queue, now_ns);
    flow = flow_get(queue, queue->policy->ignores_tags ? &everything : tag);
    if (!flow)
        return -ENOSPC;
    op->flow = flow;
    op->taken = 0;
    op->posted_ns = queue->now_ns;
    op->next = NULL;
    op->prev = flow->tail;
    if (flow->tail)
        flow->tail->next = op;
    else
        flow->head = op;
    flow->tail = op;
    flow->info.bytes_left += op->length;
    queue->bytes += op->length;
    queue->operations++;
    flow_dirty(queue, flow);
    return 0;
}

static void op_unlink(struct mfs_rmlq *queue, struct mfs_op *op)
{
    struct mfs_flow *flow = op->flow;

    if (op->prev)
        op->prev->next = op->next;
    else
        flow->head = op->next;
    if (op->next)
        op->next->prev = op->prev;
    else
        flow->tail = op->prev;
    op->flow = NULL;
    op->next = op->prev = NULL;
    queue->operations--;
    if (!flow->head) {
        flow_put(queue, flow);
        return;
    }
    flow->info.arrival_ns = flow->head->posted_ns;
    if (flow->moves == MFS_MOVES_ARRIVAL)
        flow_dirty(queue, flow);
}

static mfs_rank_t best_rank(const struct mfs_rmlq *queue)
{
    mfs_rank_t best = MFS_RANK_NONE;

    for (int kind = 0; kind < KINDS; kind++) {
        if (queue->order[kind].count > 0 && queue->order[kind].entries[0].rank < best)
            best = queue->order[kind].entries[0].rank;
    }
    return best;
}

mfs_rank_t mfs_rmlq_peek(struct mfs_rmlq *queue, int64_t now_ns)
{
    settle(queue, now_ns);
    return best_rank(queue);
}

static uint64_t chunk_length(const struct mfs_op *op, uint64_t max_bytes)
{
    const uint64_t left = op->length - op->taken;

    return left > max_bytes ? max_bytes - max_bytes % MFS_CHUNK_ALIGN : left;
}

/* Of the flow at the root of a heap that is not empty. */
static uint64_t root_length(const struct mfs_rmlq *queue, int kind, uint64_t max_bytes)
{
    return chunk_length(queue->flows[mfs_heap_item(&queue->order[kind].entries[0])].head,
                        max_bytes);
}

/* Which heap's root goes next, with the untagged share kept. -1: nothing waits. */
static int choose_kind(struct mfs_rmlq *queue, uint64_t max_bytes)
{
    const struct mfs_heap *tagged = &queue->order[TAGGED], *untagged = &queue->order[UNTAGGED];

    if (untagged->count == 0) {
        queue->untagged_credit = 0;
        return tagged->count > 0 ? TAGGED : -1;
    }
    if (tagged->count == 0)
        return UNTAGGED;
    if (untagged->entries[0].rank < tagged->entries[0].rank || queue->untagged_permille == 1000 ||
        queue->untagged_credit / 1000 >= root_length(queue, UNTAGGED, max_bytes))
        return UNTAGGED;
    return TAGGED;
}

static void account_share(struct mfs_rmlq *queue, int kind, uint64_t length)
{
    const uint64_t share = queue->untagged_permille;

    if (queue->order[UNTAGGED].count == 0 || share == 1000)
        return;
    if (length > CREDIT_MAX)
        length = CREDIT_MAX;
    if (kind == TAGGED) {
        queue->untagged_credit += length * 1000 * share / (1000 - share);
        if (queue->untagged_credit > CREDIT_MAX * 1000)
            queue->untagged_credit = CREDIT_MAX * 1000;
    } else {
        queue->untagged_credit -=
            queue->untagged_credit < length * 1000 ? queue->untagged_credit : length * 1000;
    }
}

uint64_t mfs_rmlq_peek_bytes(struct mfs_rmlq *queue, uint64_t max_bytes)
{
    const int kind = choose_kind(queue, max_bytes);

    return kind < 0 ? 0 : root_length(queue, kind, max_bytes);
}

void mfs_rmlq_peek_next(struct mfs_rmlq *queue, uint64_t max_bytes, int64_t now_ns,
                        struct mfs_next *next)
{
    const struct mfs_heap *untagged = &queue->order[UNTAGGED];
    int kind;

    settle(queue, now_ns);
    kind = choose_kind(queue, max_bytes);
    next->rank = best_rank(queue);
    next->bytes = kind < 0 ? 0 : root_length(queue, kind, max_bytes);
    next->untagged = kind == UNTAGGED;
    next->untagged_rank = untagged->count > 0 ? untagged->entries[0].rank : MFS_RANK_NONE;
    next->untagged_bytes = untagged->count > 0 ? root_length(queue, UNTAGGED, max_bytes) : 0;
}

/* From the root of a heap that is not empty. */
static void take_root(struct mfs_rmlq *queue, int kind, uint64_t max_bytes, struct mfs_chunk *chunk)
{
    const struct mfs_heap_entry root = queue->order[kind].entries[0];
    struct mfs_flow *flow = &queue->flows[mfs_heap_item(&root)];
    struct mfs_op *op = flow->head;
    const uint64_t length = chunk_length(op, max_bytes);

    account_share(queue, kind, length);
    /* the least share moves the clock of shares; a turn that was out of order does not */
    if (flow->moves == MFS_MOVES_SHARE && root.rank == best_rank(queue))
        queue->share_bytes = flow->info.share_bytes;

    chunk->op = op;
    chunk->offset = op->taken;
    chunk->length = length;
    chunk->rank = root.rank;
    chunk->tag = flow->info.tag;
    op->taken += length;
    chunk->last = op->taken == op->length;
    flow->info.bytes_left -= length;
    flow->info.bytes_sent += length;
    flow->info.share_bytes += length;
    queue->bytes -= length;
    if (flow->moves >= MFS_MOVES_SENT)
        flow_dirty(queue, flow);
    if (chunk->last)
        op_unlink(queue, op);
}

int mfs_rmlq_take(struct mfs_rmlq *queue, uint64_t max_bytes, int64_t now_ns,
                  struct mfs_chunk *chunk)
{
    int kind;

    if (max_bytes < MFS_CHUNK_ALIGN)
        return -EINVAL;
    settle(queue, now_ns);
    kind = choose_kind(queue, max_bytes);
    if (kind < 0)
        return -EAGAIN;
    take_root(queue, kind, max_bytes, chunk);
    return 0;
}

int mfs_rmlq_take_next(struct mfs_rmlq *queue, uint64_t max_bytes, bool untagged,
                       struct mfs_chunk *chunk)
{
    const int kind = untagged ? UNTAGGED : choose_kind(queue, max_bytes);

    if (max_bytes < MFS_CHUNK_ALIGN)
        return -EINVAL;
    if (kind < 0 || queue->order[kind].count == 0)
        return -EAGAIN;
    take_root(queue, kind, max_bytes, chunk);
    return 0;
}

int mfs_rmlq_remove(struct mfs_rmlq *queue, struct mfs_op *op)
{
    const uint64_t left = op->length - op->taken;

    if (!op->flow)
        return -ENOENT;
    op->flow->info.bytes_left -= left;
    queue->bytes -= left;
    flow_dirty(queue, op->flow); /* its size was part of the judgement */
    op_unlink(queue, op);
    return 0;
}

int mfs_rmlq_set_policy(struct mfs_rmlq *queue, const struct mfs_policy *policy,
                        const struct mfs_params *params, int64_t now_ns)
{
    if (!policy || !params_valid(params))
        return -EINVAL;
    queue->policy = policy;
    queue->params = *params;
    clock_set(queue, now_ns);
    /* a flow that is not in the order yet is new anyway */
    for (int kind = 0; kind < KINDS; kind++) {
        for (uint32_t at = 0; at < queue->order[kind].count; at++)
            queue->flows[mfs_heap_item(&queue->order[kind].entries[at])].info.level =
                MFS_LEVELS_MAX;
    }
    place_all(queue);
    return 0;
}

void mfs_rmlq_set_rate(struct mfs_rmlq *queue, uint64_t rate_Bps, int64_t now_ns)
{
    const uint64_t old_Bps = queue->params.rate_Bps;
    const uint64_t change_Bps = rate_Bps > old_Bps ? rate_Bps - old_Bps : old_Bps - rate_Bps;

    if (change_Bps <= old_Bps / 32)
        return;
    queue->params.rate_Bps = rate_Bps;
    clock_set(queue, now_ns);
    place_all(queue);
}

int64_t mfs_rmlq_next_ns(const struct mfs_rmlq *queue)
{
    if (queue->dirty_flows != NO_FLOW)
        return queue->now_ns;
    return queue->timers.count > 0 ? (int64_t)queue->timers.entries[0].rank : MFS_TIME_NEVER;
}

uint64_t mfs_rmlq_bytes(const struct mfs_rmlq *queue)
{
    return queue->bytes;
}

uint64_t mfs_rmlq_operations(const struct mfs_rmlq *queue)
{
    return queue->operations;
}

uint32_t mfs_rmlq_flows(const struct mfs_rmlq *queue)
{
    return queue->active;
}

uint64_t mfs_rmlq_promotions(const struct mfs_rmlq *queue)
{
    return queue->promotions;
}
