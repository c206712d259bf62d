/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GREEDY: slots in the order of (rank, tie), each takes
 *
 *     min(cap, least over its links of capacity - rates of those before it there)
 *
 * After a change only slots whose room has moved are looked at: from the changed slot on,
 * along each of its links, until new and old use of the link agree again. All links of one
 * change are walked together in the order of (rank, tie), by a heap with at most one slot
 * of each link, so that whatever stands before a slot is final when it is looked at. Where
 * a link has less room than before only those that carry something are looked at: a slot
 * with nothing cannot lose.
 *
 * A carrying slot fills one of its links or its cap, so few carry at a time (no more than
 * there are links) and the sums over `carrying` are short. They are taken anew each time:
 * nothing drifts.
 */
#include <math.h>

#include "sim/net.h"

static void visits_push(struct mfs_net *net, const struct mfs_entry *entry)
{
    struct mfs_entries *heap = &net->visits;
    uint32_t at = heap->count++;

    MFS_ROOM(net->memory, heap->list, heap->capacity, heap->count);
    for (; at > 0; at = (at - 1) / 2) {
        if (!mfs_entry_before(entry, &heap->list[(at - 1) / 2]))
            break;
        heap->list[at] = heap->list[(at - 1) / 2];
    }
    heap->list[at] = *entry;
}

static struct mfs_entry visits_pop(struct mfs_net *net)
{
    struct mfs_entries *heap = &net->visits;
    const struct mfs_entry least = heap->list[0], last = heap->list[--heap->count];
    uint32_t at = 0;

    for (uint32_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && mfs_entry_before(&heap->list[child + 1], &heap->list[child]))
            child++;
        if (!mfs_entry_before(&heap->list[child], &last))
            break;
        heap->list[at] = heap->list[child];
    }
    heap->list[at] = last;
    return least;
}

void mfs_greedy_visit(struct mfs_net *net, uint32_t index)
{
    struct mfs_slot *slot = &net->slots[index];

    slot->waiting = true;
    visits_push(net, &(struct mfs_entry){slot->rank, slot->tie});
}

/* What those before the entry leave of the link. */
static double room_before(const struct mfs_net *net, const struct mfs_link *link,
                          const struct mfs_entry *entry)
{
    double room = link->capacity;

    for (uint32_t i = 0; i < link->carrying.count; i++) {
        const struct mfs_entry *other = &link->carrying.list[i];

        if (!mfs_entry_before(other, entry))
            break;
        room -= net->slots[mfs_entry_slot(other)].rate;
    }
    return room > MFS_NET_EPSILON * link->capacity ? room : 0.0;
}

static double rate_of(const struct mfs_net *net, const struct mfs_slot *slot,
                      const struct mfs_entry *entry)
{
    double rate = slot->cap;

    if (slot->state == MFS_SLOT_LEAVING)
        return 0.0;
    for (uint32_t i = 0; i < slot->route.count && rate > 0.0; i++)
        rate = fmin(rate, room_before(net, &net->links[slot->route.link[i]], entry));
    return rate;
}

static void carry(struct mfs_net *net, const struct mfs_slot *slot, const struct mfs_entry *entry,
                  double rate)
{
    for (uint32_t i = 0; i < slot->route.count; i++) {
        struct mfs_link *link = &net->links[slot->route.link[i]];

        if (slot->rate == 0.0 && rate > 0.0)
            mfs_entries_insert(net->memory, &link->carrying, entry);
        else if (slot->rate > 0.0 && rate == 0.0)
            mfs_entries_erase(&link->carrying, entry);
        link->change += rate - slot->rate;
        link->used[0] += rate - slot->rate;
        if (link->mark != net->mark) {
            link->mark = net->mark;
            mfs_members_add(net->memory, &net->work, slot->route.link[i]);
        }
    }
}

/* The next on the link that may get another rate. */
static void visit_next(struct mfs_net *net, struct mfs_link *link, const struct mfs_entry *entry)
{
    const struct mfs_entries *entries;
    uint32_t at;

    if (fabs(link->change) <= MFS_NET_EPSILON * link->capacity) {
        link->change = 0.0;
        return;
    }
    entries = link->change < 0 ? &link->ordered : &link->carrying;
    at = mfs_entries_find(entries, entry);
    if (at < entries->count && entries->list[at].tie == entry->tie)
        at++;
    if (at < entries->count && !net->slots[mfs_entry_slot(&entries->list[at])].waiting)
        mfs_greedy_visit(net, mfs_entry_slot(&entries->list[at]));
}

void mfs_greedy_rates(struct mfs_net *net)
{
    mfs_net_next_mark(net);
    net->work.count = 0;
    while (net->visits.count > 0) {
        const struct mfs_entry entry = visits_pop(net);
        const uint32_t index = mfs_entry_slot(&entry);
        struct mfs_slot *slot = &net->slots[index];
        double rate;

        if (!slot->waiting || slot->rank != entry.rank || slot->tie != entry.tie ||
            (slot->state != MFS_SLOT_ORDERED && slot->state != MFS_SLOT_LEAVING))
            continue; /* it has moved since */
        slot->waiting = false;
        net->visited++;
        rate = rate_of(net, slot, &entry);
        if (fabs(rate - slot->rate) <= MFS_NET_EPSILON * rate && (rate > 0.0 || slot->rate == 0.0))
            rate = slot->rate;
        if (rate != slot->rate) {
            carry(net, slot, &entry, rate);
            if (slot->state == MFS_SLOT_LEAVING)
                slot->rate = rate;
            else
                mfs_net_rate(net, index, rate);
        }
        for (uint32_t i = 0; i < slot->route.count; i++)
            visit_next(net, &net->links[slot->route.link[i]], &entry);
        if (slot->state == MFS_SLOT_LEAVING) {
            for (uint32_t i = 0; i < slot->route.count; i++)
                mfs_entries_erase(&net->links[slot->route.link[i]].ordered, &entry);
        }
    }
    for (uint32_t i = 0; i < net->work.count; i++) {
        struct mfs_link *link = &net->links[net->work.list[i]];

        link->change = 0.0;
        if (link->carrying.count == 0)
            link->used[0] = 0.0; /* no drift */
        if (net->tiers > 0) {
            mfs_net_mark_link(net, net->work.list[i]);
            link->filled_anew = true;
        }
    }
}
