/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAX-MIN FAIR: in each shared tier the rate of one flow is x = the least level of its
 * links, where a link's level is the x at which it is full: sum of weight * min(x, rate
 * elsewhere) = what the tiers before leave of it (progressive filling).
 *
 * LOCALITY: a change moves the rates of those that share a full link with it, directly or
 * through others. So the search begins with the changed links ("inner") and their slots;
 * the links where these slots end up ("rim") keep what their other slots have:
 *
 *     a full rim link    its level is a cap for our slots on it
 *     one that is not    has room: capacity - use by the others
 *
 * After filling, a full rim link where a slot's rate has changed, or an open one that has
 * become full, is taken into the inner ones and all is filled again, until none is. Then
 * every slot outside still has the full link where it is among the largest, and so the
 * whole is max-min fair. Rounds double in reach: from the third on, everything that is
 * joined by full links is taken in at once.
 *
 * FLOOR: filling goes the same way as before up to the least rate of what has left and the
 * level at which a changed link would now be full if nobody had more than now. Slots below
 * that keep what they have; they are part of what a link has no room for.
 *
 * FILLING: heap of links by share = room / weight not yet frozen. Pop the least; its slots
 * freeze at that level and take their part from their other links, whose share can only
 * grow; so an old entry is put back with its new share when it comes up.
 */
#include <math.h>

#include "sim/net.h"

enum { OUTSIDE, RIM_OPEN, RIM_FULL, INNER };

struct filling {
    struct mfs_net *net;
    uint32_t tier; /* 1.. */
    uint32_t mark;
    double floor; /* of one flow: slots with less stay out of it */
};

static double tier_room(const struct filling *fill, const struct mfs_link *link)
{
    double room = link->capacity;

    for (uint32_t tier = 0; tier < fill->tier; tier++)
        room -= link->used[tier];
    return room > MFS_NET_EPSILON * link->capacity ? room : 0.0;
}

static void take_link(const struct filling *fill, uint32_t index)
{
    struct mfs_net *net = fill->net;
    struct mfs_link *link = &net->links[index];

    if (link->mark != fill->mark) {
        link->mark = fill->mark;
        link->role = OUTSIDE;
        mfs_members_add(net->memory, &net->work, index);
    }
    if (link->role != INNER)
        mfs_members_add(net->memory, &net->todo, index);
    link->role = INNER;
}

/* All slots of an inner link are ours; their links are at least rim. */
static void take_slots(const struct filling *fill, uint32_t index)
{
    struct mfs_net *net = fill->net;
    const struct mfs_members *members = &net->links[index].shared[fill->tier - 1];
    const double full = net->links[index].level[fill->tier - 1] * (1.0 - MFS_NET_EPSILON);

    for (uint32_t i = 0; i < members->count; i++) {
        struct mfs_slot *slot = &net->slots[members->list[i]];

        if (slot->mark == fill->mark ||
            (slot->rate > 0.0 && slot->rate < fill->floor * slot->weight))
            continue;
        slot->mark = fill->mark;
        mfs_members_add(net->memory, &net->found, members->list[i]);
        for (uint32_t k = 0; k < slot->route.count; k++) {
            struct mfs_link *link = &net->links[slot->route.link[k]];

            if (link->mark == fill->mark)
                continue;
            link->mark = fill->mark;
            link->role = isfinite(link->level[fill->tier - 1]) ? RIM_FULL : RIM_OPEN;
            mfs_members_add(net->memory, &net->work, slot->route.link[k]);
        }
    }
    /* those that this link holds back will move with it, and move what their full links have */
    for (uint32_t i = 0; i < members->count; i++) {
        struct mfs_slot *slot = &net->slots[members->list[i]];

        if (slot->rate < full * slot->weight)
            continue;
        for (uint32_t k = 0; k < slot->route.count; k++) {
            if (net->links[slot->route.link[k]].role == RIM_FULL)
                take_link(fill, slot->route.link[k]);
        }
    }
}

static void take_all(const struct filling *fill)
{
    for (uint32_t i = 0; i < fill->net->todo.count; i++)
        take_slots(fill, fill->net->todo.list[i]);
    fill->net->todo.count = 0;
}

