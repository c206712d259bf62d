/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and the tag of the calling thread. */
#include "host/segment.h"
#include "host/tagged.h"

static _Thread_local struct mfs_tag current_tag;
_Atomic bool mfs_tag_used;

void mfs_tag_set(const struct mfs_tag *tag)
{
    static const struct mfs_tag untagged;

    current_tag = tag ? *tag : untagged;
    if (tag) /* before this thread posts with it; other threads have tags of their own */
        atomic_store_explicit(&mfs_tag_used, true, memory_order_relaxed);
}

struct mfs_tag mfs_tag_get(void)
{
    return current_tag;
}

static _Thread_local bool aborting;

void mfs_abort_set(bool aborts)
{
    aborting = aborts;
}

bool mfs_abort_get(void)
{
    return aborting;
}

void mfs_count(struct mfs_host *host, enum mfs_counter counter, uint64_t amount)
{
    atomic_fetch_add_explicit(&host->segment->processes[host->process].counters[counter], amount,
                              memory_order_relaxed);
}

struct mfs_count_row *mfs_count_row_get(struct mfs_host *host)
{
    struct mfs_process_cell *cell = &host->segment->processes[host->process];

    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++) {
        /* acquire: what its last user counted is seen */
        if (!atomic_exchange_explicit(&cell->rows[i].used, 1, memory_order_acquire))
            return &cell->rows[i];
    }
    return NULL;
}

void mfs_count_row_put(struct mfs_count_row *row)
{
    if (row)
        atomic_store_explicit(&row->used, 0, memory_order_release);
}

static uint64_t count_of(const struct mfs_process_cell *cell, enum mfs_counter counter)
{
    uint64_t total = atomic_load_explicit(&cell->counters[counter], memory_order_relaxed);

    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++)
        total += atomic_load_explicit(&cell->rows[i].counters[counter], memory_order_relaxed);
    return total;
}

uint64_t mfs_count_process(struct mfs_host *host, enum mfs_counter counter)
{
    return count_of(&host->segment->processes[host->process], counter);
}

uint64_t mfs_count_total(struct mfs_host *host, enum mfs_counter counter)
{
    uint64_t total = atomic_load_explicit(&host->segment->past[counter], memory_order_relaxed);

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
        [MFS_COUNT_GPU_LISTS] = "gpu_lists",
    };

    return (unsigned)counter < MFS_COUNT_LAST ? names[counter] : NULL;
}
