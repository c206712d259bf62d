/* SPDX-License-Identifier: Apache-2.0 */
#include "core/weigh.h"

#include "core/atomic.h"

#define CHUNK_MAX (UINT64_C(4) << 20) /* bytes that count of one chunk */
#define AHEAD_MAX (CHUNK_MAX * MFS_WEIGHT_USUAL) /* of the least weight */

/* Where the quantum began in which the clock is. */
static uint64_t began(uint64_t clock)
{
    return clock - clock % MFS_WEIGH_QUANTUM;
}

/* How far behind that the mark lies. */
static uint64_t behind(uint64_t clock, uint64_t mark)
{
    return mark - began(clock) <= AHEAD_MAX ? mark - began(clock) : 0;
}

uint64_t mfs_weigh_turn(uint64_t clock, uint64_t mark)
{
    return behind(clock, mark) / MFS_WEIGH_QUANTUM;
}

void mfs_weigh_sent(_Atomic uint64_t *clock, _Atomic uint64_t *mark, uint32_t weight,
                    uint64_t bytes)
{
    const uint64_t now = mfs_get(clock);
    const uint64_t start = began(now) + behind(now, mfs_get(mark));

    if (start - now <= AHEAD_MAX)
        mfs_set(clock, start);
    if (bytes > CHUNK_MAX)
        bytes = CHUNK_MAX;
    mfs_set(mark, start + bytes * MFS_WEIGHT_USUAL / weight);
}
