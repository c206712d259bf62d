/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ORDER: The levels are not K lists but the top bits of one rank, so that "best
 * flow" is the root of a heap, a promotion is one decrease-key, and processes
 * can compare ranks with one load. Only flows are in the heap: 100,000 operations
 * with one tag are one entry, and their order among themselves is a list.
 *
 * KINDS: Untagged flows have an order of their own, since untagged traffic keeps a share of the
 * port whatever its rank is: core/port_state.h keeps that account.
 */
#include "core/rmlq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/rmlq_inside.h"
#include "core/window.h"

/* --- the queue --- */

void mfs_rmlq_config_init(struct mfs_rmlq_config *config)
{
    memset(config, 0, sizeof(*config));
    config->policy = mfs_policy_find("mfs");
    mfs_params_init(&config->params);
    config->max_flows = 4096;
}

static bool params_valid(const struct mfs_params *params)
{
    return params->levels >= MFS_LEVELS_MIN && params->levels < MFS_LEVELS_MAX &&
           params->rate_margin >= 1.0 && params->mlu_base > 1.0 && params->mlu_top > 0.0;
}

int mfs_rmlq_create(const struct mfs_rmlq_config *config, struct mfs_rmlq **out)
{
    struct mfs_rmlq *queue;
    uint32_t cells = 16;
    int error;

    if (!config->policy || !params_valid(&config->params) || config->max_flows == 0 ||
        config->max_flows >= 1u << MFS_HEAP_ITEM_BITS)
        return -EINVAL;
    queue = calloc(1, sizeof(*queue));
    if (!queue)
        return -ENOMEM;
    while (cells < 2 * config->max_flows)
        cells *= 2;
    error = mfs_heap_init(&queue->timers, config->max_flows);
    queue->where = malloc(sizeof(*queue->where) * config->max_flows);
    queue->flows =
        aligned_alloc(_Alignof(struct mfs_flow), sizeof(*queue->flows) * config->max_flows);
    queue->table = malloc(sizeof(*queue->table) * cells);
    if (error || !queue->where || !queue->flows || !queue->table) {
        mfs_rmlq_destroy(queue);
        return -ENOMEM;
    }
    memset(queue->where, 0xff, sizeof(*queue->where) * config->max_flows);
    memset(queue->table, 0xff, sizeof(*queue->table) * cells);
    for (uint32_t i = 0; i < config->max_flows; i++)
        queue->flows[i].next = i + 1 < config->max_flows ? i + 1 : MFS_NO_FLOW;
    queue->table_mask = cells - 1;
    queue->dirty_flows = MFS_NO_FLOW;
    queue->policy = config->policy;
    queue->params = config->params;
    queue->source = config->facts;
    queue->watch = config->watch;
    if (queue->source.version)
        queue->facts_version = queue->source.version(queue->source.ctx);
    *out = queue;
    return 0;
}

void mfs_rmlq_destroy(struct mfs_rmlq *queue)
{
    if (!queue)
        return;
    for (int class = 0; class < MFS_VOQ_CLASSES; class++) {
        for (int kind = 0; kind < MFS_KINDS; kind++)
            mfs_heap_free(&queue->order[class][kind]);
    }
    mfs_heap_free(&queue->timers);
    free(queue->voqs);
    free(queue->where);
    free(queue->flows);
    free(queue->table);
    free(queue);
}

int mfs_rmlq_push(struct mfs_rmlq *queue, struct mfs_op *op, struct mfs_voq *voq,
                  const struct mfs_tag *tag, int64_t now_ns)
{
    static const struct mfs_tag everything;
    struct mfs_flow *flow;

    if (op->length == 0 || op->flow)
        return -EINVAL;
    mfs_rmlq_clock(queue, now_ns);
    flow = mfs_flow_get(queue, voq, queue->policy->ignores_tags ? &everything : tag);
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
    voq->operations++;
    if (flow->moves != MFS_MOVES_ARRIVAL) /* else what comes behind moves nothing */
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
    flow->voq->operations--;
    if (!flow->head) {
        mfs_flow_put(queue, flow);
        return;
    }
    flow->info.arrival_ns = flow->head->posted_ns;
    if (flow->moves == MFS_MOVES_ARRIVAL)
        mfs_flow_dirty(queue, flow);
}

void mfs_rmlq_head(const struct mfs_rmlq *queue, enum mfs_voq_class class, enum mfs_kind kind,
                   uint64_t max_bytes, struct mfs_head *head)
{
    mfs_rmlq_best(queue, class, kind, max_bytes, head);
}

uint32_t mfs_rmlq_waiting_voqs(const struct mfs_rmlq *queue)
{
    return queue->order[MFS_VOQ_OPEN][MFS_TAGGED].count +
           queue->order[MFS_VOQ_OPEN][MFS_UNTAGGED].count;
}

bool mfs_rmlq_waits(const struct mfs_rmlq *queue)
{
    return queue->dirty_flows != MFS_NO_FLOW || queue->order[MFS_VOQ_OPEN][MFS_TAGGED].count > 0 ||
           queue->order[MFS_VOQ_OPEN][MFS_UNTAGGED].count > 0;
}

static mfs_rank_t best_rank(const struct mfs_rmlq *queue)
{
    mfs_rank_t best = MFS_RANK_NONE;

    for (int class = 0; class < MFS_VOQ_CLASSES; class++) {
        for (int kind = 0; kind < MFS_KINDS; kind++) {
            const struct mfs_heap *order = &queue->order[class][kind];

            if (order->count > 0 && order->entries[0].rank < best)
                best = order->entries[0].rank;
        }
    }
    return best;
}

void mfs_rmlq_take(struct mfs_rmlq *queue, struct mfs_voq *voq, enum mfs_kind kind,
                   uint64_t max_bytes, struct mfs_chunk *chunk)
{
    const mfs_rank_t rank = voq->flows[kind].entries[0].rank;
    struct mfs_flow *flow = mfs_voq_best(queue, voq, kind);
    struct mfs_op *op = flow->head;
    const uint64_t length = mfs_rmlq_chunk_bytes(op, max_bytes);

    /* the least share moves the clock of shares; a turn that was out of order does not */
    if (flow->moves == MFS_MOVES_SHARE && rank == best_rank(queue))
        queue->share_bytes = flow->info.share_bytes;
    chunk->op = op;
    chunk->voq = voq;
    chunk->offset = op->taken;
    chunk->length = length;
    chunk->rank = rank;
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

int mfs_rmlq_remove(struct mfs_rmlq *queue, struct mfs_op *op)
{
    const uint64_t left = op->length - op->taken;

    if (!op->flow)
        return -ENOENT;
    op->flow->info.bytes_left -= left;
    op->flow->cut = true;
    queue->bytes -= left;
    mfs_flow_dirty(queue, op->flow); /* its size was part of the judgement */
    op_unlink(queue, op);
    return 0;
}

static void forget_levels(struct mfs_rmlq *queue, const struct mfs_heap *flows)
{
    for (uint32_t at = 0; at < flows->count; at++)
        queue->flows[mfs_heap_item(&flows->entries[at])].info.level = MFS_LEVELS_MAX;
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
    for (uint32_t i = 0; i < queue->voqs_count; i++) {
        for (int kind = 0; queue->voqs[i] && kind < MFS_KINDS; kind++)
            forget_levels(queue, &queue->voqs[i]->flows[kind]);
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
