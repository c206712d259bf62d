/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine chooses when a request arrives: unit, decode host, KV store, and whether
 * to fetch the prefix at all. First the plain rules of the model, then what could be done
 * with the scheduler's knowledge (options).
 */
#include <math.h>

#include "sim/state.h"

static uint32_t host_count(const struct mfs_sim *sim)
{
    return mfs_cluster_hosts(sim->cluster);
}

/* --- unit: fewest outstanding new tokens; or the one that has the prefix --- */

static uint32_t least_outstanding(const struct mfs_sim *sim, double *mean)
{
    uint32_t best = 0;

    *mean = 0.0;
    for (uint32_t i = 0; i < sim->cluster->units; i++) {
        *mean += sim->units[i].outstanding / sim->cluster->units;
        if (sim->units[i].outstanding < sim->units[best].outstanding)
            best = i;
    }
    return best;
}

/* With prefix-aware routing store_draw names the host, of all hosts, that computed the prefix. */
static uint32_t prefix_unit(const struct mfs_sim *sim, uint32_t index)
{
    const uint32_t host = (uint32_t)(sim->input->store_draw[index] * host_count(sim));

    if (!sim->options->route_prefix || sim->requests[index].prefix <= 0.0 ||
        host >= sim->cluster->units * sim->cluster->unit_hosts)
        return MFS_NONE;
    return host / sim->cluster->unit_hosts;
}

uint32_t mfs_choose_unit(struct mfs_sim *sim, uint32_t index)
{
    double mean;
    const uint32_t least = least_outstanding(sim, &mean), home = prefix_unit(sim, index);

    if (home != MFS_NONE && sim->units[home].outstanding <= sim->options->routing_slack * mean +
                                                                (double)sim->cluster->token_budget)
        return home;
    return least;
}

bool mfs_choose_at_home(const struct mfs_sim *sim, uint32_t index)
{
    return prefix_unit(sim, index) == sim->requests[index].unit;
}

/* --- decode host: fewest outstanding stage 3 bytes; or of those due no later --- */

static double decode_bytes_before(struct mfs_sim *sim, uint32_t decode, double deadline_s)
{
    const struct mfs_members *there = &sim->decode_requests[decode];
    double bytes = 0.0;

    for (uint32_t i = 0; i < there->count; i++) {
        if (sim->requests[there->list[i]].deadline_s <= deadline_s)
            bytes += mfs_request_p2d_left(sim, there->list[i]);
    }
    return bytes;
}

uint32_t mfs_choose_decode(struct mfs_sim *sim, uint32_t index)
{
    uint32_t best = 0;
    double least = INFINITY;

    for (uint32_t i = 0; i < sim->cluster->decode_hosts; i++) {
        const double bytes = sim->options->decode_slack
                                 ? decode_bytes_before(sim, i, sim->requests[index].deadline_s)
                                 : sim->decode_bytes[i];

        /* of equally free ones the one with least in all */
        if (bytes < least || (sim->options->decode_slack && bytes == least &&
                              sim->decode_bytes[i] < sim->decode_bytes[best])) {
            least = bytes;
            best = i;
        }
    }
    return best;
}

/* --- KV store: drawn among the hosts that are not the unit's own; or the least loaded replica ---
 */

/* Bytes that wait for the egress port that would send to this request. */
static double egress_bytes(const struct mfs_sim *sim, uint32_t host, uint32_t index)
{
    const struct mfs_link *link =
        &sim->net.links[host * sim->cluster->nics + index % sim->cluster->nics];
    double bytes = 0.0;

    for (uint32_t i = 0; i < link->ordered.count; i++) {
        const struct mfs_slot *slot = &sim->net.slots[mfs_entry_slot(&link->ordered.list[i])];

        if (slot->owner != MFS_NONE)
            bytes += mfs_line_left_all(&sim->lines[slot->owner]);
    }
    for (uint32_t tier = 0; tier < sim->net.tiers; tier++) {
        for (uint32_t i = 0; i < link->shared[tier].count; i++)
            bytes +=
                mfs_line_left_all(&sim->lines[sim->net.slots[link->shared[tier].list[i]].owner]);
    }
    return bytes;
}

static uint32_t candidate(const struct mfs_sim *sim, uint32_t unit, double draw)
{
    const uint32_t own = sim->cluster->unit_hosts, count = host_count(sim) - own;
    uint32_t host = (uint32_t)(draw * count);

    if (host >= count)
        host = count - 1;
    return host < unit * own ? host : host + own;
}

uint32_t mfs_choose_store(struct mfs_sim *sim, uint32_t index)
{
    const uint32_t unit = sim->requests[index].unit;
    const double draw = sim->input->store_draw[index];
    uint32_t best = candidate(sim, unit, draw);
    double least;

    if (!sim->options->store_slack)
        return best;
    least = egress_bytes(sim, best, index);
    for (uint32_t i = 1; i < sim->options->replicas; i++) {
        const double other = draw + (double)i / sim->options->replicas;
        const uint32_t host = candidate(sim, unit, other < 1.0 ? other : other - 1.0);
        const double bytes = egress_bytes(sim, host, index);

        if (bytes < least) {
            least = bytes;
            best = host;
        }
    }
    return best;
}

/* --- fetch or compute anew: whichever is ready first, by what waits now --- */

bool mfs_choose_recompute(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    const struct mfs_unit *unit = &sim->units[request->unit];
    const double groups = sim->model->groups, new = request->tokens - request->prefix;
    const double reuse_s =
        groups * mfs_sim_compute_s(sim->model, new, new * (new + 2.0 * request->prefix));
    const double anew_s =
        groups * mfs_sim_compute_s(sim->model, request->tokens, request->tokens * request->tokens);
    double wait_s = 0.0, fetch_s, tokens, work;

    if (!sim->options->recompute)
        return false;
    if (unit->running > 0)
        wait_s = (groups - unit->group) * (unit->compute_s + unit->collective_s);
    for (uint32_t at = unit->running; at < unit->count;) {
        at += mfs_unit_batch(sim, unit, at, &tokens, &work);
        wait_s += groups * (mfs_sim_compute_s(sim->model, tokens, work) +
                            mfs_sim_collective_bytes(sim->model, tokens, sim->cluster->unit_hosts) /
                                (sim->cluster->nics * sim->cluster->link_Bps));
    }
    fetch_s = (egress_bytes(sim, request->store, index) +
               mfs_sim_kv_bytes(sim->model, request->prefix) * groups) /
              sim->cluster->link_Bps;
    /* pipelined: all but the last group's fetch may hide behind the wait and the computing */
    return fmax(wait_s + reuse_s, fetch_s + reuse_s / groups) > wait_s + anew_s;
}
