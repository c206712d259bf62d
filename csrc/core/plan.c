/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plan.h"

#include <errno.h>

#include "core/policy_rules.h"

/* Time the request still needs of the unit: its groups from layer_now on. */
static int64_t computing_left(const struct mfs_facts *facts)
{
    uint32_t left = 0;

    if (!(facts->flags & MFS_REQUEST_COMPUTED) && facts->layers > facts->layer_now)
        left = facts->layers - facts->layer_now;
    return mfs_span_times(facts->layer_ns, left);
}

void mfs_plan_unit(struct mfs_facts *facts, size_t count, int64_t now_ns)
{
    int64_t free_ns = now_ns;
    int64_t start_ns = MFS_TIME_NEVER; /* S of the request behind */

    for (size_t i = 0; i < count; i++) {
        int64_t finish_ns;

        /* start_ns is when group 0 started, or would have at this pace */
        facts[i].start_ns =
            mfs_time_minus(free_ns, mfs_span_times(facts[i].layer_ns, facts[i].layer_now));
        free_ns = mfs_time_plus(free_ns, computing_left(&facts[i]));
        finish_ns = mfs_time_plus(free_ns, facts[i].p2d_layer_ns);
        if (facts[i].deadline_ns != MFS_TIME_NEVER && finish_ns > facts[i].deadline_ns)
            facts[i].flags |= MFS_REQUEST_HOPELESS;
        else
            facts[i].flags &= ~(uint32_t)MFS_REQUEST_HOPELESS;
    }
    for (size_t i = count; i-- > 0;) {
        int64_t end_ns = start_ns;

        facts[i].next_start_ns = start_ns;
        if (!(facts[i].flags & MFS_REQUEST_HOPELESS)) {
            int64_t own_ns = mfs_time_minus(facts[i].deadline_ns, facts[i].p2d_layer_ns);

            if (own_ns < end_ns)
                end_ns = own_ns;
        }
        start_ns = mfs_time_minus(end_ns, computing_left(&facts[i]));
    }
}

/* Heapsort of indices by deadline (then index): no allocation, no recursion. */
static bool later(const struct mfs_facts *facts, uint32_t a, uint32_t b)
{
    return facts[a].deadline_ns > facts[b].deadline_ns ||
           (facts[a].deadline_ns == facts[b].deadline_ns && a > b);
}

static void sift(const struct mfs_facts *facts, uint32_t *order, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        uint32_t swap;

        if (child + 1 < count && later(facts, order[child + 1], order[child]))
            child++;
        if (!later(facts, order[child], order[at]))
            return;
        swap = order[at];
        order[at] = order[child];
        order[child] = swap;
    }
}

static void sort_by_deadline(const struct mfs_facts *facts, uint32_t *order, size_t count)
{
    for (size_t at = count / 2; at-- > 0;)
        sift(facts, order, at, count);
    for (size_t end = count; end-- > 1;) {
        uint32_t swap = order[0];

        order[0] = order[end];
        order[end] = swap;
        sift(facts, order, 0, end);
    }
}

int mfs_plan_shed(struct mfs_facts *facts, size_t count, uint64_t rate_Bps, int64_t now_ns,
                  uint32_t *scratch)
{
    uint64_t sum = 0;
    size_t feasible = 0;

    if (rate_Bps == 0)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        facts[i].flags &= ~(uint32_t)MFS_REQUEST_SHED;
        if (facts[i].p2d_left_bytes > 0 && facts[i].deadline_ns != MFS_TIME_NEVER &&
            !(facts[i].flags & MFS_REQUEST_HOPELESS))
            scratch[feasible++] = (uint32_t)i;
    }
    sort_by_deadline(facts, scratch, feasible);
    for (size_t i = 0; i < feasible; i++) {
        int64_t deadline_ns = facts[scratch[i]].deadline_ns;

        sum += facts[scratch[i]].p2d_left_bytes;
        while (sum > 0 && mfs_time_plus(now_ns, mfs_span_bytes(sum, rate_Bps)) > deadline_ns) {
            struct mfs_facts *largest = NULL;

            for (size_t j = 0; j <= i; j++) {
                struct mfs_facts *one = &facts[scratch[j]];

                if (!(one->flags & MFS_REQUEST_SHED) &&
                    (!largest || one->p2d_left_bytes > largest->p2d_left_bytes))
                    largest = one;
            }
            largest->flags |= MFS_REQUEST_SHED;
            sum -= largest->p2d_left_bytes;
        }
    }
    return 0;
}
