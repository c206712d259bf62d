/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LATEST FINISH TIME: by when the last byte of a flow has to leave, so that its request is in time.
 * For group g of G of a request with deadline D, w = time of one group (computing plus collective),
 * x3 = stage 3 time of one group on an empty port, S' = latest start of the request behind it:
 *
 *   stage 3            D
 *   stage 2 of g       min(D - max((G-1-g) w + x3, (G-g) x3), S' - (G-1-g) w)
 *   stage 1 for g      the same minus w
 *   The D term is dropped when the request is hopeless: it then only owes those behind it (S' is
 *   the urgency that it inherits from them).
 */
#ifndef MFS_CORE_LATEST_FINISH_H
#define MFS_CORE_LATEST_FINISH_H

#include "core/facts.h"
#include "core/span.h"

/* MFS_TIME_NEVER: nothing says so. */
static inline int64_t mfs_latest_finish(uint32_t stage, uint32_t group,
                                        const struct mfs_facts *facts)
{
    const int64_t behind = facts->layers > group ? (int64_t)facts->layers - 1 - group : 0;
    const int64_t computing = mfs_span_times(facts->layer_ns, behind);
    int64_t finish_ns = mfs_time_minus(facts->next_start_ns, computing);

    if (stage != MFS_STAGE_COLLECTIVE && stage != MFS_STAGE_KV_REUSE)
        return facts->deadline_ns;
    if (!(facts->flags & MFS_REQUEST_HOPELESS)) {
        const int64_t last_p2d = mfs_time_plus(computing, facts->p2d_layer_ns);
        const int64_t all_p2d = mfs_span_times(facts->p2d_layer_ns, behind + 1);
        const int64_t tail = last_p2d > all_p2d ? last_p2d : all_p2d;

        finish_ns = mfs_time_earlier(finish_ns, mfs_time_minus(facts->deadline_ns, tail));
    }
    return stage == MFS_STAGE_KV_REUSE ? mfs_time_minus(finish_ns, facts->layer_ns) : finish_ns;
}

#endif
