/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times of things that have numbers: an indexed 4-ary min-heap, (time, number) first.
 * It grows; all operations O(log n). Equal times go by number, so runs repeat to the bit.
 */
#ifndef MFS_SIM_TIMERS_H
#define MFS_SIM_TIMERS_H

#include "sim/memory.h"

struct mfs_timer {
    double time_s;
    uint32_t item;
};

struct mfs_timers {
    struct mfs_memory *memory;
    struct mfs_timer *heap;
    uint32_t count, capacity;
    uint32_t *where; /* by item: position + 1; 0: not set */
    uint32_t items;
};

void mfs_timers_set(struct mfs_timers *timers, uint32_t item, double time_s); /* or move */
void mfs_timers_drop(struct mfs_timers *timers, uint32_t item); /* nothing if not set */

/* Of one thing; infinity if it is not set. */
static inline double mfs_timers_at_s(const struct mfs_timers *timers, uint32_t item)
{
    return item < timers->items && timers->where[item]
               ? timers->heap[timers->where[item] - 1].time_s
               : __builtin_inf();
}

static inline double mfs_timers_first_s(const struct mfs_timers *timers)
{
    return timers->count ? timers->heap[0].time_s : __builtin_inf();
}

#endif
