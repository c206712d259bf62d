/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Indexed 4-ary min-heap of small integers (items) with a 64-bit rank, FIFO on
 * ties: entry e goes before f iff (e.rank, e.tie) < (f.rank, f.tie).
 *
 *   entries[0] is the least; children of i: 4i+1 .. 4i+4; where[item] = its i
 *
 * Four children share one cache line, and a rank sits in its entry, so a sift
 * touches no flow. All operations O(log n). Only mfs_heap_reserve() allocates.
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
    bool shares; /* `where` is another's: an item is in one of several heaps at a time */
};

/* For items 0..capacity-1. -ENOMEM. */
int mfs_heap_init(struct mfs_heap *heap, uint32_t capacity);
/* Empty, with no room yet; `where` is the owner's, and all MFS_HEAP_NOWHERE. */
void mfs_heap_init_sharing(struct mfs_heap *heap, uint32_t *where);
/* Room for so many entries (and, unless `where` is shared, for as many items). -ENOMEM: nothing
 * has changed. */
int mfs_heap_reserve(struct mfs_heap *heap, uint32_t capacity);
void mfs_heap_free(struct mfs_heap *heap);

/* Insert, or move. There is room for it. */
void mfs_heap_set(struct mfs_heap *heap, uint32_t item, uint64_t rank, uint64_t sequence);
void mfs_heap_remove(struct mfs_heap *heap, uint32_t item); /* nothing if not in it */
/* After ranks in entries[] were changed in place. O(n). */
void mfs_heap_rebuild(struct mfs_heap *heap);

static inline uint64_t mfs_heap_tie(uint64_t sequence, uint32_t item)
{
    return sequence << MFS_HEAP_ITEM_BITS | item;
}

static inline uint64_t mfs_heap_sequence(const struct mfs_heap_entry *entry)
{
    return entry->tie >> MFS_HEAP_ITEM_BITS;
}

static inline uint32_t mfs_heap_item(const struct mfs_heap_entry *entry)
{
    return (uint32_t)(entry->tie & ((1u << MFS_HEAP_ITEM_BITS) - 1));
}

#endif
