/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that move as bytes leave (srpt, varys, lstf, level_order srpt): who passes whom, and when.
 *
 * A line stands with the key of when it was placed. What waits still has it; what is served (it, or
 * another line that its key counts) has a smaller one by now. Where keys are bytes left (srpt) the
 * moment at which a line passes the one in front of it is known.
 */
#include <math.h>

#include "sim/state.h"

#define PASSED_LOOK_S 1e-9

/*
 * A line that comes must not get in front of what has a smaller key by now: those that it would
 * pass are placed anew, and then they may pass others in their turn.
 */
void mfs_order_refresh(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_slot *own;
    struct mfs_entry place;

    if (line->count == 0 || line->slot == MFS_NONE)
        return;
    own = &sim->net.slots[line->slot];
    place = (struct mfs_entry){own->rank, own->tie};
    for (uint32_t i = 0; i < own->route.count && own->state == MFS_SLOT_ORDERED; i++) {
        const struct mfs_entries *ordered = &sim->net.links[own->route.link[i]].ordered;

        for (uint32_t k = mfs_entries_find(ordered, &place) + 1; k < ordered->count; k++) {
            const struct mfs_entry *other = &ordered->list[k];
            const struct mfs_slot *slot = &sim->net.slots[mfs_entry_slot(other)];

            if (slot->owner == MFS_NONE || !mfs_order_served(sim, &sim->lines[slot->owner]))
                continue;
            if (mfs_entry_before(&(struct mfs_entry){mfs_order_rank(sim, slot->owner), other->tie},
                                 &place))
                mfs_bundle_dirty(sim, sim->lines[slot->owner].bundle);
        }
    }
}

/* Those right behind it: it is in front of them, or another will be. */
void mfs_order_meets(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_slot *slot;

    if (line->slot == MFS_NONE)
        return;
    slot = &sim->net.slots[line->slot];
    for (uint32_t i = 0; i < slot->route.count && slot->state == MFS_SLOT_ORDERED; i++) {
        const struct mfs_entries *ordered = &sim->net.links[slot->route.link[i]].ordered;
        const uint32_t at =
            mfs_entries_find(ordered, &(struct mfs_entry){slot->rank, slot->tie}) + 1;

        if (at < ordered->count)
            mfs_members_add(&sim->memory, &sim->met_lines,
                            sim->net.slots[mfs_entry_slot(&ordered->list[at])].owner);
    }
}

/* Bytes that a line's key counts, as of now, and at which rate they leave. */
static double key_bytes(struct mfs_sim *sim, uint32_t index, double *rate)
{
    const struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    double left = 0.0;

    *rate = 0.0;
    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        struct mfs_sim_line *other = &sim->lines[i];

        if (other->count == 0 || (i != index && (sim->options->level_order == 2 ||
                                                 other->route.link[0] != line->route.link[0])))
            continue;
        mfs_sim_line_advance(sim, other);
        left += mfs_sim_line_left(other, line->group);
        if (other->group == line->group)
            *rate += other->rate;
    }
    return left;
}

/* Least time to a look. Lines that pass each other again and again, each slower when it is in
 * front, do so at most every MFS_SERVED_LOOK_S. */
static double pass_gap_s(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const bool again = sim->now_s - line->passed_s < MFS_SERVED_LOOK_S;

    line->pass_gap_s = again ? fmin(2.0 * line->pass_gap_s, MFS_SERVED_LOOK_S) : PASSED_LOOK_S;
    line->passed_s = sim->now_s;
    return line->pass_gap_s;
}

static void watch(struct mfs_sim *sim, uint32_t index, double left, double rate)
{
    const struct mfs_slot *slot = &sim->net.slots[sim->lines[index].slot];
    const struct mfs_entry own = {slot->rank, slot->tie};
    const uint32_t links = sim->net.sender ? 1 : slot->route.count; /* that keep the order */
    double first_s = INFINITY;

    if (slot->state != MFS_SLOT_ORDERED)
        return;
    for (uint32_t i = 0; i < links; i++) {
        const struct mfs_link *link = &sim->net.links[slot->route.link[i]];
        const uint32_t at = mfs_entries_find(&link->ordered, &own);
        const struct mfs_slot *front;
        double front_left, front_rate;

        if (at == 0)
            continue;
        front = &sim->net.slots[mfs_entry_slot(&link->ordered.list[at - 1])];
        if (mfs_rank_level(front->rank) != mfs_rank_level(slot->rank) || front->owner == MFS_NONE)
            continue;
        front_left = key_bytes(sim, front->owner, &front_rate);
        if (rate > front_rate)
            first_s = fmin(first_s, fmax(left - front_left, 0.0) / (rate - front_rate));
    }
    if (isfinite(first_s))
        mfs_order_look_by(sim, index, sim->now_s + fmax(first_s, pass_gap_s(sim, index)));
}

/* Look again when its key, and that of its like, passes that of the one in front. */
void mfs_order_watch(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_bundle *bundle = &sim->bundles[sim->lines[index].bundle];
    double rate, left;

    if (sim->lines[index].count == 0 || sim->lines[index].slot == MFS_NONE ||
        sim->lines[index].watched == sim->settlings)
        return;
    sim->lines[index].watched = sim->settlings;
    left = key_bytes(sim, index, &rate);
    if (rate <= 0.0)
        return;
    if (sim->options->level_order == 2) {
        watch(sim, index, left, rate);
        return;
    }
    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        struct mfs_sim_line *other = &sim->lines[i];

        if (other->count == 0 || other->group != sim->lines[index].group ||
            other->route.link[0] != sim->lines[index].route.link[0])
            continue;
        other->watched = sim->settlings;
        watch(sim, i, left, rate);
    }
}
