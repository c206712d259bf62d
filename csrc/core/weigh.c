/* SPDX-License-Identifier: Apache-2.0 */
#include "core/weigh.h"

#include "core/atomic.h"

#define CHUNK_MAX (UINT64_C(4) << 20) /* bytes that count of one chunk */

/* Where the quantum began in which the clock is. */
static uint64_t began(uint64_t clock)
{
    return clock - clock % MFS_WEIGH_QUANTUM;
}

/* That many bytes move the mark of a member so far. */
static uint64_t step(uint64_t bytes, uint32_t weight)
{
    return (bytes < CHUNK_MAX ? bytes : CHUNK_MAX) * MFS_WEIGHT_USUAL / weight;
}

/* How far ahead of the clock's quantum the mark lies. */
static uint64_t ahead(uint64_t clock, uint64_t mark, uint32_t weight)
{
    const uint64_t most = step(CHUNK_MAX, weight) + MFS_WEIGH_QUANTUM;

    return mark - began(clock) <= most ? mark - began(clock) : 0;
}

uint64_t mfs_weigh_turn(uint64_t clock, uint64_t mark, uint32_t weight)
{
    return ahead(clock, mark, weight) / MFS_WEIGH_QUANTUM;
}

void mfs_weigh_sent(_Atomic uint64_t *clock, _Atomic uint64_t *mark, uint32_t weight,
                    uint64_t bytes)
{
    const uint64_t now = mfs_get(clock);
    const uint64_t start = began(now) + ahead(now, mfs_get(mark), weight);

    if (start - now <= UINT64_MAX / 2) /* not before it */
        mfs_set(clock, start);
    mfs_set(mark, start + step(bytes, weight));
}
