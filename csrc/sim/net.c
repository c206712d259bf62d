/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/net.h"

#include <math.h>
#include <string.h>

uint32_t mfs_entries_find(const struct mfs_entries *entries, const struct mfs_entry *entry)
{
    uint32_t low = 0, high = entries->count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (mfs_entry_before(&entries->list[middle], entry))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void mfs_entries_insert(struct mfs_memory *memory, struct mfs_entries *entries,
                        const struct mfs_entry *entry)
{
    uint32_t at = mfs_entries_find(entries, entry);

    MFS_ROOM(memory, entries->list, entries->capacity, entries->count + 1);
    memmove(&entries->list[at + 1], &entries->list[at],
            (entries->count - at) * sizeof(*entries->list));
    entries->list[at] = *entry;
    entries->count++;
}

void mfs_entries_erase(struct mfs_entries *entries, const struct mfs_entry *entry)
{
    uint32_t at = mfs_entries_find(entries, entry);

    if (at == entries->count || entries->list[at].tie != entry->tie)
        return;
    entries->count--;
    memmove(&entries->list[at], &entries->list[at + 1],
            (entries->count - at) * sizeof(*entries->list));
}

void mfs_net_init(struct mfs_net *net, struct mfs_memory *memory, const double *capacity,
                  uint32_t links, uint32_t tiers)
{
    memset(net, 0, sizeof(*net));
    net->memory = memory;
    net->links = mfs_memory_new(memory, links ? links : 1, sizeof(*net->links));
    net->link_count = links;
    net->tiers = tiers;
    net->classes = 1;
    for (uint32_t i = 0; i < links; i++) {
        struct mfs_link *link = &net->links[i];

        link->capacity = capacity[i];
        link->floor = INFINITY;
        link->used = mfs_memory_new(memory, tiers + 1, sizeof(*link->used));
        if (tiers == 0)
            continue;
        link->shared = mfs_memory_new(memory, tiers, sizeof(*link->shared));
        link->level = mfs_memory_new(memory, tiers, sizeof(*link->level));
        for (uint32_t tier = 0; tier < tiers; tier++)
            link->level[tier] = INFINITY;
    }
}

uint32_t mfs_net_next_mark(struct mfs_net *net)
{
    if (++net->mark == 0) { /* once in four thousand million */
        for (uint32_t i = 0; i < net->link_count; i++)
            net->links[i].mark = 0;
        for (uint32_t i = 0; i < net->slot_count; i++)
            net->slots[i].mark = 0;
        net->mark = 1;
    }
    return net->mark;
}

void mfs_net_mark_link(struct mfs_net *net, uint32_t link)
{
    if (net->links[link].dirty)
        return;
    net->links[link].dirty = true;
    mfs_members_add(net->memory, &net->dirty, link);
}

static void mark_route(struct mfs_net *net, const struct mfs_slot *slot)
{
    for (uint32_t i = 0; i < slot->route.count; i++)
        mfs_net_mark_link(net, slot->route.link[i]);
}

void mfs_net_rate(struct mfs_net *net, uint32_t index, double rate)
{
    struct mfs_slot *slot = &net->slots[index];

    slot->rate = rate;
    if (!slot->reported) {
        slot->reported = true;
        mfs_members_add(net->memory, &net->changed, index);
    }
}

uint32_t mfs_slot_new(struct mfs_net *net, const struct mfs_route *route, uint32_t owner)
{
    const struct mfs_route copy = *route; /* it may be a slot's, which may move */
    uint32_t index;
    struct mfs_slot *slot;

    if (net->free_count > 0) {
        index = net->free[--net->free_count];
    } else {
        index = net->slot_count;
        if (index >> MFS_TIE_BITS)
            longjmp(net->memory->failed, 1);
        MFS_ROOM(net->memory, net->slots, net->slot_capacity, index + 1);
        net->slot_count++;
    }
    slot = &net->slots[index];
    memset(slot, 0, sizeof(*slot));
    slot->route = copy;
    net->links[copy.link[0]].egress = true;
    slot->owner = owner;
    slot->cap = INFINITY;
    slot->state = MFS_SLOT_IDLE;
    return index;
}

static void slot_release(struct mfs_net *net, uint32_t index)
{
    net->slots[index].state = MFS_SLOT_FREE;
    MFS_ROOM(net->memory, net->free, net->free_capacity, net->free_count + 1);
    net->free[net->free_count++] = index;
}

static void entries_add(struct mfs_net *net, const struct mfs_slot *slot)
{
    const struct mfs_entry entry = {slot->rank, slot->tie};

    for (uint32_t i = 0; i < slot->route.count; i++)
        mfs_entries_insert(net->memory, &net->links[slot->route.link[i]].ordered, &entry);
}

static void entries_drop(struct mfs_net *net, const struct mfs_slot *slot)
{
    const struct mfs_entry entry = {slot->rank, slot->tie};

    for (uint32_t i = 0; i < slot->route.count; i++) {
        struct mfs_link *link = &net->links[slot->route.link[i]];

        mfs_entries_erase(&link->ordered, &entry);
        if (slot->rate > 0)
            mfs_entries_erase(&link->carrying, &entry);
    }
}

/* A stand-in keeps the old place, and its use of the links, until it is worked out anew. */
static void leave_ghost(struct mfs_net *net, uint32_t index)
{
    const uint32_t ghost_index = mfs_slot_new(net, &net->slots[index].route, UINT32_MAX);
    struct mfs_slot *slot = &net->slots[index], *ghost = &net->slots[ghost_index];

    entries_drop(net, slot);
    ghost->rank = slot->rank;
    ghost->tie = (slot->tie >> MFS_TIE_BITS << MFS_TIE_BITS) | ghost_index;
    ghost->rate = slot->rate;
    ghost->state = MFS_SLOT_LEAVING;
    ghost->reported = true; /* nobody asks for its rate */
    entries_add(net, ghost);
    for (uint32_t i = 0; i < ghost->route.count; i++)
        mfs_entries_insert(net->memory, &net->links[ghost->route.link[i]].carrying,
                           &(struct mfs_entry){ghost->rank, ghost->tie});
    mfs_members_add(net->memory, &net->leaving, ghost_index);
    mfs_greedy_visit(net, ghost_index);
    mfs_net_rate(net, index, 0.0);
}

static void ordered_leave(struct mfs_net *net, uint32_t index)
{
    struct mfs_slot *slot = &net->slots[index];

    if (slot->rate > 0 && !net->sender) {
        leave_ghost(net, index);
    } else {
        entries_drop(net, slot);
        if (slot->rate > 0)
            mfs_net_rate(net, index, 0.0);
    }
    if (net->sender)
        mark_route(net, slot);
    net->slots[index].state = MFS_SLOT_IDLE;
}

static void shared_leave(struct mfs_net *net, uint32_t index)
{
    struct mfs_slot *slot = &net->slots[index];

    for (uint32_t i = 0; i < slot->route.count; i++) {
        struct mfs_link *link = &net->links[slot->route.link[i]];
        struct mfs_members *members = &link->shared[slot->tier - 1];
        uint32_t last = members->list[--members->count], k = 0;

        members->list[slot->at[i]] = last;
        while (net->slots[last].route.link[k] != slot->route.link[i])
            k++;
        net->slots[last].at[k] = slot->at[i];
        link->used[slot->tier] -= slot->rate;
        link->floor = fmin(link->floor, slot->rate / slot->weight);
        link->filled_anew |= slot->tier < net->tiers; /* the next tiers have more room */
        if (members->count == 0)
            link->used[slot->tier] = 0.0; /* no drift */
        mfs_net_mark_link(net, slot->route.link[i]);
    }
    if (slot->rate > 0)
        mfs_net_rate(net, index, 0.0);
    slot->state = MFS_SLOT_IDLE;
}

void mfs_slot_leave(struct mfs_net *net, uint32_t index)
{
    if (net->slots[index].state == MFS_SLOT_ORDERED)
        ordered_leave(net, index);
    else if (net->slots[index].state == MFS_SLOT_SHARED)
        shared_leave(net, index);
}

void mfs_slot_free(struct mfs_net *net, uint32_t index)
{
    mfs_slot_leave(net, index);
    if (net->slots[index].reported) { /* its number is in `changed` until the next settling */
        net->slots[index].state = MFS_SLOT_LEAVING;
        net->slots[index].owner = UINT32_MAX;
        mfs_members_add(net->memory, &net->leaving, index);
        return;
    }
    slot_release(net, index);
}

/* Does the new place leave it between the same neighbours on all its links? */
static bool moved_in_place(struct mfs_net *net, struct mfs_slot *slot, const struct mfs_entry *new)
{
    const struct mfs_entry old = {slot->rank, slot->tie};
    struct mfs_entry *places[MFS_ROUTE_MAX], *carrying[MFS_ROUTE_MAX];

    for (uint32_t i = 0; i < slot->route.count; i++) {
        struct mfs_link *link = &net->links[slot->route.link[i]];
        const uint32_t at = mfs_entries_find(&link->ordered, &old);
        struct mfs_entry *list = link->ordered.list;

        if ((at > 0 && !mfs_entry_before(&list[at - 1], new)) ||
            (at + 1 < link->ordered.count && !mfs_entry_before(new, &list[at + 1])))
            return false;
        places[i] = &list[at];
        carrying[i] = NULL;
        if (slot->rate > 0 && !net->sender)
            carrying[i] = &link->carrying.list[mfs_entries_find(&link->carrying, &old)];
    }
    for (uint32_t i = 0; i < slot->route.count; i++) {
        *places[i] = *new;
        if (carrying[i])
            *carrying[i] = *new;
    }
    slot->rank = new->rank;
    slot->tie = new->tie;
    return true;
}

void mfs_slot_order(struct mfs_net *net, uint32_t index, uint64_t rank, uint64_t sequence,
                    double cap)
{
    const struct mfs_entry place = {rank, sequence << MFS_TIE_BITS | index};
    struct mfs_slot *slot = &net->slots[index];

    if (slot->state == MFS_SLOT_SHARED)
        shared_leave(net, index);
    if (slot->state == MFS_SLOT_ORDERED) {
        const bool same_cap = slot->cap == cap;

        slot->cap = cap;
        if ((slot->rank == rank && slot->tie == place.tie) || moved_in_place(net, slot, &place)) {
            if (!same_cap && net->sender)
                mark_route(net, slot);
            else if (!net->sender && (!same_cap || slot->waiting))
                mfs_greedy_visit(net, index);
            return;
        }
        ordered_leave(net, index);
        slot = &net->slots[index];
    }
    slot->state = MFS_SLOT_ORDERED;
    slot->tier = 0;
    slot->rank = rank;
    slot->tie = place.tie;
    slot->cap = cap;
    entries_add(net, slot);
    if (net->sender)
        mark_route(net, slot);
    else
        mfs_greedy_visit(net, index);
}

void mfs_slot_share(struct mfs_net *net, uint32_t index, uint32_t tier, double weight)
{
    struct mfs_slot *slot = &net->slots[index];

    if (slot->state == MFS_SLOT_SHARED && slot->tier == tier && slot->weight == weight)
        return;
    mfs_slot_leave(net, index);
    slot = &net->slots[index];
    slot->state = MFS_SLOT_SHARED;
    slot->tier = (uint8_t)tier;
    slot->weight = weight;
    slot->rate = 0.0;
    for (uint32_t i = 0; i < slot->route.count; i++) {
        struct mfs_members *members = &net->links[slot->route.link[i]].shared[tier - 1];

        slot->at[i] = members->count;
        mfs_members_add(net->memory, members, index);
        net->links[slot->route.link[i]].filled_anew = true;
    }
    mark_route(net, slot);
}

void mfs_slot_class(struct mfs_net *net, uint32_t index, uint32_t class)
{
    struct mfs_slot *slot = &net->slots[index];

    if (slot->class == class)
        return;
    slot->class = class;
    if (net->sender && slot->state != MFS_SLOT_IDLE)
        mark_route(net, slot);
}

void mfs_net_rates_anew(struct mfs_net *net)
{
    if (net->sender) {
        mfs_sender_order_rates(net);
    } else {
        if (net->visits.count > 0)
            mfs_greedy_rates(net);
        if (net->tiers > 0 && net->dirty.count > 0)
            mfs_maxmin_rates(net);
    }
    for (uint32_t i = 0; i < net->dirty.count; i++) {
        net->links[net->dirty.list[i]].dirty = false;
        net->links[net->dirty.list[i]].filled_anew = false;
        net->links[net->dirty.list[i]].floor = INFINITY;
    }
    net->dirty.count = 0;
}

void mfs_net_settled(struct mfs_net *net)
{
    for (uint32_t i = 0; i < net->changed.count; i++)
        net->slots[net->changed.list[i]].reported = false;
    net->changed.count = 0;
    for (uint32_t i = 0; i < net->leaving.count; i++)
        slot_release(net, net->leaving.list[i]);
    net->leaving.count = 0;
}
