/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine chooses when a request arrives: unit, decode host, KV store, and whether
 * to fetch the prefix at all. First the plain rules of the model, then what could be done
 * with the scheduler's knowledge (options).
 */
#include <math.h>

#include "sim/state.h"

#define NO_ROOM 1e30 /* bytes: behind all that have room */

static uint32_t host_count(const struct mfs_sim *sim)
{
    return mfs_cluster_hosts(sim->cluster);
}

/* Computing and collectives of a request on its own, with or without its prefix. */
static double serve_s(const struct mfs_sim *sim, double new, double reused)
{
    return sim->model->groups * (mfs_sim_compute_s(sim->model, new, new * (new + 2.0 * reused)) +
                                 mfs_sim_collective_s(sim->cluster, sim->model, new));
}

static double fetch_s(const struct mfs_sim *sim, const struct mfs_sim_request *request)
{
    return mfs_sim_kv_bytes(sim->model, request->prefix) * sim->model->groups /
           sim->cluster->link_Bps;
}

/* --- unit: fewest outstanding new tokens; or the one that has the prefix --- */

static uint32_t least_outstanding(const struct mfs_sim *sim)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < sim->cluster->units; i++) {
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

/* Home, if the longer wait there is worth the fetch that is saved. */
uint32_t mfs_choose_unit(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    const uint32_t best = least_outstanding(sim), home = prefix_unit(sim, index);
    const double new = request->tokens - request->prefix;
    double token_s;

    if (home == MFS_NONE)
        return best;
    token_s = serve_s(sim, new, request->prefix) / new;
    return (sim->units[home].outstanding - sim->units[best].outstanding) * token_s <=
                   sim->options->routing_slack * fetch_s(sim, request)
               ? home
               : best;
}

bool mfs_choose_at_home(const struct mfs_sim *sim, uint32_t index)
{
    return prefix_unit(sim, index) == sim->requests[index].unit;
}

/* --- decode host: fewest outstanding stage 3 bytes, or another rule; of equals the fewest bytes
 * --- */

static double left_before(struct mfs_sim *sim, const struct mfs_members *there, double deadline_s)
{
    double bytes = 0.0;

    for (uint32_t i = 0; i < there->count; i++) {
        if (sim->requests[there->list[i]].deadline_s <= deadline_s)
            bytes += mfs_sim_request_p2d_left(sim, there->list[i]);
    }
    return bytes;
}

/*
 * Least time to spare if the request went there, served by deadline: its own, and that of
 * those due later, which it would delay. Who is late without it does not count.
 */
static double slack_with(struct mfs_sim *sim, uint32_t decode, uint32_t index)
{
    const struct mfs_members *there = &sim->decode_requests[decode];
    const double rate = sim->cluster->link_Bps, deadline_s = sim->requests[index].deadline_s;
    const double own_s = mfs_sim_request_p2d_left(sim, index) / rate;
    double slack_s = deadline_s - own_s - left_before(sim, there, deadline_s) / rate;

    for (uint32_t i = 0; i < there->count; i++) {
        const double other_s = sim->requests[there->list[i]].deadline_s;
        double spare_s;

        if (other_s <= deadline_s)
            continue;
        spare_s = other_s - left_before(sim, there, other_s) / rate;
        if (spare_s >= sim->now_s)
            slack_s = fmin(slack_s, spare_s - own_s);
    }
    return slack_s;
}

uint32_t mfs_sim_decode_host(const struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    const uint32_t hosts = sim->cluster->unit_hosts;

    return sim->cluster->decode_hosts > 0 ? sim->cluster->units * hosts + request->decode
                                          : request->unit * hosts;
}

/* From its unit's first host. */
enum mfs_tier mfs_sim_decode_tier(const struct mfs_sim *sim, uint32_t index)
{
    return mfs_cluster_tier(sim->cluster, sim->requests[index].unit * sim->cluster->unit_hosts,
                            mfs_sim_decode_host(sim, index));
}

/*
 * NetKV (arXiv 2606.03910): bytes / (B_t / (1 + n_t)), where B_t is what a host has of tier t and
 * n_t are the requests whose KV goes that far and has not arrived yet. Their factor for the traffic
 * of others is 1: there are none.
 */
static double netkv_s(const struct mfs_sim *sim, uint32_t index, enum mfs_tier tier)
{
    return mfs_sim_kv_bytes(sim->model, sim->requests[index].tokens) * sim->model->groups *
           (1.0 + sim->tier_requests[tier]) / mfs_cluster_tier_Bps(sim->cluster, tier);
}

/* More is better; by core/slack.h: `bytes` more that are due at due_s, where `waiting` do wait. */
static double worth(const struct mfs_sim *sim, uint32_t choice, const struct mfs_slack *slack,
                    double bytes, double due_s, double waiting)
{
    const int64_t due_ns = isfinite(due_s) ? mfs_sim_ns(due_s) - sim->now_ns : MFS_TIME_NEVER;
    const double room = (double)mfs_slack_bytes(slack, due_ns);

    if (choice == MFS_SIM_ROOM)
        return room;
    return room >= bytes ? -waiting : -waiting - NO_ROOM;
}

static double decode_worth(struct mfs_sim *sim, uint32_t decode, uint32_t index)
{
    const uint32_t hosts = sim->cluster->unit_hosts;
    struct mfs_slack slack;
    enum mfs_tier tier;

    switch (sim->options->decode_choice) {
    case MFS_SIM_USUAL:
        return -sim->decode_bytes[decode];
    case MFS_SIM_SLACK:
        return slack_with(sim, decode, index);
    case MFS_SIM_ROUND_ROBIN:
        return decode == index % sim->cluster->decode_hosts ? 0.0 : -1.0;
    case MFS_SIM_NEAREST:
    case MFS_SIM_NETKV:
        tier = mfs_cluster_tier(sim->cluster, sim->requests[index].unit * hosts,
                                sim->cluster->units * hosts + decode);
        return sim->options->decode_choice == MFS_SIM_NEAREST ? -(double)tier
                                                              : -netkv_s(sim, index, tier);
    default:
        mfs_slack_of_decode(sim, decode, index % sim->cluster->nics, &slack);
        return worth(sim, sim->options->decode_choice, &slack, mfs_sim_request_p2d_left(sim, index),
                     sim->requests[index].deadline_s, sim->decode_bytes[decode]);
    }
}

uint32_t mfs_choose_decode(struct mfs_sim *sim, uint32_t index)
{
    uint32_t best = 0;
    double most = -INFINITY;

    for (uint32_t i = 0; i < sim->cluster->decode_hosts; i++) {
        const double slack = decode_worth(sim, i, index);

        if (slack > most || (slack == most && sim->decode_bytes[i] < sim->decode_bytes[best])) {
            most = slack;
            best = i;
        }
    }
    return best;
}

/* --- KV store: drawn among the hosts that are not the unit's own, or among those that only store;
   or the least loaded replica --- */

/* Bytes that wait for the egress port that would send to this request. */
static double egress_bytes(struct mfs_sim *sim, uint32_t host, uint32_t index)
{
    return mfs_sim_egress_bytes(sim, host * sim->cluster->nics + index % sim->cluster->nics);
}

static uint32_t candidate(const struct mfs_sim *sim, uint32_t unit, double draw)
{
    const uint32_t own = sim->cluster->unit_hosts, count = host_count(sim) - own;
    uint32_t host = (uint32_t)(draw * count);

    if (host >= count)
        host = count - 1;
    return host < unit * own ? host : host + own;
}

/* When the last group of the prefix has to be there. */
static double fetch_due_s(const struct mfs_sim *sim, const struct mfs_sim_request *request)
{
    const double serve = serve_s(sim, request->tokens - request->prefix, request->prefix);

    return request->deadline_s - serve / sim->model->groups -
           mfs_sim_kv_bytes(sim->model, request->tokens) / sim->cluster->link_Bps;
}

static double store_worth(struct mfs_sim *sim, uint32_t host, uint32_t index)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    struct mfs_slack slack;

    if (sim->options->store_choice == MFS_SIM_SLACK)
        return -egress_bytes(sim, host, index);
    mfs_slack_of_egress(sim, host * sim->cluster->nics + index % sim->cluster->nics, &slack);
    return worth(sim, sim->options->store_choice, &slack,
                 fetch_s(sim, request) * sim->cluster->link_Bps, fetch_due_s(sim, request),
                 egress_bytes(sim, host, index));
}

