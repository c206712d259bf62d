/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STALLS: shares of a port that has the prefixes of several requests, as ObjectCache
 * (arXiv 2605.22850) has them: whoever has what hides its fetch behind its computing gets no more.
 * Request i fetches b_i bytes a group, and computes c_i seconds a group: at a rate r_i it waits
 * max(0, b_i / r_i - c_i) for each group. The sum of that is least with
 *
 *     r_i = min(b_i / c_i, x sqrt(b_i)),   x so that the rates fill the port
 *
 * If all of them are at b_i / c_i and the port is not full, what is left goes in order of arrival.
 * Collectives and stage 3 go in order of arrival, without a limit.
 *
 * HELD: with hold_shares a share is what it was when the last request came: it does not grow when
 * another one has ended, and what is left over is nobody's. `equal` is then of these shares, too:
 * the port over the number of requests.
 */
#include <math.h>

#include "sim/state.h"

#define COMPUTING_LEAST_S 1e-9

struct claim {
    double wanted; /* b / c */
    double weight; /* sqrt(b) */
};

void mfs_stall_init(struct mfs_sim *sim)
{
    const bool equal = sim->rule == MFS_RULE_EQUAL, held = sim->options->hold_shares;

    sim->chained = equal && !held;
    sim->portions = sim->rule == MFS_RULE_STALL || (equal && held);
}

static struct claim claim_of(struct mfs_sim *sim, const struct mfs_sim_line *line)
{
    double compute_s, collective_s;

    if (sim->rule == MFS_RULE_EQUAL)
        return (struct claim){INFINITY, 1.0};
    mfs_sim_request_group_s(sim, sim->bundles[line->bundle].request, &compute_s, &collective_s);
    return (struct claim){line->size / fmax(compute_s + collective_s, COMPUTING_LEAST_S),
                          sqrt(line->size)};
}

static bool is_fetch(const struct mfs_sim *sim, const struct mfs_sim_line *line)
{
    return sim->bundles[line->bundle].stage == MFS_STAGE_KV_REUSE && line->count > 0;
}

/* The line that has its own place at that position of its port, not what is left over; MFS_NONE. */
static uint32_t fetch_at(const struct mfs_sim *sim, const struct mfs_link *port, uint32_t at)
{
    const uint32_t slot = mfs_entry_slot(&port->ordered.list[at]);
    const uint32_t line = sim->net.slots[slot].owner;

    return line != MFS_NONE && sim->lines[line].slot == slot && is_fetch(sim, &sim->lines[line])
               ? line
               : MFS_NONE;
}

/* x: it only grows from round to round, as more of them are found to want less. */
static double level_of(struct mfs_sim *sim, const struct mfs_link *port, const struct claim *own)
{
    double level = 0.0;

    for (;;) {
        double room = port->capacity, weights = 0.0;

        if (own->wanted <= level * own->weight)
            room -= own->wanted;
        else
            weights += own->weight;
        for (uint32_t i = 0; i < port->ordered.count; i++) {
            const uint32_t line = fetch_at(sim, port, i);
            struct claim claim;

            if (line == MFS_NONE)
                continue;
            claim = claim_of(sim, &sim->lines[line]);
            if (claim.wanted <= level * claim.weight)
                room -= claim.wanted;
            else
                weights += claim.weight;
        }
        if (weights <= 0.0)
            return INFINITY;
        if (room / weights <= level * (1.0 + 1e-12))
            return level;
        level = room / weights;
    }
}

void mfs_stall_cap(struct mfs_sim *sim, uint32_t index, double *cap)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_link *port = &sim->net.links[line->route.link[0]];
    const struct claim nobody = {0.0, 0.0};
    struct claim own;
    bool here;

    if (!is_fetch(sim, line))
        return;
    here = sim->net.slots[line->slot].state == MFS_SLOT_ORDERED;
    if (!here)
        mfs_stall_moved(sim, index);
    if (line->portion == 0.0 || !sim->options->hold_shares) {
        own = claim_of(sim, line);
        line->portion = fmin(own.wanted, level_of(sim, port, here ? &nobody : &own) * own.weight);
    }
    *cap = line->portion;
}

void mfs_stall_moved(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_link *port;

    if (sim->lines[index].slot == MFS_NONE)
        return;
    port = &sim->net.links[sim->lines[index].route.link[0]];
    for (uint32_t i = 0; i < port->ordered.count; i++) {
        const uint32_t line = fetch_at(sim, port, i);

        if (line == MFS_NONE || line == index)
            continue;
        sim->lines[line].portion = 0.0;
        mfs_sim_line_dirty(sim, line);
    }
}
