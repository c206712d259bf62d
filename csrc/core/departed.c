/* SPDX-License-Identifier: Apache-2.0 */
#include "core/departed.h"

#include <stdlib.h>

#include "core/destination.h"
#include "core/rmlq_inside.h"

struct mfs_departed {
    struct mfs_flow_info flow;
    uint64_t bytes; /* to be acknowledged after the end of the one before it */
    struct mfs_departed *next;
};

struct mfs_departures {
    const struct mfs_rmlq *queue;
    struct mfs_departed *free;
    uint32_t used; /* of `all`, ever: what was never used is not on the free list */
    struct mfs_departed all[MFS_DEPARTED_MAX];
};

struct mfs_departures *mfs_departures_make(const struct mfs_rmlq *queue)
{
    struct mfs_departures *all = malloc(sizeof(*all));

    if (all) {
        all->queue = queue;
        all->free = NULL;
        all->used = 0;
    }
    return all;
}

void mfs_departures_free(struct mfs_departures *all)
{
    free(all);
}

static struct mfs_departed *take(struct mfs_departures *all)
{
    struct mfs_departed *one = all->free;

    if (one)
        all->free = one->next;
    else if (all->used < MFS_DEPARTED_MAX)
        one = &all->all[all->used++];
    return one;
}

void mfs_departed_add(struct mfs_departures *all, struct mfs_destination *to,
                      const struct mfs_flow_info *flow)
{
    struct mfs_departed *one = to->inflight_bytes > 0 ? take(all) : NULL;

    if (!one)
        return;
    one->flow = *flow;
    one->bytes = to->inflight_bytes - to->awaited_bytes;
    one->next = NULL;
    *(to->awaited ? &to->awaited_last->next : &to->awaited_first) = one;
    to->awaited_last = one;
    to->awaited_bytes = to->inflight_bytes;
    to->awaited++;
}

/* Out of its list; it may be read until the next is added. */
static const struct mfs_departed *first_out(struct mfs_departures *all, struct mfs_destination *to)
{
    struct mfs_departed *one = to->awaited_first;

    to->awaited_first = one->next;
    to->awaited_bytes -= one->bytes;
    to->awaited--;
    one->next = all->free;
    all->free = one;
    return one;
}

static void tell(const struct mfs_rmlq *queue, const struct mfs_flow_info *flow, int64_t now_ns)
{
    struct mfs_facts facts;
    const struct mfs_flow_told told = {
        .event = MFS_FLOW_COMPLETED,
        .flow = flow,
        .facts = &facts,
        .level_before = flow->level,
        .now_ns = now_ns,
        .why = {.slack_ns = MFS_TIME_NEVER},
    };

    if (queue->watch.wanted && !queue->watch.wanted(queue->watch.ctx))
        return;
    mfs_flow_facts(queue, &flow->tag, &facts);
    queue->watch.told(queue->watch.ctx, &told);
}

void mfs_departed_done(struct mfs_departures *all, struct mfs_destination *to, uint64_t bytes,
                       int64_t now_ns)
{
    while (to->awaited && bytes >= to->awaited_first->bytes) {
        const struct mfs_departed *one = first_out(all, to);

        bytes -= one->bytes;
        tell(all->queue, &one->flow, now_ns);
    }
    if (to->awaited) {
        to->awaited_first->bytes -= bytes;
        to->awaited_bytes -= bytes;
    }
}

void mfs_departed_forget(struct mfs_departures *all, struct mfs_destination *to)
{
    while (to->awaited)
        (void)first_out(all, to);
}
