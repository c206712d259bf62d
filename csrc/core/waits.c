/* SPDX-License-Identifier: Apache-2.0 */
#include "core/waits.h"

#include "core/sender_inside.h"

struct found {
    const struct mfs_sender *sender;
    const struct mfs_destination *only; /* NULL: any */
    struct mfs_wait *waits;
    uint32_t count, room;
};

/* The place of what was posted then; room: it is younger than all that there is room for. */
static uint32_t place_make(struct found *found, int64_t posted_ns)
{
    uint32_t at = found->count;

    if (at == found->room && (at == 0 || found->waits[at - 1].posted_ns <= posted_ns))
        return found->room;
    if (at == found->room)
        at--;
    else
        found->count++;
    for (; at > 0 && found->waits[at - 1].posted_ns > posted_ns; at--)
        found->waits[at] = found->waits[at - 1];
    return at;
}

static uint32_t why(const struct mfs_sender *sender, const struct mfs_destination *destination,
                    mfs_rank_t rank)
{
    if (destination->inflight_bytes > 0 && destination->state == MFS_DESTINATION_STALLED)
        return MFS_WAIT_STALLED;
    if (destination->inflight_bytes > 0 && destination->state == MFS_DESTINATION_SLOW)
        return MFS_WAIT_SLOW;
    if (rank != MFS_RANK_NONE && rank > destination->voq.limit)
        return MFS_WAIT_LIMIT;
    if (rank > sender->told.rank)
        return MFS_WAIT_TURN;
    switch (sender->blocked) {
    case -EBUSY:
        return MFS_WAIT_OTHERS;
    case -ENOBUFS:
        return MFS_WAIT_WINDOW;
    case -ETIME:
        return MFS_WAIT_PACE;
    default:
        return MFS_WAIT_LOOK;
    }
}

/* rank: MFS_RANK_NONE: it has no place yet. */
static void flow_add(struct found *found, uint32_t index, mfs_rank_t rank)
{
    const struct mfs_flow *flow = &found->sender->queue->flows[index];
    struct mfs_destination *destination = mfs_destination_of(flow->voq);
    uint32_t at;

    if (found->only && found->only != destination)
        return;
    at = place_make(found, flow->info.arrival_ns);
    if (at == found->room)
        return;
    found->waits[at] = (struct mfs_wait){
        .tag = flow->info.tag,
        .destination = destination,
        .flow = flow->sequence + 1,
        .bytes_left = flow->info.bytes_left,
        .bytes_sent = flow->info.bytes_sent,
        .posted_ns = flow->info.arrival_ns,
        .level = flow->info.level,
        .why = why(found->sender, destination, rank),
    };
}

/* --- in flight --- */

static bool is_of_interest(const struct found *found, const struct mfs_destination *destination)
{
    if (destination->inflight_bytes == 0 || (found->only && found->only != destination))
        return false;
    return destination->state != MFS_DESTINATION_OPEN ||
           mfs_rmlq_operations(found->sender->queue) == 0;
}

static bool is_same(const struct mfs_wait *wait, const struct mfs_destination *destination,
                    const struct mfs_tag *tag)
{
    return wait->destination == destination && wait->tag.request == tag->request &&
           wait->tag.layer == tag->layer && wait->tag.stage == tag->stage;
}

static void in_flight(void *ctx, const struct mfs_destination *destination,
                      const struct mfs_tag *tag, uint64_t bytes, int64_t posted_ns)
{
    struct found *found = ctx;
    uint32_t at = 0;

    if (!is_of_interest(found, destination))
        return;
    if (posted_ns == 0) /* not later than that, but for what it takes to see that it is slow */
        posted_ns = destination->moved_ns;
    while (at < found->count && !is_same(&found->waits[at], destination, tag))
        at++;
    if (at < found->count && found->waits[at].flow != 0)
        return; /* more of it is queued: it is there already */
    if (at < found->count) { /* anew, where it belongs by its oldest operation */
        bytes += found->waits[at].bytes_sent;
        if (posted_ns > found->waits[at].posted_ns)
            posted_ns = found->waits[at].posted_ns;
        for (found->count--; at < found->count; at++)
            found->waits[at] = found->waits[at + 1];
    }
    at = place_make(found, posted_ns);
    if (at < found->room)
        found->waits[at] = (struct mfs_wait){
            .tag = *tag,
            .destination = destination,
            .bytes_sent = bytes,
            .posted_ns = posted_ns,
            .level = MFS_LEVELS_MAX,
            .why = MFS_WAIT_FLIGHT,
        };
}

static bool is_there(const struct found *found, const struct mfs_destination *destination)
{
    for (uint32_t at = 0; at < found->count; at++) {
        if (found->waits[at].destination == destination)
            return true;
    }
    return false;
}

/* Those of which the transport has not said what is in flight. */
static void peers_add(struct found *found, uint32_t state)
{
    const struct mfs_destination *at = found->sender->destinations.in[state].first;

    for (; at; at = at->next) {
        uint32_t place;

        if (at->voq.operations > 0 || (found->only && found->only != at) || is_there(found, at))
            continue;
        place = place_make(found, at->moved_ns);
        if (place < found->room)
            found->waits[place] = (struct mfs_wait){
                .destination = at,
                .posted_ns = at->moved_ns,
                .level = MFS_LEVELS_MAX,
                .why = MFS_WAIT_FLIGHT,
            };
    }
}

static void flight_add(struct found *found)
{
    const struct mfs_sender *sender = found->sender;
    const struct mfs_destinations *all = &sender->destinations;
    const bool slow = all->in[MFS_DESTINATION_SLOW].first || all->in[MFS_DESTINATION_STALLED].first;

    if (sender->transport.under_way && found->room > 0 &&
        (slow || (all->busy > 0 && mfs_rmlq_operations(sender->queue) == 0)))
        sender->transport.under_way(sender->transport.ctx, in_flight, found);
    peers_add(found, MFS_DESTINATION_SLOW);
    peers_add(found, MFS_DESTINATION_STALLED);
}

uint32_t mfs_sender_waits(const struct mfs_sender *sender,
                          const struct mfs_destination *destination, struct mfs_wait *waits,
                          uint32_t room)
{
    const struct mfs_rmlq *queue = sender->queue;
    struct found found = {sender, destination, waits, 0, room};

    for (uint32_t i = 0; i < queue->voqs_count; i++) {
        for (int kind = 0; queue->voqs[i] && kind < MFS_KINDS; kind++) {
            const struct mfs_heap *heap = &queue->voqs[i]->flows[kind];

            for (uint32_t at = 0; at < heap->count; at++)
                flow_add(&found, mfs_heap_item(&heap->entries[at]), heap->entries[at].rank);
        }
    }
    for (uint32_t index = queue->dirty_flows; index != MFS_NO_FLOW;
         index = queue->flows[index].next) {
        const struct mfs_flow *flow = &queue->flows[index];

        if (flow->voq->flows[mfs_flow_kind(flow)].where[index] == MFS_HEAP_NOWHERE)
            flow_add(&found, index, MFS_RANK_NONE);
    }
    flight_add(&found);
    return found.count;
}
