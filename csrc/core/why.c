/* SPDX-License-Identifier: Apache-2.0 */
#include "core/why.h"

#include "core/span.h"

void mfs_why_find(const struct mfs_params *params, const struct mfs_flow_info *flow,
                  const struct mfs_facts *facts, const struct mfs_place *place, int64_t now_ns,
                  struct mfs_why *why)
{
    const uint32_t given_up = mfs_why_given_up(facts);

    *why = (struct mfs_why){place->reason, place->slack_ns, params->rate_Bps};
    if (why->reason == MFS_WHY_ORDER || why->reason == MFS_WHY_BLOCKS)
        why->slack_ns = mfs_time_minus(mfs_time_minus(facts->deadline_ns, now_ns),
                                       mfs_span_bytes(flow->bytes_left, params->rate_Bps));
    if (why->reason == MFS_WHY_ORDER && place->level == params->levels)
        why->reason = given_up;
    if (why->reason == MFS_WHY_ORDER && facts->deadline_ns == MFS_TIME_NEVER)
        why->reason = MFS_WHY_UNDATED;
    /* of one that was given up for the time that it needs: the margin is in that, too */
    if (why->reason == MFS_WHY_LATE ||
        (why->reason == MFS_WHY_PATIENCE && given_up == MFS_WHY_ORDER))
        why->rate_Bps = (uint64_t)((double)params->rate_Bps * params->rate_margin);
}
