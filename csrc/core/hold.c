/* SPDX-License-Identifier: Apache-2.0 */
#include "core/hold.h"

#include "core/span.h"

static int64_t shorter_of(int64_t own_ns, int64_t all_ns)
{
    return own_ns > 0 && (all_ns <= 0 || own_ns < all_ns) ? own_ns : all_ns;
}

void mfs_place_in_time(const struct mfs_params *params, const struct mfs_flow_info *flow,
                       const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    const int64_t hold_ns = shorter_of(facts->hold_ns, params->hold_ns);
    int64_t due_ns, needs_ns;

    if (hold_ns <= 0 || (place->level == 0 && place->key == flow->arrival_ns))
        return; /* nothing is held, or it is in order of arrival anyway */
    due_ns = mfs_time_plus(flow->arrival_ns, hold_ns / 2);
    if (now_ns >= due_ns) { /* most never come here: what it needs is asked only now */
        needs_ns = mfs_span_times(mfs_span_bytes(flow->bytes_left, params->rate_Bps), 2);
        if (needs_ns < hold_ns - hold_ns / 2)
            due_ns = mfs_time_plus(flow->arrival_ns, hold_ns - needs_ns);
        if (place->moves == MFS_MOVES_ARRIVAL) /* its size counts from here on */
            place->moves = MFS_MOVES_SENT;
    }
    if (now_ns >= due_ns)
        *place = (struct mfs_place){.moves = MFS_MOVES_ARRIVAL, .recheck_ns = MFS_TIME_NEVER};
    else if (due_ns < place->recheck_ns)
        place->recheck_ns = due_ns;
}
