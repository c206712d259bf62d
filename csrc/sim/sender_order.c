/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SENDER: hosts order what they send, and the rest of the path does not know that order.
 *
 *   egress e    its slots in order, each is offered what those before it leave of e
 *   others l    a level x_l, the same for all slots on l: the x at which l is full,
 *               sum of min(offer, x of its other links, x) = room; none if it is not full
 *   rate        min(offer, least x_l on its way)
 *
 * Rates and offers depend on each other: a slot that a receiver holds back leaves its egress
 * to the next one, which may press another receiver. We take the solution that is reached
 * from senders at full speed: all x begin at infinity, and links are worked out anew, in
 * turn, until none changes. Without links in the middle this comes down from above only: a
 * level that falls can only raise offers elsewhere, and lower levels there; so it ends in
 * the greatest solution, whatever the turn. With links in the middle turns may go on for ever;
 * they end at TURNS_A_LINK, rates that are too high are cut, and what is left of each egress goes
 * to whoever can use it, in its order (docs/decisions/0018).
 *
 * CLASSES: the fabric serves strict classes; they are solved one after the other, each in
 * the room that those before it leave, on egress ports as well. One class is plain sender
 * order; a class for each rank would be the global order.
 *
 * Everything that is joined by links is worked out anew at each change.
 */
#include <math.h>

#include "sim/net.h"

#define TURNS_A_LINK 16
#define TURNS_MORE 128 /* few links may need many turns each */
#define SENDER_EPSILON 1e-7 /* of a link's capacity: turns end when nothing moves by more */

struct solving {
    struct mfs_net *net;
    uint32_t class;
    uint32_t head; /* of the work list: net->todo */
};

/* --- everything joined to the dirty links --- */

static void join_slot(struct mfs_net *net, uint32_t index)
{
    struct mfs_slot *slot = &net->slots[index];

    if (slot->mark == net->mark)
        return;
    slot->mark = net->mark;
    slot->fill = slot->offer = 0.0;
    mfs_members_add(net->memory, &net->found, index);
    for (uint32_t k = 0; k < slot->route.count; k++) {
        struct mfs_link *link = &net->links[slot->route.link[k]];

        if (link->mark == net->mark)
            continue;
        link->mark = net->mark;
        mfs_members_add(net->memory, &net->work, slot->route.link[k]);
    }
}

static void join(struct mfs_net *net)
{
    mfs_net_next_mark(net);
    net->work.count = net->found.count = 0;
    for (uint32_t i = 0; i < net->dirty.count; i++) {
        net->links[net->dirty.list[i]].mark = net->mark;
        mfs_members_add(net->memory, &net->work, net->dirty.list[i]);
    }
    for (uint32_t i = 0; i < net->work.count; i++) {
        const struct mfs_link *link = &net->links[net->work.list[i]];

        for (uint32_t k = 0; k < link->ordered.count; k++)
            join_slot(net, mfs_entry_slot(&link->ordered.list[k]));
        for (uint32_t tier = 0; tier < net->tiers; tier++) {
            for (uint32_t k = 0; k < link->shared[tier].count; k++)
                join_slot(net, link->shared[tier].list[k]);
        }
    }
    for (uint32_t i = 0; i < net->work.count; i++) {
        struct mfs_link *link = &net->links[net->work.list[i]];

        link->room = link->capacity;
        link->role = 0;
    }
}

/* --- turns --- */

static void wake(struct solving *solving, uint32_t index)
{
    struct mfs_net *net = solving->net;

    if (net->links[index].role)
        return;
    net->links[index].role = 1; /* in the work list */
    mfs_members_add(net->memory, &net->todo, index);
}

/* The least level on the way but that of `but`; a rate, so times the weight. */
static double level_of(const struct mfs_net *net, const struct mfs_slot *slot, uint32_t but)
{
    double level = INFINITY;

    for (uint32_t k = 1; k < slot->route.count; k++) {
        if (slot->route.link[k] != but)
            level = fmin(level, net->links[slot->route.link[k]].share);
    }
    return slot->tier > 0 ? level * slot->weight : level;
}

static bool moved(double a, double b, double capacity)
{
    if (isinf(a) || isinf(b))
        return a != b;
    return fabs(a - b) > SENDER_EPSILON * capacity;
}

static void offer(struct solving *solving, struct mfs_slot *slot, double offered, double capacity)
{
    const double fill = fmin(offered, level_of(solving->net, slot, UINT32_MAX));

    if (moved(offered, slot->offer, capacity) || moved(fill, slot->fill, capacity)) {
        for (uint32_t k = 1; k < slot->route.count; k++)
            wake(solving, slot->route.link[k]);
    }
    slot->offer = offered;
    slot->fill = fill;
}

