/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our rule. For group g of G of a request with deadline D, w = time of one group
 * (computing plus collective), x3 = stage 3 time of one group on an empty port,
 * S' = latest start of the request behind it, R = stage 3 bytes left, C = the
 * port's bandwidth, c = of w the collective's time on an empty port:
 *
 * LATEST FINISH TIME, the key inside a level
 *   stage 3            D
 *   stage 2 of g       min(D - max((G-1-g) w + x3, (G-g) x3), S' - (G-1-g) w)
 *   stage 1 for g      the same minus w
 *   The D term is dropped when the request is hopeless: it then only owes those
 *   behind it (S' is the urgency that it inherits from them).
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
#include "core/policy_rules.h"

#define UNDATED (INT64_C(1) << (MFS_KEY_BITS - 1)) /* keys behind all deadlines */
#define AHEAD_NS (INT64_C(3600) * 1000000000)      /* no deadline is so far away */
#define NOW_NS INT64_C(5000000)
#define SOON_NS INT64_C(20000000)
#define GIVEN_UP_SPANS 100 /* of the time that it needs */

enum { NOW, SOON, LATER }; /* levels; K-1 and K follow */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Level by urgency, and when it will be one less: it falls by one each ns. */
static void place_by_urgency(int64_t urgency_ns, int64_t now_ns, struct mfs_place *place)
{
    place->level = urgency_ns <= NOW_NS ? NOW : urgency_ns <= SOON_NS ? SOON : LATER;
    if (place->level != NOW)
        place->recheck_ns =
            mfs_time_plus(now_ns, urgency_ns - (place->level == SOON ? NOW_NS : SOON_NS));
}

/* Latest finish time of the collective of group g. */
static int64_t collective_finish(const struct mfs_facts *facts, uint32_t group)
{
    const int64_t behind = facts->layers > group ? (int64_t)facts->layers - 1 - group : 0;
    const int64_t computing = mfs_span_times(facts->layer_ns, behind);
    int64_t finish_ns = mfs_time_minus(facts->next_start_ns, computing);

    if (!(facts->flags & MFS_REQUEST_HOPELESS)) {
        const int64_t last_p2d = mfs_time_plus(computing, facts->p2d_layer_ns);
        const int64_t all_p2d = mfs_span_times(facts->p2d_layer_ns, behind + 1);
        const int64_t tail = last_p2d > all_p2d ? last_p2d : all_p2d;

        finish_ns = least(finish_ns, mfs_time_minus(facts->deadline_ns, tail));
    }
    return finish_ns;
}

/* Latest finish time of what is fetched for a group. */
static inline int64_t fetch_finish(const struct mfs_facts *facts, uint32_t group)
{
    return mfs_time_minus(collective_finish(facts, group), facts->layer_ns);
}

int64_t mfs_latest_finish(uint32_t stage, uint32_t layer, const struct mfs_facts *facts)
{
    switch (stage) {
    case MFS_STAGE_COLLECTIVE:
        return collective_finish(facts, layer);
    case MFS_STAGE_KV_REUSE:
        return fetch_finish(facts, layer);
    default:
        return facts->deadline_ns;
    }
}

/* See NOT BEFORE ITS TURN. */
static void hold_fetch(const struct mfs_facts *facts, int64_t need_ns, int64_t now_ns,
                       struct mfs_place *place)
{
    const int64_t turn_ns = mfs_time_minus(need_ns, facts->layer_ns);

    if (place->level != NOW || facts->layer_ns <= 0 || turn_ns <= now_ns)
        return;
    place->level = SOON;
    place->recheck_ns = turn_ns;
}

/* When its group starts, finish_ns where that is not known, and B: what has to come until then. */
static inline int64_t fetch_need(const struct mfs_flow_info *flow, const struct mfs_facts *facts,
                                 int64_t finish_ns, uint64_t *bytes)
{
    const uint32_t group = flow->tag.layer;

    *bytes = flow->bytes_left;
    if (facts->start_ns == MFS_TIME_NEVER) /* the unit's queue is unknown */
        return finish_ns;
    if (group > facts->layer_now &&
        __builtin_mul_overflow(*bytes, (uint64_t)group - facts->layer_now + 1, bytes))
        *bytes = UINT64_MAX;
    return mfs_time_plus(facts->start_ns, mfs_span_times(facts->layer_ns, group));
}

static void place_fetch(const struct mfs_params *params, const struct mfs_flow_info *flow,
                        const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    const int64_t finish_ns = fetch_finish(facts, flow->tag.layer);
    int64_t need_ns, urgency_ns;
    uint64_t bytes;

    place->key = finish_ns;
    need_ns = fetch_need(flow, facts, finish_ns, &bytes);
    if (need_ns == MFS_TIME_NEVER) {
        mfs_place_arrival(flow, place);
        return;
    }
    urgency_ns =
        mfs_time_minus(mfs_time_minus(need_ns, now_ns), mfs_span_bytes(bytes, params->rate_Bps));
    place_by_urgency(urgency_ns, now_ns, place);
    if (facts->start_ns != MFS_TIME_NEVER)
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
static void give_up(const struct mfs_params *params, const struct mfs_facts *facts,
                    int64_t needed_ns, int64_t now_ns, struct mfs_place *place)
{
    const int64_t ends_ns = patience_ends(params, facts);

    place->moves = MFS_MOVES_SENT;
    if (now_ns >= ends_ns) {
        place->level = LATER;
        return;
    }
    place->level = params->levels;
    place->key = mfs_time_plus(place->key, mfs_span_times(needed_ns, GIVEN_UP_SPANS));
    place->recheck_ns = ends_ns;
}

/* R: of the request, or of the flow if that is more. */
static inline uint64_t p2d_left(const struct mfs_flow_info *flow, const struct mfs_facts *facts)
{
    return facts->p2d_left_bytes > flow->bytes_left ? facts->p2d_left_bytes : flow->bytes_left;
}

static inline int64_t at_the_most(int64_t needed_ns, const struct mfs_params *params)
{
    return (int64_t)((double)needed_ns / params->rate_margin);
}

static void place_p2d(const struct mfs_params *params, const struct mfs_flow_info *flow,
                      const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    const int64_t time_ns = mfs_time_minus(facts->deadline_ns, now_ns);
    const int64_t needed_ns = mfs_span_bytes(p2d_left(flow, facts), params->rate_Bps);
    const int64_t least_ns = at_the_most(needed_ns, params);

    place->key = facts->deadline_ns;
    if (facts->deadline_ns == MFS_TIME_NEVER) {
        mfs_place_arrival(flow, place);
    } else if ((facts->flags & (MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED)) || least_ns > time_ns) {
        give_up(params, facts, needed_ns, now_ns, place);
    } else {
        place_by_urgency(mfs_time_minus(time_ns, 2 * needed_ns), now_ns, place);
        place->recheck_ns = least(place->recheck_ns,
                                  mfs_time_plus(mfs_time_minus(facts->deadline_ns, least_ns), 1));
    }
}

static void place_collective(const struct mfs_flow_info *flow, const struct mfs_facts *facts,
                             struct mfs_place *place)
{
    const bool is_short = facts->collective_ns > 0 && facts->collective_ns <= facts->layer_ns / 4;

    place->level = NOW;
    place->key = collective_finish(facts, flow->tag.layer);
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
    place->level = params->levels - 1;
    place->recheck_ns = MFS_TIME_NEVER;
    switch (mfs_flow_stage(params, flow)) {
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

/* --- why --- */

static uint32_t why_by_urgency(int64_t urgency_ns)
{
    return urgency_ns <= SOON_NS ? MFS_WHY_URGENT : MFS_WHY_TIME;
}

static void why_fetch(const struct mfs_params *params, const struct mfs_flow_info *flow,
                      const struct mfs_facts *facts, int64_t now_ns, struct mfs_why *why)
{
    const int64_t finish_ns = fetch_finish(facts, flow->tag.layer);
    uint64_t bytes;
    const int64_t need_ns = fetch_need(flow, facts, finish_ns, &bytes);

    why->slack_ns =
        mfs_time_minus(mfs_time_minus(need_ns, now_ns), mfs_span_bytes(bytes, params->rate_Bps));
    if (need_ns == MFS_TIME_NEVER)
        *why = (struct mfs_why){MFS_WHY_UNDATED, MFS_TIME_NEVER, params->rate_Bps};
    else if (why->slack_ns <= NOW_NS && flow->level == SOON)
        why->reason = MFS_WHY_TURN;
    else
        why->reason = why_by_urgency(why->slack_ns);
}

static void why_p2d(const struct mfs_params *params, const struct mfs_flow_info *flow,
                    const struct mfs_facts *facts, int64_t now_ns, struct mfs_why *why)
{
    const int64_t time_ns = mfs_time_minus(facts->deadline_ns, now_ns);
    const int64_t needed_ns = mfs_span_bytes(p2d_left(flow, facts), params->rate_Bps);
    const int64_t least_ns = at_the_most(needed_ns, params);

    if (facts->deadline_ns == MFS_TIME_NEVER)
        return;
    why->slack_ns = mfs_time_minus(time_ns, needed_ns);
    if (facts->flags & MFS_REQUEST_HOPELESS) {
        why->reason = MFS_WHY_HOPELESS;
    } else if (facts->flags & MFS_REQUEST_SHED) {
        why->reason = MFS_WHY_SHED;
    } else if (least_ns > time_ns) {
        why->reason = MFS_WHY_LATE;
        why->slack_ns = mfs_time_minus(time_ns, least_ns);
        why->rate_Bps = (uint64_t)((double)params->rate_Bps * params->rate_margin);
    } else {
        why->reason = why_by_urgency(mfs_time_minus(time_ns, 2 * needed_ns));
        return;
    }
    if (now_ns >= patience_ends(params, facts))
        why->reason = MFS_WHY_PATIENCE;
}

void mfs_why_mfs(const struct mfs_params *params, const struct mfs_flow_info *flow,
                 const struct mfs_facts *facts, int64_t now_ns, struct mfs_why *why)
{
    switch (mfs_flow_stage(params, flow)) {
    case MFS_STAGE_COLLECTIVE:
        why->reason = MFS_WHY_BLOCKS;
        break;
    case MFS_STAGE_KV_REUSE:
        why_fetch(params, flow, facts, now_ns, why);
        break;
    default:
        why_p2d(params, flow, facts, now_ns, why);
        break;
    }
}
