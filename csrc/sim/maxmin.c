/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAX-MIN FAIR: in each shared tier the rate of one flow is x = the least level of its
 * links, where a link's level is the x at which it is full: sum of weight * min(x, rate
 * elsewhere) = what the tiers before leave of it (progressive filling).
 *
 * SWEEP: a change moves the rates of those that share a full link with it, directly or
 * through others. They are filled anew in one sweep of x from below, which begins at the changed
 * links and takes others in when it is known that a slot of theirs will have another rate:
 *
 *     INNER      all its slots with at least x are open: filled anew. It is full at room / weight,
 *                the weight of those not yet frozen; then these freeze at that level
 *     RIM_FULL   of a link that was full an open slot is known to pass: at the level where it was
 *                full its open slots freeze as they were
 *     RIM_OPEN   of one that was not: it has room for those that grow as long as the others keep
 *                what they have; where that ends it becomes INNER
 *
 * A full rim becomes INNER when an open slot of it freezes below what it had, or is still open at
 * what it had, which is looked at when x passes the level at which an inner link was full before
 * (`was`). What has less than x then is final, so each slot is opened and frozen once
 * (docs/decisions/0017).
 *
 * FLOOR: filling goes the same way as before up to the least rate of what has left and the
 * level at which a changed link would now be full if nobody had more than now. There the sweep
 * begins; slots below keep what they have.
 *
 * A heap has what comes next on each link. Shares only grow while their slots freeze elsewhere, so
 * an old entry is put back with its new share when it comes up.
 */
#include <math.h>

#include "sim/net.h"

enum { RIM_OPEN, RIM_FULL, RIM_PASSED, INNER, DONE }; /* PASSED: its open slots are frozen */

struct sweep {
    struct mfs_net *net;
    uint32_t tier; /* 1.. */
    uint32_t mark;
    uint32_t open; /* slots not yet frozen */
    double level;  /* x, less what counts as equal */
};

static double tier_room(const struct sweep *sweep, const struct mfs_link *link)
{
    double room = link->capacity;

    for (uint32_t tier = 0; tier < sweep->tier; tier++)
        room -= link->used[tier];
    return room > MFS_NET_EPSILON * link->capacity ? room : 0.0;
}

/* --- the heap of what comes next --- */