static double shares_weight(const struct mfs_slot *slot)
{
    return slot->tier > 0 ? slot->weight : 1.0;
}

struct claim { /* min(limit, level * weight) of a link */
    double limit, weight;
};

/* The level at which the claims fill the room; INFINITY: they do not. */
static double fill_level(const struct claim *claims, uint32_t count, double room)
{
    double level = 0.0, left = room, weight = 0.0, before = -1.0, sum = 0.0;

    for (uint32_t i = 0; i < count; i++)
        sum += claims[i].limit;
    if (sum <= room)
        return INFINITY;
    while (level > before) { /* those below the level keep their limit; it only rises */
        before = level;
        left = room;
        weight = 0.0;
        for (uint32_t i = 0; i < count; i++) {
            if (claims[i].limit <= before * claims[i].weight)
                left -= claims[i].limit;
            else
                weight += claims[i].weight;
        }
        if (weight <= 0.0)
            break;
        level = fmax(before, fmax(left, 0.0) / weight);
    }
    return level;
}

static struct claim *claims_room(struct mfs_net *net, uint32_t count)
{
    MFS_ROOM(net->memory, net->queue.list, net->queue.capacity, count);
    _Static_assert(sizeof(struct claim) == sizeof(struct mfs_entry), "the same scratch");
    return (struct claim *)net->queue.list;
}

static void egress_turn(struct solving *solving, struct mfs_link *link)
{
    struct mfs_net *net = solving->net;
    double room = link->room;

    for (uint32_t i = 0; i < link->ordered.count; i++) {
        struct mfs_slot *slot = &net->slots[mfs_entry_slot(&link->ordered.list[i])];

        if (slot->class != solving->class)
            continue;
        offer(solving, slot, fmin(slot->cap, room), link->capacity);
        room -= slot->fill;
        if (room <= MFS_NET_EPSILON * link->capacity)
            room = 0.0;
    }
    for (uint32_t tier = 0; tier < net->tiers; tier++) {
        const struct mfs_members *members = &link->shared[tier];
        struct claim *claims = claims_room(net, members->count);
        uint32_t count = 0;
        double level;

        for (uint32_t i = 0; i < members->count; i++) {
            const struct mfs_slot *slot = &net->slots[members->list[i]];

            if (slot->class == solving->class)
                claims[count++] = (struct claim){
                    fmin(level_of(net, slot, UINT32_MAX), link->capacity), slot->weight};
        }
        level = fill_level(claims, count, room);
        for (uint32_t i = 0; i < members->count; i++) {
            struct mfs_slot *slot = &net->slots[members->list[i]];

            if (slot->class != solving->class)
                continue;
            offer(solving, slot, fmin(level * slot->weight, link->capacity), link->capacity);
            room = fmax(0.0, room - slot->fill);
        }
    }
}

static void add_claim(struct solving *solving, struct claim *claims, uint32_t *count,
                      uint32_t index, uint32_t at)
{
    const struct mfs_slot *slot = &solving->net->slots[index];

    if (slot->class != solving->class || slot->offer <= 0.0)
        return;
    claims[(*count)++] =
        (struct claim){fmin(slot->offer, level_of(solving->net, slot, at)), shares_weight(slot)};
}

static void wake_slot(struct solving *solving, uint32_t index, uint32_t but)
{
    const struct mfs_slot *slot = &solving->net->slots[index];

    if (slot->class != solving->class || slot->offer <= 0.0)
        return;
    for (uint32_t k = 0; k < slot->route.count; k++) {
        if (slot->route.link[k] != but)
            wake(solving, slot->route.link[k]);
    }
}

static void link_turn(struct solving *solving, uint32_t index)
{
    struct mfs_net *net = solving->net;
    struct mfs_link *link = &net->links[index];
    uint32_t slots = link->ordered.count, count = 0;
    struct claim *claims;
    double level;

    for (uint32_t tier = 0; tier < net->tiers; tier++)
        slots += link->shared[tier].count;
    claims = claims_room(net, slots);
    for (uint32_t i = 0; i < link->ordered.count; i++)
        add_claim(solving, claims, &count, mfs_entry_slot(&link->ordered.list[i]), index);
    for (uint32_t tier = 0; tier < net->tiers; tier++) {
        for (uint32_t i = 0; i < link->shared[tier].count; i++)
            add_claim(solving, claims, &count, link->shared[tier].list[i], index);
    }
    net->visited += count;
    level = fill_level(claims, count, link->room * (1.0 + MFS_NET_EPSILON));
    if (!moved(level, link->share, link->capacity))
        return;
    link->share = level;
    for (uint32_t i = 0; i < link->ordered.count; i++)
        wake_slot(solving, mfs_entry_slot(&link->ordered.list[i]), index);
    for (uint32_t tier = 0; tier < net->tiers; tier++) {
        for (uint32_t i = 0; i < link->shared[tier].count; i++)
            wake_slot(solving, link->shared[tier].list[i], index);
    }
}

