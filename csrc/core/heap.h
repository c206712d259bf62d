/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexed 4-ary min-heap of small integers (items) with a 64-bit rank, FIFO on
 * ties: entry e goes before f iff (e.rank, e.tie) < (f.rank, f.tie).
 *
 *   entries[0] is the least; children of i: 4i+1 .. 4i+4; where[item] = its i
 *
 * Four children share one cache line, and a rank sits in its entry, so a sift
 * touches no flow. All operations O(log n); no allocation after init.
 */
#ifndef MFS_CORE_HEAP_H
#define MFS_CORE_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#define MFS_HEAP_ITEM_BITS 24
#define MFS_HEAP_NOWHERE UINT32_MAX

struct mfs_heap_entry {
    uint64_t rank;
    uint64_t tie; /* sequence number << MFS_HEAP_ITEM_BITS | item */
};

struct mfs_heap {
    struct mfs_heap_entry *entries; /* capacity of them; entries[1] begins a cache line */
    uint32_t *where;                /* by item; MFS_HEAP_NOWHERE: not in the heap */
    uint32_t count;
    uint32_t capacity;
};

int mfs_heap_init(struct mfs_heap *heap, uint32_t capacity); /* -ENOMEM */
void mfs_heap_free(struct mfs_heap *heap);

/* Insert, or move: sequence keeps its value from the first insertion. */
void mfs_heap_set(struct mfs_heap *heap, uint32_t item, uint64_t rank, uint64_t sequence);
void mfs_heap_remove(struct mfs_heap *heap, uint32_t item); /* nothing if not in it */
/* After ranks in entries[] were changed in place. O(n). */
void mfs_heap_rebuild(struct mfs_heap *heap);

static inline uint32_t mfs_heap_item(const struct mfs_heap_entry *entry)
{
    return (uint32_t)(entry->tie & ((1u << MFS_HEAP_ITEM_BITS) - 1));
}

#endif
