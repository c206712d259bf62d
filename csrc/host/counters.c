/* SPDX-License-Identifier: Apache-2.0 */
#include "host/counters.h"

#include "core/atomic.h"
#include "host/attach.h"

void mfs_count(struct mfs_host *host, enum mfs_counter counter, uint64_t amount)
{
    mfs_add(&host->segment->processes[host->process].counters[counter], amount);
}

struct mfs_count_row *mfs_count_row_get(struct mfs_host *host)
{
    struct mfs_process_cell *cell = &host->segment->processes[host->process];

    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++) {
        /* what its last user counted is seen */
        if (!mfs_swap(&cell->rows[i].used, 1))
            return &cell->rows[i];
    }
    return NULL;
}

void mfs_count_row_put(struct mfs_count_row *row)
{
    if (row)
        mfs_publish(&row->used, 0);
}

static uint64_t count_of(const struct mfs_process_cell *cell, enum mfs_counter counter)
{
    uint64_t total = mfs_get(&cell->counters[counter]);

    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++)
        total += mfs_get(&cell->rows[i].counters[counter]);
    return total;
}

uint64_t mfs_count_process(struct mfs_host *host, enum mfs_counter counter)
{
    return count_of(&host->segment->processes[host->process], counter);
}

uint64_t mfs_count_total(struct mfs_host *host, enum mfs_counter counter)
{
    uint64_t total = mfs_get(&host->segment->past[counter]);

    for (uint32_t i = 0; i < MFS_PROCESSES_MAX; i++)
        total += count_of(&host->segment->processes[i], counter);
    return total;
}

const char *mfs_counter_name(enum mfs_counter counter)
{
    static const char *const names[MFS_COUNT_LAST] = {
        [MFS_COUNT_CALLS] = "calls",         [MFS_COUNT_DEFERRED] = "deferred",
        [MFS_COUNT_STRAIGHT] = "straight",   [MFS_COUNT_CHUNKS] = "chunks",
        [MFS_COUNT_BYTES] = "bytes",         [MFS_COUNT_PROMOTIONS] = "promotions",
        [MFS_COUNT_TAGGED] = "tagged",       [MFS_COUNT_FAULTS] = "faults",
        [MFS_COUNT_PASSED] = "passed",       [MFS_COUNT_PASSED_BYTES] = "passed_bytes",
        [MFS_COUNT_GPU_LISTS] = "gpu_lists", [MFS_COUNT_STALLS] = "stalls",
    };

    return (unsigned)counter < MFS_COUNT_LAST ? names[counter] : NULL;
}
