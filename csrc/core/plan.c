/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plan.h"

#include <errno.h>
#include <math.h>

#include "core/span.h"

/* Time the request still needs of the unit: its groups from layer_now on. */
static int64_t computing_left(const struct mfs_facts *facts)
{
    uint32_t left = 0;

    if (!(facts->flags & MFS_REQUEST_COMPUTED) && facts->layers > facts->layer_now)
        left = facts->layers - facts->layer_now;
    return mfs_span_times(facts->layer_ns, left);
}

int64_t mfs_plan_computing_ns(const struct mfs_facts *facts, size_t count)
{
    int64_t most_ns = 0;

    for (size_t i = 0; i < count; i++) {
        const int64_t left_ns = computing_left(&facts[i]);

        most_ns = left_ns > most_ns ? left_ns : most_ns;
    }
    return most_ns;
}

static void set_hopeless(struct mfs_facts *facts, bool hopeless)
{
    facts->flags &= ~(uint32_t)MFS_REQUEST_HOPELESS;
    if (hopeless)
        facts->flags |= MFS_REQUEST_HOPELESS;
}

/* Start and HOPELESS of each request of a batch that starts at free_ns; when it ends. */
static int64_t plan_forward(struct mfs_facts *facts, size_t count, int64_t free_ns)
{
    const int64_t end_ns = mfs_time_plus(free_ns, mfs_plan_computing_ns(facts, count));

    for (size_t i = 0; i < count; i++) {
        struct mfs_facts *one = &facts[i];

        /* start_ns is when group 0 started, or would have at this pace */
        one->start_ns = mfs_time_minus(free_ns, mfs_span_times(one->layer_ns, one->layer_now));
        set_hopeless(one, one->deadline_ns != MFS_TIME_NEVER &&
                              mfs_time_plus(end_ns, one->p2d_layer_ns) > one->deadline_ns);
    }
    return end_ns;
}

/* S' of each request of a batch, next_ns being S of the one behind it; its own S. */
static int64_t plan_backward(struct mfs_facts *facts, size_t count, int64_t next_ns)
{
    int64_t least_ns = next_ns, second_ns = next_ns;
    size_t tightest = count;

    for (size_t i = 0; i < count; i++) {
        int64_t own_ns;

        if (facts[i].flags & MFS_REQUEST_HOPELESS)
            continue;
        own_ns = mfs_time_minus(facts[i].deadline_ns, facts[i].p2d_layer_ns);
        if (own_ns < least_ns) {
            second_ns = least_ns;
            least_ns = own_ns;
            tightest = i;
        } else if (own_ns < second_ns) {
            second_ns = own_ns;
        }
    }
    for (size_t i = 0; i < count; i++)
        facts[i].next_start_ns = i == tightest ? second_ns : least_ns;
    return mfs_time_minus(least_ns, mfs_plan_computing_ns(facts, count));
}

void mfs_plan_unit(struct mfs_facts *facts, const uint32_t *batches, size_t count, int64_t now_ns)
{
    int64_t free_ns = now_ns, start_ns = MFS_TIME_NEVER;

    for (size_t b = 0; b < count; facts += batches[b++])
        free_ns = plan_forward(facts, batches[b], free_ns);
    for (size_t b = count; b-- > 0;) {
        facts -= batches[b];
        start_ns = plan_backward(facts, batches[b], start_ns);
    }
}

void mfs_plan_computed(struct mfs_facts *facts, int64_t now_ns)
{
    facts->next_start_ns = MFS_TIME_NEVER;
    set_hopeless(facts, facts->deadline_ns < now_ns);
}

size_t mfs_plan_collective(const struct mfs_facts *facts, size_t count)
{
    size_t earliest = 0;

    for (size_t i = 1; i < count; i++) {
        if (facts[i].deadline_ns < facts[earliest].deadline_ns)
            earliest = i;
    }
    return earliest;
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
        facts[i].shed_for = 0;
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
            largest->shed_for = scratch[i] + 1;
            sum -= largest->p2d_left_bytes;
        }
    }
    return 0;
}

/* --- the paper's plan --- */

