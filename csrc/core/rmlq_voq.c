/* SPDX-License-Identifier: Apache-2.0 */
/* The queues of the destinations: each has a heap of its flows, and they are ordered by the best
 * flow that each has. */
#include <errno.h>
#include <stdlib.h>

#include "core/rmlq_inside.h"

/* Room for one voq more, in the table and in every order. */
static int reserve(struct mfs_rmlq *queue)
{
    const uint32_t room = 2 * queue->voqs_room + 13;
    struct mfs_voq **voqs;

    for (int class = 0; class < MFS_VOQ_CLASSES; class++) {
        for (int kind = 0; kind < MFS_KINDS; kind++) {
            if (mfs_heap_reserve(&queue->order[class][kind], room) != 0)
                return -ENOMEM;
        }
    }
    voqs = realloc(queue->voqs, sizeof(struct mfs_voq *) * room);
    if (!voqs)
        return -ENOMEM;
    queue->voqs = voqs;
    queue->voqs_room = room;
    return 0;
}

int mfs_voq_open(struct mfs_rmlq *queue, struct mfs_voq *voq)
{
    uint32_t index = 0;

    while (index < queue->voqs_count && queue->voqs[index])
        index++;
    if (index == queue->voqs_room && reserve(queue) != 0)
        return -ENOMEM;
    *voq = (struct mfs_voq){.index = index, .class = MFS_VOQ_OPEN, .limit = MFS_RANK_NONE};
    for (int kind = 0; kind < MFS_KINDS; kind++)
        mfs_heap_init_sharing(&voq->flows[kind], queue->where);
    queue->voqs[index] = voq;
    if (index == queue->voqs_count)
        queue->voqs_count++;
    return 0;
}

void mfs_voq_close(struct mfs_rmlq *queue, struct mfs_voq *voq)
{
    if (voq->index >= queue->voqs_count || queue->voqs[voq->index] != voq)
        return;
    mfs_voq_limit(queue, voq, MFS_RANK_NONE);
    queue->voqs[voq->index] = NULL;
    for (int kind = 0; kind < MFS_KINDS; kind++)
        mfs_heap_free(&voq->flows[kind]);
}

/* Nothing of it goes by its rank. */
static __attribute__((noinline)) void out_of_order(struct mfs_heap *order,
                                                   const struct mfs_voq *voq, enum mfs_kind kind)
{
    if (kind == MFS_UNTAGGED && voq->flows[kind].count > 0)
        mfs_heap_set(order, voq->index, MFS_RANK_LAST,
                     mfs_heap_sequence(&voq->flows[kind].entries[0]));
    else
        mfs_heap_remove(order, voq->index);
}

void mfs_voq_place(struct mfs_rmlq *queue, struct mfs_voq *voq, enum mfs_kind kind)
{
    const struct mfs_heap *flows = &voq->flows[kind];
    struct mfs_heap *order;

    if (voq->class == MFS_VOQ_PARKED)
        return;
    order = &queue->order[voq->class][kind];
    if (flows->count == 0 || flows->entries[0].rank > voq->limit) {
        out_of_order(order, voq, kind);
    } else if (order->count == 1 && order->where[voq->index] == 0) {
        order->entries[0].rank = flows->entries[0].rank; /* it is the only one */
        order->entries[0].tie = mfs_heap_tie(mfs_heap_sequence(&flows->entries[0]), voq->index);
    } else {
        mfs_heap_set(order, voq->index, flows->entries[0].rank,
                     mfs_heap_sequence(&flows->entries[0]));
    }
}

void mfs_voq_limit(struct mfs_rmlq *queue, struct mfs_voq *voq, mfs_rank_t limit)
{
    if (voq->limit == limit)
        return;
    queue->voqs_limited += voq->limit == MFS_RANK_NONE;
    queue->voqs_limited -= limit == MFS_RANK_NONE;
    voq->limit = limit;
    for (int kind = 0; kind < MFS_KINDS; kind++)
        mfs_voq_place(queue, voq, kind);
}

void mfs_voq_move(struct mfs_rmlq *queue, struct mfs_voq *voq, enum mfs_voq_class class)
{
    if (voq->class == class)
        return;
    for (int kind = 0; kind < MFS_KINDS; kind++) {
        if (voq->class != MFS_VOQ_PARKED)
            mfs_heap_remove(&queue->order[voq->class][kind], voq->index);
    }
    voq->class = class;
    for (int kind = 0; kind < MFS_KINDS; kind++)
        mfs_voq_place(queue, voq, kind);
}
