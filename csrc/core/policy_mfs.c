/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our rule. KEY inside a level: the latest finish time (core/latest_finish.h, which has the
 * letters, too). R = stage 3 bytes left, C = the port's bandwidth, c = of w the collective's time
 * on an empty port.
 *
 * URGENCY u, which gives the level
 *   stage 2            0: hosts wait for it and do nothing else
 *   stage 1 for g      max(0, need - now - B/C), need = when g would start if
 *                      fetches took no time, B = bytes of this fetch and of those
 *                      for earlier groups (taken as equally long)
 *   stage 3            D - now - 2 R/C: as long again is kept in hand as it takes
 *   NOW if u <= 5 ms, SOON if u <= 20 ms, else LATER (a port's window is 2 ms of it)
 *
 * NOT BEFORE ITS TURN: stage 1 for g stays SOON until need - now <= w, while the group in front of
 * it computes. Before that no unit waits for it, but NOW it would be in front of collectives, for
 * each of which a unit does wait (docs/decisions/0010).
 *
 * SHORT COLLECTIVES: a collective with c <= w/4 counts as due AHEAD_NS earlier, so it goes before
 * all else that is NOW. The hosts of a unit wait for it and for nothing else, and since a unit has
 * one collective a group, its ports lose a quarter of their bandwidth to them at most
 * (docs/decisions/0011).
 *
 * GIVEN UP: stage 3 of a hopeless or shed request, or of one that cannot be delivered by D at
 * rate_margin times the rate (docs/decisions/0013), goes to the scavenger level, and comes back
 * when it can be met again. Stages 1 and 2 are never demoted: a unit serves its queue in order, so
 * they would hold up everybody behind them.
 *
 * AMONG THOSE GIVEN UP the least D + 100 R/C goes first: small ones before large ones, those that
 * have waited before those that came (docs/decisions/0041).
 *
 * PATIENCE: a request that was given up and is late by `patience` times its target (D less its
 * arrival) is LATER, in front there since its D is the earliest. Otherwise it would wait for as
 * long as the port has anything else to send (docs/decisions/0012).
 *
 * Traffic without a deadline sits in level K-1 in order of arrival, behind all that
 * has one; a collective without one is NOW, behind those that have.
 */
#include "core/latest_finish.h"
#include "core/policy.h"
#include "core/why.h"

#define UNDATED (INT64_C(1) << (MFS_KEY_BITS - 1)) /* keys behind all deadlines */
#define AHEAD_NS (INT64_C(3600) * 1000000000)      /* no deadline is so far away */
#define NOW_NS INT64_C(5000000)
#define SOON_NS INT64_C(20000000)
#define GIVEN_UP_SPANS 100 /* of the time that it needs */

enum { NOW, SOON, LATER }; /* levels; K-1 and K follow */

/* Level by urgency, and when it will be one less: it falls by one each ns. */
static void place_by_urgency(int64_t urgency_ns, int64_t now_ns, struct mfs_place *place)
{
    place->level = urgency_ns <= NOW_NS ? NOW : urgency_ns <= SOON_NS ? SOON : LATER;
    place->reason = place->level == LATER ? MFS_WHY_TIME : MFS_WHY_URGENT;
    if (place->level != NOW)
        place->recheck_ns =
            mfs_time_plus(now_ns, urgency_ns - (place->level == SOON ? NOW_NS : SOON_NS));
}

/* See NOT BEFORE ITS TURN. */
static void hold_fetch(const struct mfs_facts *facts, int64_t need_ns, int64_t now_ns,
                       struct mfs_place *place)
{
    const int64_t turn_ns = mfs_time_minus(need_ns, facts->layer_ns);

    if (place->level != NOW || facts->layer_ns <= 0 || turn_ns <= now_ns)
        return;
    place->level = SOON;
    place->reason = MFS_WHY_TURN;
    place->recheck_ns = turn_ns;
}

static void place_fetch(const struct mfs_params *params, const struct mfs_flow_info *flow,
                        const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    const uint32_t group = flow->tag.layer;
    const bool planned = facts->start_ns != MFS_TIME_NEVER; /* else its unit's queue is unknown */
    uint64_t bytes = flow->bytes_left;
    int64_t need_ns;

    place->key = mfs_latest_finish(MFS_STAGE_KV_REUSE, group, facts);
    need_ns = place->key;
    if (planned) {
        need_ns = mfs_time_plus(facts->start_ns, mfs_span_times(facts->layer_ns, group));
        if (group > facts->layer_now &&
            __builtin_mul_overflow(bytes, (uint64_t)group - facts->layer_now + 1, &bytes))
            bytes = UINT64_MAX;
    }
    place->slack_ns =
        mfs_time_minus(mfs_time_minus(need_ns, now_ns), mfs_span_bytes(bytes, params->rate_Bps));
    if (need_ns == MFS_TIME_NEVER) {
        mfs_place_arrival(flow, place);
        place->reason = MFS_WHY_UNDATED;
        return;
    }
    place_by_urgency(place->slack_ns, now_ns, place);
    if (planned)
        hold_fetch(facts, need_ns, now_ns, place);
}

/* When it has been late for too long; MFS_TIME_NEVER: that is not bounded. */
static inline int64_t patience_ends(const struct mfs_params *params, const struct mfs_facts *facts)
{
    const int64_t target_ns = mfs_time_minus(facts->deadline_ns, facts->arrival_ns);

    if (params->patience == 0 || facts->arrival_ns == 0 || target_ns <= 0)
        return MFS_TIME_NEVER;
    return mfs_time_plus(facts->deadline_ns, mfs_span_times(target_ns, params->patience));
}

/* Last of all, until it has waited too long: see PATIENCE. */
static void give_up(const struct mfs_params *params, const struct mfs_facts *facts, uint16_t reason,
                    int64_t needed_ns, int64_t now_ns, struct mfs_place *place)
{
    const int64_t ends_ns = patience_ends(params, facts);

    place->moves = MFS_MOVES_SENT;
    if (now_ns >= ends_ns) {
        place->level = LATER;
        place->reason = MFS_WHY_PATIENCE;
        return;
    }
    place->level = params->levels;
    place->reason = reason;
    place->key = mfs_time_plus(place->key, mfs_span_times(needed_ns, GIVEN_UP_SPANS));
    place->recheck_ns = ends_ns;
}

static void place_p2d(const struct mfs_params *params, const struct mfs_flow_info *flow,
                      const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    uint64_t left = flow->bytes_left;
    int64_t time_ns, needed_ns, least_ns;

    if (facts->deadline_ns == MFS_TIME_NEVER) { /* untagged traffic, most often */
        mfs_place_arrival(flow, place);
        return;
    }
    if (left < facts->p2d_left_bytes)
        left = facts->p2d_left_bytes;
    time_ns = mfs_time_minus(facts->deadline_ns, now_ns);
    needed_ns = mfs_span_bytes(left, params->rate_Bps);
    least_ns = (int64_t)((double)needed_ns / params->rate_margin);
    place->key = facts->deadline_ns;
    place->slack_ns = mfs_time_minus(time_ns, needed_ns);
    if (facts->flags & (MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED)) {
        give_up(params, facts, mfs_why_given_up(facts), needed_ns, now_ns, place);
    } else if (least_ns > time_ns) {
        place->slack_ns = mfs_time_minus(time_ns, least_ns);
        give_up(params, facts, MFS_WHY_LATE, needed_ns, now_ns, place);
    } else {
        place_by_urgency(mfs_time_minus(place->slack_ns, needed_ns), now_ns, place);
        place->recheck_ns = mfs_time_earlier(
            place->recheck_ns, mfs_time_plus(mfs_time_minus(facts->deadline_ns, least_ns), 1));
    }
}

static void place_collective(const struct mfs_flow_info *flow, const struct mfs_facts *facts,
                             struct mfs_place *place)
{
    const bool is_short = facts->collective_ns > 0 && facts->collective_ns <= facts->layer_ns / 4;

    place->level = NOW;
    place->reason = MFS_WHY_BLOCKS;
    place->key = mfs_latest_finish(MFS_STAGE_COLLECTIVE, flow->tag.layer, facts);
    if (place->key == MFS_TIME_NEVER) {
        mfs_place_arrival(flow, place);
        place->key = mfs_time_plus(UNDATED, place->key);
    } else if (is_short) {
        place->key = mfs_time_minus(place->key, AHEAD_NS);
    }
}

void mfs_place_mfs(const struct mfs_params *params, const struct mfs_flow_info *flow,
                   const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    switch (flow->tag.stage) {
    case MFS_STAGE_COLLECTIVE:
        place_collective(flow, facts, place);
        break;
    case MFS_STAGE_KV_REUSE:
        place_fetch(params, flow, facts, now_ns, place);
        break;
    default:
        place_p2d(params, flow, facts, now_ns, place);
        break;
    }
}