/* --- the heap of links by share --- */

static void heap_down(struct mfs_net *net, uint32_t at, struct mfs_share share)
{
    struct mfs_share *heap = net->shares;
    const uint32_t count = net->share_count;

    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && heap[child + 1].level < heap[child].level;
        if (heap[child].level >= share.level)
            break;
        heap[at] = heap[child];
    }
    heap[at] = share;
}

static void heap_drop_first(struct mfs_net *net)
{
    const struct mfs_share last = net->shares[--net->share_count];

    if (net->share_count > 0)
        heap_down(net, 0, last);
}

/* --- filling --- */

static double share_of(const struct mfs_link *link)
{
    return link->room > 0.0 ? link->room / link->weight : 0.0;
}

static void prepare_links(const struct filling *fill)
{
    struct mfs_net *net = fill->net;

    for (uint32_t i = 0; i < net->work.count; i++) {
        struct mfs_link *link = &net->links[net->work.list[i]];

        link->weight = 0.0;
        link->share = INFINITY;
        link->room = tier_room(fill, link) - link->used[fill->tier];
    }
    for (uint32_t i = 0; i < net->found.count; i++) {
        struct mfs_slot *slot = &net->slots[net->found.list[i]];

        slot->fill = -1.0;
        for (uint32_t k = 0; k < slot->route.count; k++) {
            struct mfs_link *link = &net->links[slot->route.link[k]];

            link->weight += slot->weight;
            link->room += slot->rate;
        }
    }
    net->share_count = 0;
    MFS_ROOM(net->memory, net->shares, net->share_capacity, net->work.count);
    for (uint32_t i = 0; i < net->work.count; i++) {
        struct mfs_link *link = &net->links[net->work.list[i]];

        if (link->weight <= 0.0)
            continue;
        link->share = link->role == RIM_FULL ? link->level[fill->tier - 1] : share_of(link);
        net->shares[net->share_count++] = (struct mfs_share){link->share, net->work.list[i]};
    }
    for (uint32_t at = net->share_count / 2; at-- > 0;)
        heap_down(net, at, net->shares[at]);
}

static void freeze(const struct filling *fill, struct mfs_slot *slot, double level)
{
    slot->fill = level;
    for (uint32_t k = 0; k < slot->route.count; k++) {
        struct mfs_link *link = &fill->net->links[slot->route.link[k]];

        link->room -= slot->weight * level;
        link->weight -= slot->weight;
    }
}

static void pour(const struct filling *fill)
{
    struct mfs_net *net = fill->net;
    uint32_t left = net->found.count; /* not yet frozen */

    prepare_links(fill);
    while (left > 0 && net->share_count > 0) {
        const uint32_t index = net->shares[0].link;
        struct mfs_link *link = &net->links[index];
        const struct mfs_members *members = &link->shared[fill->tier - 1];
        const double level = net->shares[0].level;

        if (link->weight < 0.5) { /* weights are whole numbers: all are frozen */
            link->share = INFINITY;
            heap_drop_first(net);
            continue;
        }
        if (link->role != RIM_FULL) {
            const double share = share_of(link);

            if (share > level * (1.0 + 1e-12)) {
                link->share = share;
                heap_down(net, 0, (struct mfs_share){share, index});
                continue;
            }
        }
        for (uint32_t i = 0; i < members->count; i++) {
            struct mfs_slot *slot = &net->slots[members->list[i]];

            if (slot->mark == fill->mark && slot->fill < 0.0) {
                freeze(fill, slot, level);
                left--;
            }
        }
        heap_drop_first(net); /* full at `level`: share stays */
        link->weight = 0.0;
    }
    for (uint32_t i = 0; i < net->share_count; i++) /* not full: nobody on them is left */
        net->links[net->shares[i].link].share = INFINITY;
    net->visited += net->found.count;
}

static bool differs(const struct mfs_slot *slot)
{
    const double rate = slot->fill * slot->weight;

    return fabs(rate - slot->rate) > MFS_NET_EPSILON * fmax(rate, slot->rate);
}

