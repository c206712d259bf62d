/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rule as published (arXiv 2603.17456); its P1..PK are our levels 0..K-1.
 *
 * EXPLICIT (stage 3): MLU = S / (T * B * (1 - rho)), S bytes left, T time left, B
 *   bandwidth, rho load: it is 0 here, since U (1 - rho) in place of U says the same.
 *   P_i for Q_i <= MLU, smallest i first, Q_i = E^-i * U for i = 1..K-1; PK below all.
 *   Set at layer boundaries while the request computes, afterwards whenever a
 *   threshold is crossed.
 * IMPLICIT (stages 1 and 2): RLI = target layer - layer now; P1 is kept for the most
 *   urgent stage 3 flows, so the level is 1 + min(RLI, K-2). A collective has RLI 0.
 * ARBITRATION: inside a level early stages go before the last; among early ones RED
 *   of the batch decides, among last ones the deadline.
 * DROPPED requests (SHED) are scavengers in every stage.
 *
 * Where the paper is silent: S is the flow's own bytes (not the request's); a flow
 * without a deadline is in PK; unknown bandwidth counts as MLU 0 until the deadline
 * has passed; RED unknown is the request's own deadline.
 */
#include <math.h>

#include "core/policy.h"
#include "core/span.h"

/* The key inside a level, in quarters: early stages; the last one; each first with a date. */
#define UNDATED (INT64_C(1) << (MFS_KEY_BITS - 2))
#define LATE_STAGE (INT64_C(2) << (MFS_KEY_BITS - 2))

static int64_t quarter_key(int64_t time_ns)
{
    if (time_ns < 0)
        return 0;
    return time_ns < UNDATED ? time_ns : UNDATED - 1;
}

/* By date; those without one behind, in order of arrival. */
static void place_key(const struct mfs_flow_info *flow, int64_t part, int64_t date_ns,
                      struct mfs_place *place)
{
    place->key = part | quarter_key(date_ns);
    if (date_ns == MFS_TIME_NEVER) {
        mfs_place_arrival(flow, place);
        place->key = part | UNDATED | quarter_key(flow->arrival_ns);
    }
}

static void place_explicit(const struct mfs_params *params, const struct mfs_flow_info *flow,
                           const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    const double bandwidth = (double)params->rate_Bps;
    const bool computing = facts->layers > 0 && !(facts->flags & MFS_REQUEST_COMPUTED);
    double threshold = params->mlu_top / params->mlu_base, above = 0.0;
    double time_s, mlu;
    uint32_t level;

    place->level = params->levels - 1;
    place_key(flow, LATE_STAGE, facts->deadline_ns, place);
    if (facts->deadline_ns == MFS_TIME_NEVER)
        return;
    if (computing && facts->layer_since_ns > 0 && facts->layer_since_ns < now_ns)
        now_ns = facts->layer_since_ns; /* as of the last layer boundary */
    time_s = (double)mfs_time_minus(facts->deadline_ns, now_ns) * 1e-9;
    if (time_s <= 0.0) {
        place->level = 0;
        return;
    }
    mlu = params->rate_Bps ? (double)flow->bytes_left / (time_s * bandwidth) : 0.0;
    for (level = 0; level < params->levels - 1 && mlu < threshold; level++) {
        above = threshold;
        threshold /= params->mlu_base;
    }
    place->level = level;
    if (level > 0 && !computing) {
        double ahead_s = params->rate_Bps ? (double)flow->bytes_left / (above * bandwidth) : 0.0;

        place->recheck_ns = mfs_time_minus(facts->deadline_ns, (int64_t)fmin(ahead_s * 1e9, 1e18));
    }
}

static void place_implicit(const struct mfs_params *params, const struct mfs_flow_info *flow,
                           const struct mfs_facts *facts, struct mfs_place *place)
{
    const int64_t red_ns = facts->red_ns != MFS_TIME_NEVER ? facts->red_ns : facts->deadline_ns;
    uint32_t rli = 0;

    if (flow->tag.stage == MFS_STAGE_KV_REUSE && flow->tag.layer > facts->layer_now)
        rli = flow->tag.layer - facts->layer_now;
    place->level = 1 + (rli < params->levels - 2 ? rli : params->levels - 2);
    place_key(flow, 0, red_ns, place);
}

void mfs_place_paper(const struct mfs_params *params, const struct mfs_flow_info *flow,
                     const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    if (mfs_flow_is_p2d(flow))
        place_explicit(params, flow, facts, now_ns, place);
    else
        place_implicit(params, flow, facts, place);
    if (facts->flags & MFS_REQUEST_SHED) {
        place->level = params->levels;
        place->recheck_ns = MFS_TIME_NEVER;
    }
}
