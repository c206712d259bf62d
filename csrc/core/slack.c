/* SPDX-License-Identifier: Apache-2.0 */
#include "core/slack.h"

#include <errno.h>

#include "core/span.h"

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

int mfs_slack_add(struct mfs_slack *slack, int64_t due_ns, uint64_t bytes)
{
    uint32_t at = slack->count;

    if (due_ns == MFS_TIME_NEVER || bytes == 0)
        return 0;
    if (slack->count == slack->room) {
        slack->first_bytes = plus(slack->first_bytes, bytes);
        return -ENOSPC;
    }
    for (; at > 0 && slack->flows[at - 1].due_ns > due_ns; at--)
        slack->flows[at] = slack->flows[at - 1];
    slack->flows[at] = (struct mfs_slack_flow){due_ns, bytes};
    slack->count++;
    return 0;
}

/* The flows one by one: what has left once the flow has, and whether it is in time. */
struct walk {
    uint64_t sum; /* of those in time so far */
    int64_t spare_ns; /* of the one that has been looked at, if it is in time */
};

static bool walk_next(const struct mfs_slack *slack, uint32_t i, struct walk *walk)
{
    const uint64_t sum = plus(walk->sum, slack->flows[i].bytes);
    const int64_t spare_ns =
        mfs_time_minus(slack->flows[i].due_ns, mfs_span_bytes(sum, slack->rate_Bps));

    if (spare_ns < 0)
        return false;
    walk->sum = sum;
    walk->spare_ns = spare_ns;
    return true;
}

uint64_t mfs_slack_bytes(const struct mfs_slack *slack, int64_t due_ns)
{
    struct walk walk = {slack->first_bytes, 0};
    uint64_t before = slack->first_bytes;
    int64_t least_ns = INT64_MAX, own_ns;

    if (slack->rate_Bps == 0)
        return 0;
    for (uint32_t i = 0; i < slack->count; i++) {
        if (!walk_next(slack, i, &walk))
            continue;
        if (slack->flows[i].due_ns <= due_ns)
            before = walk.sum;
        else if (walk.spare_ns < least_ns)
            least_ns = walk.spare_ns;
    }
    own_ns = mfs_time_minus(due_ns, mfs_span_bytes(before, slack->rate_Bps));
    return mfs_bytes_span(own_ns < least_ns ? own_ns : least_ns, slack->rate_Bps);
}

int64_t mfs_slack_soonest(const struct mfs_slack *slack, uint64_t bytes)
{
    struct walk walk = {slack->first_bytes, 0};
    const int64_t needed_ns = mfs_span_bytes(bytes, slack->rate_Bps);
    uint64_t before = slack->first_bytes;

    if (slack->rate_Bps == 0)
        return MFS_TIME_NEVER;
    for (uint32_t i = 0; i < slack->count; i++) {
        if (walk_next(slack, i, &walk) && walk.spare_ns < needed_ns)
            before = walk.sum;
    }
    return mfs_span_bytes(plus(before, bytes), slack->rate_Bps);
}

uint64_t mfs_slack_late(const struct mfs_slack *slack)
{
    struct walk walk = {slack->first_bytes, 0};
    uint64_t late = 0;

    for (uint32_t i = 0; i < slack->count; i++) {
        if (!walk_next(slack, i, &walk))
            late = plus(late, slack->flows[i].bytes);
    }
    return slack->rate_Bps == 0 ? 0 : late;
}
