/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/timers.h"

#include <stdbool.h>

#define ARITY 4u

static inline bool before(const struct mfs_timer *a, const struct mfs_timer *b)
{
    return a->time_s < b->time_s || (a->time_s == b->time_s && a->item < b->item);
}

static void put(struct mfs_timers *timers, uint32_t at, struct mfs_timer timer)
{
    timers->heap[at] = timer;
    timers->where[timer.item] = at + 1;
}

static void sift(struct mfs_timers *timers, uint32_t at, struct mfs_timer timer)
{
    while (at > 0 && before(&timer, &timers->heap[(at - 1) / ARITY])) {
        put(timers, at, timers->heap[(at - 1) / ARITY]);
        at = (at - 1) / ARITY;
    }
    for (;;) {
        uint32_t child = at * ARITY + 1, best, last;

        if (child >= timers->count)
            break;
        last = child + ARITY < timers->count ? child + ARITY : timers->count;
        for (best = child++; child < last; child++) {
            if (before(&timers->heap[child], &timers->heap[best]))
                best = child;
        }
        if (!before(&timers->heap[best], &timer))
            break;
        put(timers, at, timers->heap[best]);
        at = best;
    }
    put(timers, at, timer);
}

void mfs_timers_set(struct mfs_timers *timers, uint32_t item, double time_s)
{
    const struct mfs_timer timer = {time_s, item};

    MFS_ROOM(timers->memory, timers->where, timers->items, item + 1);
    if (timers->where[item]) {
        sift(timers, timers->where[item] - 1, timer);
        return;
    }
    MFS_ROOM(timers->memory, timers->heap, timers->capacity, timers->count + 1);
    sift(timers, timers->count++, timer);
}

void mfs_timers_drop(struct mfs_timers *timers, uint32_t item)
{
    uint32_t at;

    if (item >= timers->items || !timers->where[item])
        return;
    at = timers->where[item] - 1;
    timers->where[item] = 0;
    if (at < --timers->count)
        sift(timers, at, timers->heap[timers->count]);
}
