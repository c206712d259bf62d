/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PRESSURE: a receiver tells all who have something for it the best level that waits for its
 * ingress port. Who has something worse holds it back: it goes behind what its own egress has
 * for others, and gets of the receiver what the better ones leave (class 1; the others are
 * class 0). A message goes out when the best level is another than the one told last, and
 * arrives pressure_delay_s later with the level as it is then; one is on its way at a time.
 */
#include "sim/state.h"

static uint32_t best_level(const struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_link *link = &sim->net.links[index];
    uint32_t best = MFS_LEVELS_MAX;

    if (link->ordered.count > 0)
        best = mfs_rank_level(link->ordered.list[0].rank);
    for (uint32_t tier = 0; tier < sim->net.tiers; tier++) {
        for (uint32_t i = 0; i < link->shared[tier].count; i++) {
            const uint32_t line = sim->net.slots[link->shared[tier].list[i]].owner;

            if (sim->lines[line].level < best)
                best = sim->lines[line].level;
        }
    }
    return best;
}

uint32_t mfs_pressure_class(const struct mfs_sim *sim, const struct mfs_sim_line *line)
{
    return line->level > sim->pressed[line->route.link[line->route.count - 1]] ? 1 : 0;
}

static void reclass(struct mfs_sim *sim, uint32_t slot)
{
    const uint32_t line = sim->net.slots[slot].owner;

    mfs_slot_class(&sim->net, slot, mfs_pressure_class(sim, &sim->lines[line]));
}

void mfs_pressure_told(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_link *link = &sim->net.links[index];

    sim->pressed[index] = best_level(sim, index);
    for (uint32_t i = 0; i < link->ordered.count; i++)
        reclass(sim, mfs_entry_slot(&link->ordered.list[i]));
    for (uint32_t tier = 0; tier < sim->net.tiers; tier++) {
        for (uint32_t i = 0; i < link->shared[tier].count; i++)
            reclass(sim, link->shared[tier].list[i]);
    }
}

/* Of the ports that have changed: is there something to tell? */
void mfs_pressure_check(struct mfs_sim *sim)
{
    const uint32_t ports = mfs_cluster_hosts(sim->cluster) * sim->cluster->nics;

    for (uint32_t i = 0; i < sim->net.dirty.count; i++) {
        const uint32_t link = sim->net.dirty.list[i];

        if (link < ports || link >= 2 * ports || best_level(sim, link) == sim->pressed[link])
            continue;
        if (link >= sim->messages.items || !sim->messages.where[link])
            mfs_timers_set(&sim->messages, link, sim->now_s + sim->options->pressure_delay_s);
    }
}
