/* SPDX-License-Identifier: Apache-2.0 */
#include "core/exchange.h"

/* Parts of the delay, as tuned: docs/decisions/0051-receivers-tell-which-ranks-may-send.md. */
#define DRY_PART 8
#define FULL_PART 4

uint32_t mfs_exchange_allowed(uint32_t allowed, uint32_t count, int64_t backlog_ns,
                              int64_t delay_ns)
{
    if (delay_ns > MFS_EXCHANGE_DELAY_MAX_NS)
        return count;
    if (backlog_ns <= delay_ns / DRY_PART)
        allowed++;
    else if (backlog_ns > delay_ns / FULL_PART && allowed > 0)
        allowed--;
    if (allowed > count)
        allowed = count;
    return allowed > 0 ? allowed : 1;
}

mfs_rank_t mfs_exchange_limit(mfs_rank_t *claims, uint32_t count, uint32_t allowed)
{
    if (allowed >= count)
        return MFS_RANK_NONE;
    for (uint32_t i = 0; i < allowed; i++) { /* the i-th best to its place */
        const mfs_rank_t first = claims[i];
        uint32_t best = i;

        for (uint32_t k = i + 1; k < count; k++) {
            if (claims[k] < claims[best])
                best = k;
        }
        claims[i] = claims[best];
        claims[best] = first;
    }
    return allowed > 0 ? claims[allowed - 1] : 0;
}