static void heap_push(struct mfs_net *net, double level, uint32_t link, uint32_t role)
{
    uint32_t at = net->share_count++;
    struct mfs_share *heap;

    MFS_ROOM(net->memory, net->shares, net->share_capacity, net->share_count);
    heap = net->shares;
    for (; at > 0 && level < heap[(at - 1) / 2].level; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = (struct mfs_share){level, link, role};
}

static void heap_put_first(struct mfs_net *net, struct mfs_share share)
{
    struct mfs_share *heap = net->shares;
    const uint32_t count = net->share_count;
    uint32_t at = 0;

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
        heap_put_first(net, last);
}

/* --- links come in --- */

static double share_of(const struct mfs_link *link)
{
    return link->room > 0.0 ? link->room / link->weight : 0.0;
}

/* A link of a slot that has just been opened. */
static void touch_link(struct sweep *sweep, uint32_t index)
{
    struct mfs_net *net = sweep->net;
    struct mfs_link *link = &net->links[index];
    const double was = link->level[sweep->tier - 1];

    if (link->mark != sweep->mark) {
        link->mark = sweep->mark;
        link->role = isfinite(was) ? RIM_PASSED : RIM_OPEN;
        link->weight = 0.0;
    }
    if (link->role == RIM_PASSED) {
        link->role = RIM_FULL;
        heap_push(net, was, index, RIM_FULL);
    }
}

/* A slot that will have more than now, on a link that is not full. */
static void grow_link(struct sweep *sweep, uint32_t index, const struct mfs_slot *slot)
{
    struct mfs_link *link = &sweep->net->links[index];
    double share;

    if (link->weight < 0.5) {
        link->room = tier_room(sweep, link) - link->used[sweep->tier];
        link->weight = 0.0;
        link->share = INFINITY;
    }
    link->room += slot->rate;
    link->weight += slot->weight;
    share = share_of(link);
    if (share < link->share) {
        link->share = share;
        heap_push(sweep->net, share, index, RIM_OPEN);
    }
}

static void open_slot(struct sweep *sweep, uint32_t index, uint32_t but)
{
    struct mfs_net *net = sweep->net;
    struct mfs_slot *slot = &net->slots[index];

    slot->mark = sweep->mark;
    slot->fill = -1.0;
    sweep->open++;
    net->visited++;
    for (uint32_t k = 0; k < slot->route.count; k++) {
        if (slot->route.link[k] != but)
            touch_link(sweep, slot->route.link[k]);
    }
}

/* All slots of the link that have at least x are filled anew. */
static void take_link(struct sweep *sweep, uint32_t index)
{
    struct mfs_net *net = sweep->net;
    struct mfs_link *link = &net->links[index];
    const struct mfs_members *members = &link->shared[sweep->tier - 1];
    const uint32_t *list = members->list, count = members->count;
    double room = tier_room(sweep, link), weight = 0.0;

    link->mark = sweep->mark;
    link->role = INNER;
    link->was = link->level[sweep->tier - 1];
    mfs_members_add(net->memory, &net->work, index);
    for (uint32_t i = 0; i < count; i++) {
        const struct mfs_slot *slot = &net->slots[list[i]];

        if (slot->mark == sweep->mark && slot->fill >= 0.0) {
            room -= slot->fill * slot->weight;
        } else if (slot->mark != sweep->mark && slot->rate > 0.0 &&
                   slot->rate < sweep->level * slot->weight) {
            room -= slot->rate;
        } else {
            weight += slot->weight;
            if (slot->mark != sweep->mark)
                open_slot(sweep, list[i], index);
        }
    }
    link->room = room;
    link->weight = weight;
    if (weight > 0.0)
        heap_push(net, fmin(share_of(link), link->was), index, INNER);
}

static bool is_rim(const struct mfs_link *link)
{
    return link->role == RIM_FULL || link->role == RIM_PASSED;
}

/* --- slots freeze --- */

static void adopt(const struct sweep *sweep, uint32_t index, double rate)
{
    struct mfs_net *net = sweep->net;
    struct mfs_slot *slot = &net->slots[index];
    const double more = rate - slot->rate;

    for (uint32_t k = 0; k < slot->route.count; k++) {
        struct mfs_link *link = &net->links[slot->route.link[k]];

        link->used[sweep->tier] += more;
        if (sweep->tier < net->tiers) {
            mfs_net_mark_link(net, slot->route.link[k]);
            link->filled_anew = true;
        }
    }
    mfs_net_rate(net, index, rate);
}

static void freeze(struct sweep *sweep, uint32_t index, double level)
{
    struct mfs_net *net = sweep->net;
    struct mfs_slot *slot = &net->slots[index];
    const double rate = level * slot->weight, before = slot->rate;
    const bool same = fabs(rate - before) <= MFS_NET_EPSILON * (rate > before ? rate : before);

    slot->fill = same ? before / slot->weight : level;
    sweep->open--;
    if (!same)
        adopt(sweep, index, rate);
    for (uint32_t k = 0; k < slot->route.count; k++) {
        struct mfs_link *link = &net->links[slot->route.link[k]];

        if (link->role == INNER || (link->role == RIM_OPEN && rate > before)) {
            link->room -= slot->fill * slot->weight;
            link->weight -= slot->weight;
        } else if (!same && is_rim(link)) { /* others there have more now */
            take_link(sweep, slot->route.link[k]);
        }
    }
}

static void freeze_open(struct sweep *sweep, const struct mfs_link *link, double level)
{
    const struct mfs_members *members = &link->shared[sweep->tier - 1];

    for (uint32_t i = 0; i < members->count; i++) {
        const struct mfs_slot *slot = &sweep->net->slots[members->list[i]];

        if (slot->mark == sweep->mark && slot->fill < 0.0)
            freeze(sweep, members->list[i], level);
    }
}

/* Those still open at what they had will have more: so will their links have less for others. */
static void pass(struct sweep *sweep, const struct mfs_link *link)
{
    struct mfs_net *net = sweep->net;
    const struct mfs_members *members = &link->shared[sweep->tier - 1];
    const double most = link->was * (1.0 + MFS_NET_EPSILON);

    for (uint32_t i = 0; i < members->count; i++) {
        const struct mfs_slot *slot = &net->slots[members->list[i]];

        if (slot->mark != sweep->mark || slot->fill >= 0.0 || slot->rate > most * slot->weight)
            continue;
        for (uint32_t k = 0; k < slot->route.count; k++) {
            const struct mfs_link *other = &net->links[slot->route.link[k]];

            if (is_rim(other))
                take_link(sweep, slot->route.link[k]);
            else if (other->role == RIM_OPEN)
                grow_link(sweep, slot->route.link[k], slot);
        }
    }
}

/* --- the sweep --- */

static void reach_inner(struct sweep *sweep, struct mfs_link *link, struct mfs_share next)
{
    struct mfs_net *net = sweep->net;
    double share;

    if (link->weight < 0.5) { /* weights are whole numbers: all are frozen */
        heap_drop_first(net);
        return;
    }
    share = share_of(link);
    if (link->was < share * (1.0 - MFS_NET_EPSILON)) {
        if (link->was > next.level * (1.0 + 1e-12)) {
            heap_put_first(net, (struct mfs_share){link->was, next.link, INNER});
            return;
        }
        heap_put_first(net, (struct mfs_share){share, next.link, INNER});
        pass(sweep, link);
        link->was = INFINITY;
        return;
    }
    if (share > next.level * (1.0 + 1e-12)) {
        heap_put_first(net, (struct mfs_share){share, next.link, INNER});
        return;
    }
    heap_drop_first(net);
    link->role = DONE;
    link->level[sweep->tier - 1] = share;
    freeze_open(sweep, link, share);
}

static void reach(struct sweep *sweep, struct mfs_share next)
{
    struct mfs_net *net = sweep->net;
    struct mfs_link *link = &net->links[next.link];

    if (link->role != next.role) { /* it has been taken in since */
        heap_drop_first(net);
    } else if (next.role == INNER) {
        reach_inner(sweep, link, next);
    } else if (next.role == RIM_FULL) {
        heap_drop_first(net);
        link->role = RIM_PASSED;
        freeze_open(sweep, link, next.level);
    } else if (link->weight < 0.5) {
        heap_drop_first(net);
    } else {
        link->share = share_of(link);
        if (link->share > next.level * (1.0 + 1e-12)) {
            heap_put_first(net, (struct mfs_share){link->share, next.link, RIM_OPEN});
        } else { /* it is full, and there are others on it */
            heap_drop_first(net);
            take_link(sweep, next.link);
        }
    }
}

/* The level at which the link would be full if those who have a rate had no more of it. */
static double level_as_is(const struct sweep *sweep, const struct mfs_link *link)
{
    const struct mfs_net *net = sweep->net;
    const struct mfs_members *members = &link->shared[sweep->tier - 1];
    const double room = tier_room(sweep, link);
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

static double floor_of(const struct sweep *sweep)
{
    const struct mfs_net *net = sweep->net;
    double floor = INFINITY;

    for (uint32_t i = 0; i < net->dirty.count; i++) {
        const struct mfs_link *link = &net->links[net->dirty.list[i]];

        floor = fmin(floor, link->floor);
        if (link->filled_anew)
            floor = fmin(floor, fmin(link->level[sweep->tier - 1], level_as_is(sweep, link)));
    }
    return floor * (1.0 - MFS_NET_EPSILON);
}

static void tier_rates(struct mfs_net *net, uint32_t tier)
{
    struct sweep sweep = {net, tier, mfs_net_next_mark(net), 0, 0.0};
    const uint32_t links = net->dirty.count;

    net->work.count = 0;
    net->share_count = 0;
    sweep.level = floor_of(&sweep);
    for (uint32_t i = 0; i < links; i++) {
        net->links[net->dirty.list[i]].mark = sweep.mark;
        net->links[net->dirty.list[i]].role = INNER;
    }
    for (uint32_t i = 0; i < links; i++)
        take_link(&sweep, net->dirty.list[i]);
    while (sweep.open > 0 && net->share_count > 0) {
        const struct mfs_share next = net->shares[0];

        sweep.level = fmax(sweep.level, next.level * (1.0 - MFS_NET_EPSILON));
        reach(&sweep, next);
    }
    for (uint32_t i = 0; i < net->work.count; i++) {
        struct mfs_link *link = &net->links[net->work.list[i]];

        if (link->role == INNER) /* not full */
            link->level[tier - 1] = INFINITY;
    }
}

void mfs_maxmin_rates(struct mfs_net *net)
{
    for (uint32_t tier = 1; tier <= net->tiers; tier++)
        tier_rates(net, tier);
}
