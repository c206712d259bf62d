/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of policies, the defaults, and the baselines that fit in a line or
 * two. `mfs` and `mfs_paper` have files of their own.
 */
#include "core/policy.h"

#include <string.h>

#include "core/span.h"

void mfs_params_init(struct mfs_params *params)
{
    memset(params, 0, sizeof(*params));
    params->levels = 8;
    params->rate_margin = 1.0;
    params->patience = MFS_PATIENCE_DEFAULT;
    params->mlu_base = 4.0;
    params->mlu_top = 0.5;
}

static int64_t key_bytes(uint64_t bytes)
{
    return bytes < (uint64_t)MFS_KEY_MAX ? (int64_t)bytes : MFS_KEY_MAX;
}

/* Order of arrival of the flow. Under `off` all traffic is one flow. */
static void place_fifo(const struct mfs_params *params, const struct mfs_flow_info *flow,
                       const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)params, (void)facts, (void)now_ns;
    place->level = 0;
    mfs_place_arrival(flow, place);
}

static void place_share(const struct mfs_flow_info *flow, struct mfs_place *place)
{
    place->key = key_bytes(flow->share_bytes);
    place->moves = MFS_MOVES_SHARE;
}

/* Max-min fair in the fluid limit: the flow that has had least goes next. */
static void place_fair(const struct mfs_params *params, const struct mfs_flow_info *flow,
                       const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)params, (void)facts, (void)now_ns;
    place->level = 0;
    place_share(flow, place);
}

static void place_sjf(const struct mfs_params *params, const struct mfs_flow_info *flow,
                      const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)params, (void)facts, (void)now_ns;
    place->level = 0;
    place->key = key_bytes(flow->bytes_left + flow->bytes_sent);
}

static void place_srpt(const struct mfs_params *params, const struct mfs_flow_info *flow,
                       const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)params, (void)facts, (void)now_ns;
    place->level = 0;
    place->key = key_bytes(flow->bytes_left);
    place->moves = MFS_MOVES_SENT;
}

/* The request's deadline for every stage; traffic without one comes last. */
static void place_edf(const struct mfs_params *params, const struct mfs_flow_info *flow,
                      const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)now_ns;
    if (facts->deadline_ns == MFS_TIME_NEVER) {
        place->level = params->levels - 1;
        mfs_place_arrival(flow, place);
        return;
    }
    place->level = 0;
    place->key = facts->deadline_ns;
}

/* EDF as the paper defines it: explicit deadlines (stage 3) first, the rest share. */
static void place_edf_paper(const struct mfs_params *params, const struct mfs_flow_info *flow,
                            const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)params, (void)now_ns;
    if (mfs_flow_is_p2d(flow) && facts->deadline_ns != MFS_TIME_NEVER) {
        place->level = 0;
        place->key = facts->deadline_ns;
        return;
    }
    place->level = 1;
    place_share(flow, place);
}

/*
 * Karuna: a flow with a deadline gets the least rate that meets it, left / (D - now), in
 * front of all others; the rest is served smallest flow first. As an order of chunks: the
 * straight line from its first operation to its deadline says how much of it should have
 * left by now; on or behind the line it goes first (by deadline), ahead of the line it waits
 * as a scavenger, so that nothing idles, until the line has caught up. One that is late
 * stays in front.
 */
static void place_karuna(const struct mfs_params *params, const struct mfs_flow_info *flow,
                         const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    const double size = (double)flow->bytes_left + (double)flow->bytes_sent;
    const int64_t span_ns = mfs_time_minus(facts->deadline_ns, flow->active_ns);
    int64_t caught_up_ns;

    if (!mfs_flow_is_p2d(flow) || facts->deadline_ns == MFS_TIME_NEVER) {
        place->level = 1;
        place->key = key_bytes(flow->bytes_left + flow->bytes_sent);
        return;
    }
    place->level = 0;
    place->key = facts->deadline_ns;
    place->moves = MFS_MOVES_SENT;
    if (span_ns <= 0 || size <= 0.0)
        return;
    caught_up_ns = mfs_time_plus(
        flow->active_ns, (int64_t)((double)(span_ns < MFS_SPAN_MAX ? span_ns : MFS_SPAN_MAX) *
                                   ((double)flow->bytes_sent / size)));
    if (caught_up_ns > now_ns) {
        place->level = params->levels;
        place->recheck_ns = caught_up_ns;
    }
}

/* Keys order all flows, and the facts are those of a unit's plan. */
#define ORDERED .defers = true, .shares_from = MFS_LEVELS_MAX

static const struct mfs_policy policies[] = {
    {"off", "the caller's own order; nothing is deferred", .ignores_tags = true,
     .shares_from = MFS_LEVELS_MAX, .place = place_fifo},
    {"fifo", "flows in order of arrival", ORDERED, .place = place_fifo},
    {"fair", "equal shares", .defers = true, .shares_from = 0, .place = place_fair},
    {"sjf", "smallest flow first", ORDERED, .sizes = true, .place = place_sjf},
    {"srpt", "fewest remaining bytes first", ORDERED, .sizes = true, .place = place_srpt},
    {"edf", "earliest request deadline first, every stage", ORDERED, .weighs = true,
     .place = place_edf},
    {"edf_paper", "stage 3 by deadline first, the rest share", .defers = true, .shares_from = 1,
     .place = place_edf_paper},
    {"karuna", "least rate for deadlines (stage 3), the rest smallest flow first", ORDERED,
     .sizes = true, .place = place_karuna},
    {"mfs_paper", "defer and promote as published (MLU, RLI, RED)", ORDERED, .plan = MFS_PLAN_PAPER,
     .place = mfs_place_paper},
    {"mfs", "defer and promote by latest finish time, with inherited urgency", ORDERED,
     .weighs = true, .place = mfs_place_mfs},
};

const struct mfs_policy *mfs_policy_at(size_t index)
{
    return index < sizeof(policies) / sizeof(policies[0]) ? &policies[index] : NULL;
}

const struct mfs_policy *mfs_policy_find(const char *name)
{
    const struct mfs_policy *policy;

    for (size_t i = 0; name && (policy = mfs_policy_at(i)) != NULL; i++) {
        if (strcmp(policy->name, name) == 0)
            return policy;
    }
    return NULL;
}

bool mfs_policy_keys_are_times(const struct mfs_policy *policy)
{
    return policy->shares_from == MFS_LEVELS_MAX && !policy->sizes;
}
