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

static void peers_add(struct found *found, uint32_t state)
{
    const struct mfs_destination *at = found->sender->destinations.in[state].first;

    for (; at; at = at->next) {
        uint32_t place;

        if (at->voq.operations > 0 || (found->only && found->only != at))
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
    peers_add(&found, MFS_DESTINATION_SLOW);
    peers_add(&found, MFS_DESTINATION_STALLED);
    return found.count;
}
