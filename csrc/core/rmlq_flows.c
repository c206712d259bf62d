/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flows of a queue by their voqs and tags: a pool that is never grown, and a table of open
 * addressing whose cells have the hash, so that a probe and a deletion touch no flow but the right
 * one.
 */
#include <string.h>

#include "core/destination.h"
#include "core/rmlq_inside.h"

static uint32_t flow_hash(const struct mfs_voq *voq, const struct mfs_tag *tag)
{
    uint64_t hash = tag->request ^ ((uint64_t)tag->layer << 32 | voq->index << 2 | tag->stage) *
                                       UINT64_C(0x9E3779B97F4A7C15);

    hash ^= hash >> 32;
    hash *= UINT64_C(0xD6E8FEB86659FD93);
    hash ^= hash >> 32;
    return (uint32_t)hash;
}

static bool tag_equal(const struct mfs_tag *a, const struct mfs_tag *b)
{
    return a->request == b->request && a->layer == b->layer && a->stage == b->stage;
}

/* The flow's cell, or the free one where it would go. */
static struct mfs_flow_cell *flow_cell(struct mfs_rmlq *queue, const struct mfs_voq *voq,
                                       const struct mfs_tag *tag, uint32_t hash)
{
    uint32_t at = hash & queue->table_mask;

    while (queue->table[at].flow != MFS_NO_FLOW &&
           (queue->table[at].hash != hash || queue->flows[queue->table[at].flow].voq != voq ||
            !tag_equal(&queue->flows[queue->table[at].flow].info.tag, tag)))
        at = (at + 1) & queue->table_mask;
    return &queue->table[at];
}

/* Backward-shift deletion: no tombstones, look-ups stay short for ever. */
static void flow_forget(struct mfs_rmlq *queue, uint32_t index)
{
    const struct mfs_flow *flow = &queue->flows[index];
    const uint32_t mask = queue->table_mask;
    uint32_t hole = flow_hash(flow->voq, &flow->info.tag) & mask, at;

    while (queue->table[hole].flow != index)
        hole = (hole + 1) & mask;
    for (at = (hole + 1) & mask; queue->table[at].flow != MFS_NO_FLOW; at = (at + 1) & mask) {
        if (((at - queue->table[at].hash) & mask) >= ((at - hole) & mask)) {
            queue->table[hole] = queue->table[at];
            hole = at;
        }
    }
    queue->table[hole].flow = MFS_NO_FLOW;
}

void mfs_flow_dirty(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    if (flow->dirty)
        return;
    flow->dirty = true;
    flow->prev = MFS_NO_FLOW;
    flow->next = queue->dirty_flows;
    queue->dirty_flows = mfs_flow_index(queue, flow);
    if (flow->next != MFS_NO_FLOW)
        queue->flows[flow->next].prev = queue->dirty_flows;
}

void mfs_flow_clean(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    if (!flow->dirty)
        return;
    flow->dirty = false;
    if (flow->prev != MFS_NO_FLOW)
        queue->flows[flow->prev].next = flow->next;
    else
        queue->dirty_flows = flow->next;
    if (flow->next != MFS_NO_FLOW)
        queue->flows[flow->next].prev = flow->prev;
}

/* Room for one flow more in the voq's order. */
static bool voq_has_room(struct mfs_voq *voq, enum mfs_kind kind)
{
    struct mfs_heap *heap = &voq->flows[kind];

    return voq->active[kind] < heap->capacity ||
           mfs_heap_reserve(heap, 2 * heap->capacity + 13) == 0;
}

struct mfs_flow *mfs_flow_get(struct mfs_rmlq *queue, struct mfs_voq *voq,
                              const struct mfs_tag *tag)
{
    const enum mfs_kind kind = tag->request == MFS_REQUEST_NONE ? MFS_UNTAGGED : MFS_TAGGED;
    const uint32_t hash = flow_hash(voq, tag);
    struct mfs_flow_cell *cell = flow_cell(queue, voq, tag, hash);
    struct mfs_flow *flow;

    if (cell->flow != MFS_NO_FLOW)
        return &queue->flows[cell->flow];
    if (queue->free_flows == MFS_NO_FLOW || !voq_has_room(voq, kind))
        return NULL;
    *cell = (struct mfs_flow_cell){queue->free_flows, hash};
    flow = &queue->flows[cell->flow];
    queue->free_flows = flow->next;
    memset(flow, 0, sizeof(*flow));
    flow->voq = voq;
    flow->info.tag = *tag;
    flow->info.active_ns = queue->now_ns;
    flow->info.arrival_ns = queue->now_ns;
    flow->info.share_bytes = queue->share_bytes;
    flow->info.level = MFS_LEVELS_MAX;
    flow->sequence = queue->sequence++;
    queue->active++;
    voq->active[kind]++;
    return flow;
}

void mfs_flow_facts(const struct mfs_rmlq *queue, const struct mfs_tag *tag,
                    struct mfs_facts *facts)
{
    mfs_facts_init(facts);
    if (queue->source.read && tag->request != MFS_REQUEST_NONE)
        (void)queue->source.read(queue->source.ctx, tag->request, facts);
}

__attribute__((noinline, cold)) void mfs_flow_tell(struct mfs_rmlq *queue,
                                                   const struct mfs_flow *flow,
                                                   enum mfs_flow_event event, uint32_t level_before,
                                                   const struct mfs_facts *facts,
                                                   const struct mfs_place *place)
{
    struct mfs_flow_told told = {event, level_before,  &flow->info,
                                 facts, queue->now_ns, {.slack_ns = MFS_TIME_NEVER}};
    struct mfs_facts read;

    if (queue->watch.wanted && !queue->watch.wanted(queue->watch.ctx))
        return;
    if (!facts) {
        mfs_flow_facts(queue, &flow->info.tag, &read);
        told.facts = &read;
    }
    if (place)
        mfs_why_find(&queue->params, &flow->info, told.facts, place, queue->now_ns, &told.why);
    queue->watch.told(queue->watch.ctx, &told);
    if (event == MFS_FLOW_LEFT && queue->departures && !flow->cut)
        mfs_departed_add(queue->departures, mfs_destination_of(flow->voq), &flow->info);
}

/* The flow ran empty. */
void mfs_flow_put(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    const uint32_t index = mfs_flow_index(queue, flow);
    const enum mfs_kind kind = mfs_flow_kind(flow);

    if (queue->watch.told)
        mfs_flow_tell(queue, flow, MFS_FLOW_LEFT, flow->info.level, NULL, NULL);
    mfs_heap_remove(&flow->voq->flows[kind], index);
    mfs_voq_place(queue, flow->voq, kind);
    mfs_heap_remove(&queue->timers, index);
    flow_forget(queue, index);
    mfs_flow_clean(queue, flow);
    queue->active--;
    flow->voq->active[kind]--;
    flow->next = queue->free_flows;
    queue->free_flows = index;
}
