/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters without a locked instruction: a row of the segment that one thread at a time adds to.
 * Whoever reads counters adds the rows up, so nothing is told late, or lost with a process.
 */
#ifndef MFS_HOST_COUNTERS_H
#define MFS_HOST_COUNTERS_H

#include "core/atomic.h"
#include "host/host.h"

struct mfs_count_row {
    _Alignas(64) _Atomic uint64_t counters[MFS_COUNT_LAST];
    _Atomic uint32_t used;
};

/* A free row of this process; NULL: all are in use, count by mfs_count. Any thread. */
MFS_API struct mfs_count_row *mfs_count_row_get(struct mfs_host *host);
/* It keeps what was counted; NULL: nothing is done. */
MFS_API void mfs_count_row_put(struct mfs_count_row *row);

/* By the one who has the row. */
static inline void mfs_count_in(struct mfs_count_row *row, enum mfs_counter counter,
                                uint64_t amount)
{
    mfs_add_own(&row->counters[counter], amount);
}

/* The same for who may have found no row, or no host either. */
static inline void mfs_count_by(struct mfs_host *host, struct mfs_count_row *row,
                                enum mfs_counter counter, uint64_t amount)
{
    if (MFS_LIKELY(row))
        mfs_count_in(row, counter, amount);
    else if (host)
        mfs_count(host, counter, amount);
}

#endif