int64_t mfs_plan_red(const int64_t *deadlines_ns, size_t count, int64_t *scratch, int64_t *loose_ns)
{
    int64_t gap_ns = 0, tight_ns, least_loose_ns;
    size_t dated = 0, split = 0;
    double share;

    for (size_t i = 0; i < count; i++) { /* sorted as they come: batches are small */
        size_t at = dated;

        if (deadlines_ns[i] == MFS_TIME_NEVER)
            continue;
        for (; at > 0 && scratch[at - 1] > deadlines_ns[i]; at--)
            scratch[at] = scratch[at - 1];
        scratch[at] = deadlines_ns[i];
        dated++;
    }
    for (size_t i = 1; i < dated; i++) {
        int64_t between_ns = mfs_time_minus(scratch[i], scratch[i - 1]);

        if (between_ns > gap_ns) {
            gap_ns = between_ns;
            split = i;
        }
    }
    tight_ns = dated ? scratch[0] : MFS_TIME_NEVER;
    least_loose_ns = split ? scratch[split] : tight_ns;
    if (loose_ns)
        *loose_ns = least_loose_ns;
    if (split == 0)
        return tight_ns;
    /* tight + (1 - f) (loose - tight): no sum of two large numbers */
    share = (double)split / (double)dated;
    return mfs_time_plus(
        tight_ns, (int64_t)((1.0 - share) * fmin((double)least_loose_ns - (double)tight_ns, 9e18)));
}

/* The port that takes longest, and how long. */
static int64_t bottleneck(const struct mfs_plan_overload *control, const uint64_t *before,
                          const uint64_t *own, uint32_t *port)
{
    int64_t longest_ns = -1;

    for (uint32_t u = 0; u < control->ports; u++) {
        int64_t span_ns = mfs_span_bytes(before[u] + own[u], control->rates_Bps[u]);

        if (span_ns > longest_ns) {
            longest_ns = span_ns;
            *port = u;
        }
    }
    return longest_ns;
}

static void order_by_red(const struct mfs_plan_batch *batches, size_t count, uint32_t *order)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = i;

        for (; at > 0 && batches[order[at - 1]].red_ns > batches[i].red_ns; at--)
            order[at] = order[at - 1];
        order[at] = (uint32_t)i;
    }
}

/* The request of the pool with the most load on the port; UINT32_MAX: none has any. */
static uint32_t heaviest(const struct mfs_plan_overload *control,
                         const struct mfs_plan_batch *batches, const uint32_t *order, size_t at,
                         const uint64_t *loads, uint32_t port, const bool *dropped,
                         bool *of_this_batch)
{
    uint32_t found = UINT32_MAX;
    uint64_t most = 0;

    for (size_t i = control->drop_earlier ? 0 : at; i <= at; i++) {
        const struct mfs_plan_batch *batch = &batches[order[i]];

        for (uint32_t r = batch->first; r < batch->first + batch->count; r++) {
            uint64_t load = loads[(size_t)r * control->ports + port];

            if (!dropped[r] && load > most) {
                most = load;
                found = r;
                *of_this_batch = i == at;
            }
        }
    }
    return found;
}

int mfs_plan_overload(const struct mfs_plan_overload *control, struct mfs_plan_batch *batches,
                      size_t count, const int64_t *deadlines_ns, const uint64_t *loads,
                      int64_t now_ns, uint32_t *order, bool *dropped, uint64_t *scratch)
{
    uint64_t *before = scratch, *own;
    int64_t computing_ns = 0;
    uint32_t drops = 0;

    if (control->ports == 0)
        return -EINVAL;
    own = scratch + control->ports;
    for (uint32_t u = 0; u < control->ports; u++) {
        if (control->rates_Bps[u] == 0)
            return -EINVAL;
        before[u] = 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct mfs_plan_batch *batch = &batches[i];

        batch->red_ns =
            mfs_plan_red(deadlines_ns + batch->first, batch->count,
                         (int64_t *)(scratch + 2 * (size_t)control->ports), &batch->loose_ns);
        for (uint32_t r = 0; r < batch->count; r++)
            dropped[batch->first + r] = false;
    }
    order_by_red(batches, count, order);
    for (size_t at = 0; at < count; at++) {
        struct mfs_plan_batch *batch = &batches[order[at]];
        bool of_this_batch = false;

        for (uint32_t u = 0; u < control->ports; u++) {
            own[u] = 0;
            for (uint32_t r = batch->first; r < batch->first + batch->count; r++)
                own[u] += loads[(size_t)r * control->ports + u];
        }
        if (!control->budget_is_global)
            drops = 0;
        computing_ns =
            mfs_time_plus(control->compute_accumulates ? computing_ns : 0, batch->compute_ns);
        for (;;) {
            uint32_t port = 0, request;

            batch->finish_ns = mfs_time_plus(mfs_time_plus(now_ns, computing_ns),
                                             bottleneck(control, before, own, &port));
            if (batch->finish_ns <= batch->loose_ns || drops >= control->budget)
                break;
            request = heaviest(control, batches, order, at, loads, port, dropped, &of_this_batch);
            if (request == UINT32_MAX)
                break;
            dropped[request] = true;
            drops++;
            for (uint32_t u = 0; u < control->ports; u++)
                (of_this_batch ? own : before)[u] -= loads[(size_t)request * control->ports + u];
        }
        for (uint32_t u = 0; u < control->ports; u++)
            before[u] += own[u];
    }
    return 0;
}