/* --- one class --- */

/* Cut what the turns have left over, if they ended early, and take it off the room. */
static void take_room(struct solving *solving)
{
    struct mfs_net *net = solving->net;

    for (uint32_t i = 0; i < net->found.count; i++) {
        struct mfs_slot *slot = &net->slots[net->found.list[i]];
        double rate = slot->fill;

        if (slot->class != solving->class)
            continue;
        for (uint32_t k = 0; k < slot->route.count; k++) {
            const struct mfs_link *link = &net->links[slot->route.link[k]];

            rate = fmin(rate, link->room);
            if (rate <= MFS_NET_EPSILON * link->capacity)
                rate = 0.0;
        }
        slot->fill = rate;
        for (uint32_t k = 0; k < slot->route.count; k++)
            net->links[slot->route.link[k]].room -= rate;
    }
}

/* False: the turns ended early. */
static bool solve_class(struct mfs_net *net, uint32_t class)
{
    struct solving solving = {net, class, 0};
    uint64_t turns = TURNS_MORE + (uint64_t)TURNS_A_LINK * net->work.count;

    net->todo.count = 0;
    for (uint32_t i = 0; i < net->work.count; i++)
        net->links[net->work.list[i]].share = INFINITY;
    for (uint32_t i = 0; i < net->found.count; i++) {
        if (net->slots[net->found.list[i]].class == class)
            wake(&solving, net->slots[net->found.list[i]].route.link[0]);
    }
    while (solving.head < net->todo.count && turns-- > 0) {
        const uint32_t index = net->todo.list[solving.head++];
        struct mfs_link *link = &net->links[index];

        link->role = 0;
        if (link->egress)
            egress_turn(&solving, link);
        else
            link_turn(&solving, index);
        if (solving.head > 4096 && solving.head * 2 > net->todo.count) { /* keep the list short */
            for (uint32_t i = solving.head; i < net->todo.count; i++)
                net->todo.list[i - solving.head] = net->todo.list[i];
            net->todo.count -= solving.head;
            solving.head = 0;
        }
    }
    for (uint32_t i = solving.head; i < net->todo.count; i++)
        net->links[net->todo.list[i]].role = 0;
    take_room(&solving);
    return solving.head == net->todo.count;
}

/* What is left goes to whoever can use it, in the order of each egress. */
static void top_up(struct mfs_net *net)
{
    for (uint32_t i = 0; i < net->work.count; i++) {
        const struct mfs_link *egress = &net->links[net->work.list[i]];

        for (uint32_t at = 0; egress->egress && at < egress->ordered.count; at++) {
            struct mfs_slot *slot = &net->slots[mfs_entry_slot(&egress->ordered.list[at])];
            double more = slot->cap - slot->fill;

            for (uint32_t k = 0; k < slot->route.count; k++)
                more = fmin(more, net->links[slot->route.link[k]].room);
            if (more <= MFS_NET_EPSILON * egress->capacity)
                continue;
            slot->fill += more;
            for (uint32_t k = 0; k < slot->route.count; k++)
                net->links[slot->route.link[k]].room -= more;
        }
    }
}

void mfs_sender_order_rates(struct mfs_net *net)
{
    bool present[MFS_CLASSES_MAX] = {false}, solved = true;

    if (net->dirty.count == 0)
        return;
    join(net);
    for (uint32_t i = 0; i < net->found.count; i++)
        present[net->slots[net->found.list[i]].class] = true;
    for (uint32_t class = 0; class < net->classes; class++) {
        if (present[class])
            solved = solve_class(net, class) && solved;
    }
    if (!solved)
        top_up(net);
    for (uint32_t i = 0; i < net->found.count; i++) {
        const uint32_t index = net->found.list[i];
        struct mfs_slot *slot = &net->slots[index];

        if (fabs(slot->fill - slot->rate) <= MFS_NET_EPSILON * fmax(slot->fill, slot->rate))
            continue;
        if (slot->tier > 0) {
            for (uint32_t k = 0; k < slot->route.count; k++)
                net->links[slot->route.link[k]].used[slot->tier] += slot->fill - slot->rate;
        }
        mfs_net_rate(net, index, slot->fill);
    }
}
