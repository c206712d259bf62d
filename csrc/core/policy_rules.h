/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What csrc/core's files share, and what a floor above includes that does the same sums (host,
 * sim): the rule for levels, and times that are added with saturation: "never" stays never,
 * nothing wraps.
 */
#ifndef MFS_CORE_POLICY_RULES_H
#define MFS_CORE_POLICY_RULES_H

#include "core/policy.h"

void mfs_place_mfs(const struct mfs_params *params, const struct mfs_flow_info *flow,
                   const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);
void mfs_why_mfs(const struct mfs_params *params, const struct mfs_flow_info *flow,
                 const struct mfs_facts *facts, int64_t now_ns, struct mfs_why *why);
void mfs_place_paper(const struct mfs_params *params, const struct mfs_flow_info *flow,
                     const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);

/* After the policy has placed it: what waits for too long goes first (policy_hold.c). */
void mfs_place_in_time(const struct mfs_params *params, const struct mfs_flow_info *flow,
                       const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);

/*
 * Where a flow goes that is in level `now` and that the policy puts into `wanted`, of `levels`
 * levels: it is promoted only, but to the scavenger level and back. MFS_LEVELS_MAX: it is new.
 */
static inline uint32_t mfs_level_next(uint32_t levels, uint32_t now, uint32_t wanted)
{
    if (wanted >= levels)
        return levels;
    return now < levels && now < wanted ? now : wanted;
}

/* Spans longer than this (36 years) are cut to it; products of spans cannot overflow. */
#define MFS_SPAN_MAX (INT64_C(1) << 60)

/* t - span, and t stays "never" if it is. */
static inline int64_t mfs_time_minus(int64_t time_ns, int64_t span_ns)
{
    int64_t result;

    if (time_ns == MFS_TIME_NEVER)
        return MFS_TIME_NEVER;
    if (__builtin_sub_overflow(time_ns, span_ns, &result))
        return span_ns > 0 ? INT64_MIN : MFS_TIME_NEVER;
    return result;
}

static inline int64_t mfs_time_plus(int64_t time_ns, int64_t span_ns)
{
    return span_ns == INT64_MIN ? time_ns : mfs_time_minus(time_ns, -span_ns);
}

static inline int64_t mfs_span_times(int64_t span_ns, int64_t factor)
{
    int64_t result;

    if (__builtin_mul_overflow(span_ns, factor, &result) || result > MFS_SPAN_MAX)
        return MFS_SPAN_MAX;
    return result < -MFS_SPAN_MAX ? -MFS_SPAN_MAX : result;
}

/* Sending time of bytes at a rate; 0 when the rate is unknown. */
static inline int64_t mfs_span_bytes(uint64_t bytes, uint64_t rate_Bps)
{
    double span_ns;

    if (rate_Bps == 0)
        return 0;
    span_ns = (double)bytes * 1e9 / (double)rate_Bps;
    return span_ns < (double)MFS_SPAN_MAX ? (int64_t)span_ns : MFS_SPAN_MAX;
}

/* Bytes that are sent in a span at a rate, 9e18 at most; 0 for a span that is over. The inverse of
 * mfs_span_bytes(). */
static inline uint64_t mfs_bytes_span(int64_t span_ns, uint64_t rate_Bps)
{
    const double bytes = (double)rate_Bps * (double)span_ns * 1e-9;

    if (span_ns <= 0)
        return 0;
    return bytes < 9e18 ? (uint64_t)bytes : UINT64_C(9000000000000000000);
}

static inline int64_t mfs_key_bytes(uint64_t bytes)
{
    return bytes < (uint64_t)MFS_KEY_MAX ? (int64_t)bytes : MFS_KEY_MAX;
}

/* In order of arrival: the key moves on when the oldest operation has left. */
static inline void mfs_place_arrival(const struct mfs_flow_info *flow, struct mfs_place *place)
{
    place->key = flow->arrival_ns;
    place->moves = MFS_MOVES_ARRIVAL;
}

static inline uint32_t mfs_flow_stage(const struct mfs_params *params,
                                      const struct mfs_flow_info *flow)
{
    return flow->tag.stage == MFS_STAGE_NONE ? params->untagged_stage : flow->tag.stage;
}

#endif