uint32_t mfs_choose_store(struct mfs_sim *sim, uint32_t index)
{
    const uint32_t unit = sim->requests[index].unit;
    const double draw = sim->input->store_draw[index];
    uint32_t best = candidate(sim, unit, draw);
    double most;

    if (sim->options->store_choice == MFS_SIM_STORES)
        return host_count(sim) - sim->cluster->store_hosts +
               (uint32_t)(draw * sim->cluster->store_hosts);
    if (sim->options->store_choice == MFS_SIM_USUAL)
        return best;
    most = store_worth(sim, best, index);
    for (uint32_t i = 1; i < sim->options->replicas; i++) {
        const double other = draw + (double)i / sim->options->replicas;
        const uint32_t host = candidate(sim, unit, other < 1.0 ? other : other - 1.0);
        const double found = store_worth(sim, host, index);

        if (found > most) {
            most = found;
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
    const double groups = sim->model->groups;
    double wait_s = 0.0, reuse_s, anew_s, ready_s;

    if (!sim->options->recompute)
        return false;
    reuse_s = serve_s(sim, request->tokens - request->prefix, request->prefix);
    anew_s = serve_s(sim, request->tokens, 0.0);
    if (unit->running > 0)
        wait_s = (groups - unit->group) * (unit->compute_s + unit->collective_s);
    for (uint32_t at = unit->running; at < unit->count;) {
        struct mfs_batch batch;

        mfs_unit_batch(sim, unit, at, &batch);
        at += batch.count;
        wait_s += groups * (batch.compute_s + batch.collective_s);
    }
    ready_s =
        egress_bytes(sim, request->store, index) / sim->cluster->link_Bps + fetch_s(sim, request);
    /* pipelined: all but the last group's fetch may hide behind the wait and the computing */
    return fmax(wait_s + reuse_s, ready_s + reuse_s / groups) > wait_s + anew_s;
}
