/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows on links and nothing else: start times in, finish times out. For tests of the rates
 * and for benches against other simulators.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "core/types.h"
#include "sim/net.h"
#include "sim/sim.h"
#include "sim/timers.h"

struct alone {
    struct mfs_memory memory;
    struct mfs_net net;
    struct mfs_timer *starts; /* [flows], by time, then by number */
    struct mfs_timers ends;
    uint32_t *slots;
    double *left, *since_s, *rate;
    double now_s;
    uint32_t flows, started;
};

static int compare_starts(const void *left, const void *right)
{
    const struct mfs_timer *a = left, *b = right;

    if (a->time_s != b->time_s)
        return a->time_s < b->time_s ? -1 : 1;
    return a->item < b->item ? -1 : a->item > b->item;
}

static double next_start_s(const struct alone *alone)
{
    return alone->started < alone->flows ? alone->starts[alone->started].time_s : INFINITY;
}

static void advance(struct alone *alone, uint32_t flow)
{
    alone->left[flow] -= alone->rate[flow] * (alone->now_s - alone->since_s[flow]);
    alone->since_s[flow] = alone->now_s;
}

static void adopt_rates(struct alone *alone)
{
    for (uint32_t i = 0; i < alone->net.changed.count; i++) {
        const struct mfs_slot *slot = &alone->net.slots[alone->net.changed.list[i]];
        const uint32_t flow = slot->owner;

        if (flow == UINT32_MAX)
            continue;
        advance(alone, flow);
        alone->rate[flow] = slot->rate;
        if (slot->rate > 0.0)
            mfs_timers_set(&alone->ends, flow,
                           alone->now_s +
                               (alone->left[flow] > 0.0 ? alone->left[flow] / slot->rate : 0.0));
        else
            mfs_timers_drop(&alone->ends, flow);
    }
    mfs_net_settled(&alone->net);
}

static void run(struct alone *alone, const struct mfs_route *routes, const uint32_t *tier,
                const uint32_t *level, const int64_t *key, double *finish_s, double *rates_at_0)
{
    bool first = rates_at_0 != NULL;

    while (alone->started < alone->flows || alone->ends.count > 0) {
        const double starts_s = next_start_s(alone);
        const double ends_s = mfs_timers_first_s(&alone->ends);

        alone->now_s = fmax(alone->now_s, fmin(starts_s, ends_s));
        while (mfs_timers_first_s(&alone->ends) <= alone->now_s) {
            const uint32_t flow = alone->ends.heap[0].item;

            mfs_timers_drop(&alone->ends, flow);
            finish_s[flow] = alone->now_s;
            mfs_slot_free(&alone->net, alone->slots[flow]);
        }
        while (next_start_s(alone) <= alone->now_s) {
            const uint32_t flow = alone->starts[alone->started++].item;

            alone->slots[flow] = mfs_slot_new(&alone->net, &routes[flow], flow);
            alone->since_s[flow] = alone->now_s;
            if (tier[flow] > 0)
                mfs_slot_share(&alone->net, alone->slots[flow], tier[flow], 1.0);
            else
                mfs_slot_order(&alone->net, alone->slots[flow],
                               mfs_rank_make(level ? level[flow] : 0, key ? key[flow] : 0), flow,
                               INFINITY);
        }
        mfs_net_rates_anew(&alone->net);
        adopt_rates(alone);
        for (uint32_t i = 0; first && i < alone->flows; i++)
            rates_at_0[i] = alone->rate[i];
        first = false;
    }
}

int mfs_sim_flows(uint32_t links, const double *capacity, uint32_t flows, const uint32_t *first,
                  const uint32_t *route, const double *bytes, const double *start_s,
                  const uint32_t *tier, const uint32_t *level, const int64_t *key,
                  uint32_t enforcement, double *finish_s, double *rates_at_0, uint64_t *visited)
{
    struct alone *alone;
    struct mfs_route *routes;
    volatile uint32_t tiers = 0; /* volatile: they live over a jump */
    volatile int error = 0;

    if (enforcement >= MFS_SIM_CHUNKS) /* no policy is here, whose queues it would be */
        return -EINVAL;
    for (uint32_t i = 0; i < links; i++) {
        if (!(capacity[i] >= 0.0))
            return -EINVAL;
    }
    for (uint32_t i = 0; i < flows; i++) {
        const uint32_t hops = first[i + 1] - first[i];

        if (hops == 0 || hops > MFS_ROUTE_MAX || tier[i] >= MFS_TIERS_MAX || !(bytes[i] > 0.0) ||
            !isfinite(bytes[i]) || (level && level[i] > MFS_LEVELS_MAX) || !(start_s[i] >= 0.0) ||
            !isfinite(start_s[i]))
            return -EINVAL;
        for (uint32_t k = first[i]; k < first[i + 1]; k++) {
            if (route[k] >= links)
                return -EINVAL;
        }
        tiers = tier[i] > tiers ? tier[i] : tiers;
    }
    alone = calloc(1, sizeof(*alone));
    if (!alone)
        return -ENOMEM;
    if (setjmp(alone->memory.failed) == 0) {
        mfs_net_init(&alone->net, &alone->memory, capacity, links, tiers);
        alone->net.sender = enforcement != MFS_SIM_GLOBAL;
        alone->flows = flows;
        alone->ends.memory = &alone->memory;
        alone->starts = mfs_memory_new(&alone->memory, flows + 1, sizeof(*alone->starts));
        routes = mfs_memory_new(&alone->memory, flows + 1, sizeof(*routes));
        alone->slots = mfs_memory_new(&alone->memory, flows + 1, sizeof(*alone->slots));
        alone->left = mfs_memory_new(&alone->memory, flows + 1, sizeof(*alone->left));
        alone->since_s = mfs_memory_new(&alone->memory, flows + 1, sizeof(*alone->since_s));
        alone->rate = mfs_memory_new(&alone->memory, flows + 1, sizeof(*alone->rate));
        for (uint32_t i = 0; i < flows; i++) {
            for (uint32_t k = first[i]; k < first[i + 1]; k++)
                routes[i].link[routes[i].count++] = route[k];
            alone->left[i] = bytes[i];
            finish_s[i] = INFINITY;
            alone->starts[i] = (struct mfs_timer){start_s[i], i};
        }
        qsort(alone->starts, flows, sizeof(*alone->starts), compare_starts);
        run(alone, routes, tier, level, key, finish_s, rates_at_0);
        if (visited)
            *visited = alone->net.visited;
    } else {
        error = -ENOMEM;
    }
    mfs_memory_free_all(&alone->memory);
    free(alone);
    return error;
}
