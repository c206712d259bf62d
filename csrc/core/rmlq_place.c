/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PLACING: A flow is placed by the policy when something it was judged by has
 * changed: operations were added (once before the next look, not once each), a
 * known promotion falls due (timer heap), what is known of requests moved (one
 * version number for all; then every flow is placed anew, O(flows), at the rate of
 * control messages, not of traffic), or the policy was exchanged. Sending bytes
 * makes no flow more urgent, so take() asks again only for places that say so;
 * a timer that turns out to be early is simply set again.
 */
#include "core/hold.h"
#include "core/rmlq_inside.h"

/* The policy has placed it where those without a deadline are. */
static bool undated(const struct mfs_rmlq *queue, const struct mfs_facts *facts,
                    const struct mfs_place *place)
{
    return facts->deadline_ns == MFS_TIME_NEVER && queue->policy->weighs &&
           place->level == queue->params.levels - 1;
}

/*
 * Ask the policy; a level only falls, but to the scavenger and back. And a flow that had a deadline
 * and has none any more (its request is finished, or who had registered it has died) goes where
 * those without one are: in its level its time of arrival would be in front of all deadlines.
 */
static mfs_rank_t flow_judge(struct mfs_rmlq *queue, struct mfs_flow *flow, int64_t *recheck_ns)
{
    uint32_t level = flow->info.level;
    struct mfs_place place = {.level = queue->params.levels - 1, .recheck_ns = MFS_TIME_NEVER};
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    if (queue->source.read && flow->info.tag.request != MFS_REQUEST_NONE)
        (void)queue->source.read(queue->source.ctx, flow->info.tag.request, &facts);
    queue->policy->place(&queue->params, &flow->info, &facts, queue->now_ns, &place);
    if (!undated(queue, &facts, &place))
        place.level = mfs_level_next(queue->params.levels, level, place.level);
    if (level < MFS_LEVELS_MAX && place.level < level)
        queue->promotions++;
    flow->info.level = place.level;
    if (queue->watch.told && level != place.level)
        mfs_flow_tell(queue, flow, level < MFS_LEVELS_MAX ? MFS_FLOW_MOVED : MFS_FLOW_QUEUED,
                      level < MFS_LEVELS_MAX ? level : place.level, &facts, &place);
    if (queue->params.hold_ns > 0 || facts.hold_ns > 0)
        mfs_place_in_time(&queue->params, &flow->info, &facts, queue->now_ns, &place);
    flow->moves = place.moves;
    *recheck_ns = place.recheck_ns > queue->now_ns ? place.recheck_ns : queue->now_ns + 1;
    return mfs_rank_make(place.level, place.key);
}

static void flow_place(struct mfs_rmlq *queue, struct mfs_flow *flow)
{
    uint32_t index = mfs_flow_index(queue, flow);
    const uint32_t at = queue->timers.where[index];
    int64_t recheck_ns;
    mfs_rank_t rank = flow_judge(queue, flow, &recheck_ns);

    mfs_heap_set(&flow->voq->flows[mfs_flow_kind(flow)], index, rank, flow->sequence);
    mfs_voq_place(queue, flow->voq, mfs_flow_kind(flow));
    if (recheck_ns == MFS_TIME_NEVER)
        mfs_heap_remove(&queue->timers, index);
    else if (at == MFS_HEAP_NOWHERE || queue->timers.entries[at].rank > (uint64_t)recheck_ns ||
             queue->timers.entries[at].rank <= (uint64_t)queue->now_ns) /* else it comes early */
        mfs_heap_set(&queue->timers, index, (uint64_t)recheck_ns, flow->sequence);
}

static void place_dirty(struct mfs_rmlq *queue)
{
    while (queue->dirty_flows != MFS_NO_FLOW) {
        struct mfs_flow *flow = &queue->flows[queue->dirty_flows];

        mfs_flow_clean(queue, flow);
        flow_place(queue, flow);
    }
}

/* Ask the policy about each flow of a voq, the timers being empty. */
static void voq_judge(struct mfs_rmlq *queue, struct mfs_voq *voq)
{
    for (int kind = 0; kind < MFS_KINDS; kind++) {
        struct mfs_heap *heap = &voq->flows[kind];

        for (uint32_t at = 0; at < heap->count; at++) {
            const uint32_t index = mfs_heap_item(&heap->entries[at]);
            int64_t recheck_ns;

            heap->entries[at].rank = flow_judge(queue, &queue->flows[index], &recheck_ns);
            if (recheck_ns != MFS_TIME_NEVER)
                mfs_heap_set(&queue->timers, index, (uint64_t)recheck_ns,
                             queue->flows[index].sequence);
        }
        mfs_heap_rebuild(heap);
        mfs_voq_place(queue, voq, kind);
    }
}

void mfs_rmlq_place_all(struct mfs_rmlq *queue)
{
    place_dirty(queue);
    while (queue->timers.count > 0)
        queue->timers.where[mfs_heap_item(&queue->timers.entries[--queue->timers.count])] =
            MFS_HEAP_NOWHERE;
    for (uint32_t i = 0; i < queue->voqs_count; i++) {
        if (queue->voqs[i])
            voq_judge(queue, queue->voqs[i]);
    }
}

void mfs_rmlq_place_due(struct mfs_rmlq *queue, int64_t now_ns)
{
    mfs_rmlq_clock(queue, now_ns);
    if (queue->source.version) {
        uint64_t version = queue->source.version(queue->source.ctx);

        if (version != queue->facts_version) {
            queue->facts_version = version;
            mfs_rmlq_place_all(queue);
        }
    }
    if (queue->dirty_flows != MFS_NO_FLOW)
        place_dirty(queue);
    while (queue->timers.count > 0 && queue->timers.entries[0].rank <= (uint64_t)queue->now_ns)
        flow_place(queue, &queue->flows[mfs_heap_item(&queue->timers.entries[0])]);
}