/* The rim links that the solution does not agree with become inner. */
static bool widen(const struct filling *fill)
{
    struct mfs_net *net = fill->net;
    const uint32_t links = net->work.count, slots = net->found.count;
    bool wider = false;

    for (uint32_t i = 0; i < links; i++) {
        struct mfs_link *link = &net->links[net->work.list[i]];

        if (link->role == RIM_OPEN && isfinite(link->share)) {
            /* it became full, and there are others on it */
            take_link(fill, net->work.list[i]);
            wider = true;
        }
    }
    for (uint32_t i = 0; i < slots; i++) {
        const struct mfs_slot *slot = &net->slots[net->found.list[i]];

        if (!differs(slot))
            continue;
        for (uint32_t k = 0; k < slot->route.count; k++) {
            if (net->links[slot->route.link[k]].role == RIM_FULL) {
                take_link(fill, slot->route.link[k]);
                wider = true;
            }
        }
    }
    take_all(fill);
    return wider;
}

static void adopt(const struct filling *fill)
{
    struct mfs_net *net = fill->net;

    for (uint32_t i = 0; i < net->found.count; i++) {
        struct mfs_slot *slot = &net->slots[net->found.list[i]];
        const double rate = slot->fill * slot->weight;

        if (!differs(slot) || rate == slot->rate)
            continue;
        for (uint32_t k = 0; k < slot->route.count; k++) {
            struct mfs_link *link = &net->links[slot->route.link[k]];

            link->used[fill->tier] += rate - slot->rate;
            if (fill->tier < net->tiers) {
                mfs_net_mark_link(net, slot->route.link[k]);
                link->filled_anew = true;
            }
        }
        mfs_net_rate(net, net->found.list[i], rate);
    }
    for (uint32_t i = 0; i < net->work.count; i++) {
        struct mfs_link *link = &net->links[net->work.list[i]];

        if (link->role == INNER) /* room is what filling has left of it */
            link->level[fill->tier - 1] = isfinite(link->share) ? link->share : INFINITY;
    }
}

/* The level at which the link would be full if those who have a rate had no more of it. */
static double level_as_is(const struct filling *fill, const struct mfs_link *link)
{
    const struct mfs_net *net = fill->net;
    const struct mfs_members *members = &link->shared[fill->tier - 1];
    const double room = tier_room(fill, link);
    double level = 0.0, before = -1.0;

    while (level > before) { /* those below the level have their rate; it only rises */
        double left = room, weight = 0.0;

        before = level;
        for (uint32_t i = 0; i < members->count; i++) {
            const struct mfs_slot *slot = &net->slots[members->list[i]];

            if (slot->rate > 0.0 && slot->rate <= before * slot->weight)
                left -= slot->rate;
            else
                weight += slot->weight;
        }
        if (weight <= 0.0)
            return INFINITY;
        level = fmax(before, left / weight);
    }
    return level;
}

static double floor_of(const struct filling *fill)
{
    const struct mfs_net *net = fill->net;
    double floor = INFINITY;

    for (uint32_t i = 0; i < net->dirty.count; i++) {
        const struct mfs_link *link = &net->links[net->dirty.list[i]];

        floor = fmin(floor, link->floor);
        if (link->filled_anew)
            floor = fmin(floor, fmin(link->level[fill->tier - 1], level_as_is(fill, link)));
    }
    return floor * (1.0 - MFS_NET_EPSILON);
}

static void settle_tier(struct mfs_net *net, uint32_t tier)
{
    struct filling fill = {net, tier, mfs_net_next_mark(net), 0.0};
    const uint32_t links = net->dirty.count;

    net->work.count = 0;
    net->found.count = 0;
    net->todo.count = 0;
    fill.floor = floor_of(&fill);
    for (uint32_t i = 0; i < links; i++)
        take_link(&fill, net->dirty.list[i]);
    take_all(&fill);
    if (net->found.count == 0) {
        for (uint32_t i = 0; i < links; i++)
            net->links[net->dirty.list[i]].level[tier - 1] = INFINITY;
        return;
    }
    do {
        pour(&fill);
    } while (widen(&fill));
    adopt(&fill);
}

void mfs_maxmin_settle(struct mfs_net *net)
{
    for (uint32_t tier = 1; tier <= net->tiers; tier++)
        settle_tier(net, tier);
}
