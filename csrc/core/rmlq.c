/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ORDER: The levels are not K lists but the top bits of one rank, so that "best
 * flow" is the root of one heap, a promotion is one decrease-key, and processes
 * can compare ranks with one load. Only flows are in the heap: 100,000 operations
 * with one tag are one entry, and their order among themselves is a list.
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

#include "core/rmlq_inside.h"
#include "core/window.h"

#define CREDIT_MAX (UINT64_C(1) << 43) /* bytes; its products below stay in 64 bits */

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
        queue->flows[i].next = i + 1 < config->max_flows ? i + 1 : MFS_NO_FLOW;
    queue->table_mask = cells - 1;
    queue->dirty_flows = MFS_NO_FLOW;
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
    mfs_rmlq_clock(queue, now_ns);
    flow = mfs_flow_get(queue, queue->policy->ignores_tags ? &everything : tag);
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
    mfs_flow_dirty(queue, flow);
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
        mfs_flow_put(queue, flow);
        return;
    }
    flow->info.arrival_ns = flow->head->posted_ns;
    if (flow->moves == MFS_MOVES_ARRIVAL)
        mfs_flow_dirty(queue, flow);
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
    mfs_rmlq_settle(queue, now_ns);
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

    mfs_rmlq_settle(queue, now_ns);
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
        mfs_flow_dirty(queue, flow);
    if (chunk->last)
        op_unlink(queue, op);
}

int mfs_rmlq_take(struct mfs_rmlq *queue, uint64_t max_bytes, int64_t now_ns,
                  struct mfs_chunk *chunk)
{
    int kind;

    if (max_bytes < MFS_CHUNK_ALIGN)
        return -EINVAL;
    mfs_rmlq_settle(queue, now_ns);
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
    mfs_flow_dirty(queue, op->flow); /* its size was part of the judgement */
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
    mfs_rmlq_clock(queue, now_ns);
    /* a flow that is not in the order yet is new anyway */
    for (int kind = 0; kind < KINDS; kind++) {
        for (uint32_t at = 0; at < queue->order[kind].count; at++)
            queue->flows[mfs_heap_item(&queue->order[kind].entries[at])].info.level =
                MFS_LEVELS_MAX;
    }
    mfs_rmlq_place_all(queue);
    return 0;
}

void mfs_rmlq_set_rate(struct mfs_rmlq *queue, uint64_t rate_Bps, int64_t now_ns)
{
    const uint64_t old_Bps = queue->params.rate_Bps;
    const uint64_t change_Bps = rate_Bps > old_Bps ? rate_Bps - old_Bps : old_Bps - rate_Bps;

    if (change_Bps <= old_Bps / 32)
        return;
    queue->params.rate_Bps = rate_Bps;
    mfs_rmlq_clock(queue, now_ns);
    mfs_rmlq_place_all(queue);
}

int64_t mfs_rmlq_next_ns(const struct mfs_rmlq *queue)
{
    if (queue->dirty_flows != MFS_NO_FLOW)
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
