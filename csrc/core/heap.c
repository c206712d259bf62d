/* SPDX-License-Identifier: Apache-2.0 */
#include "core/heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARITY 4u
#define LINE 64u
#define LEAD (LINE / sizeof(struct mfs_heap_entry) - 1) /* entries in front of the first */

static inline bool before(const struct mfs_heap_entry *a, const struct mfs_heap_entry *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->tie < b->tie);
}

static inline void put(struct mfs_heap *heap, uint32_t at, struct mfs_heap_entry entry)
{
    heap->entries[at] = entry;
    heap->where[mfs_heap_item(&entry)] = at;
}

static void sift_up(struct mfs_heap *heap, uint32_t at, struct mfs_heap_entry entry)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / ARITY;

        if (!before(&entry, &heap->entries[parent]))
            break;
        put(heap, at, heap->entries[parent]);
        at = parent;
    }
    put(heap, at, entry);
}

/* Of the children that begin at `first`, which is one: two pairs, then their winners. */
static inline uint32_t least_child(const struct mfs_heap_entry *entries, uint32_t count,
                                   uint32_t first)
{
    const struct mfs_heap_entry *child = &entries[first], *left, *right;
    uint32_t best = first;

    if (first + ARITY <= count) {
        left = child + before(child + 1, child);
        right = child + 2 + before(child + 3, child + 2);
        return (uint32_t)((before(right, left) ? right : left) - entries);
    }
    while (++first < count) {
        if (before(&entries[first], &entries[best]))
            best = first;
    }
    return best;
}

static void sift_down(struct mfs_heap *heap, uint32_t at, struct mfs_heap_entry entry)
{
    while (at * ARITY + 1 < heap->count) {
        const uint32_t best = least_child(heap->entries, heap->count, at * ARITY + 1);

        if (!before(&heap->entries[best], &entry))
            break;
        put(heap, at, heap->entries[best]);
        at = best;
    }
    put(heap, at, entry);
}

/*
 * The entry is the last one, and belongs near the end again: so the hole sinks to the end, where
 * nobody asks on the way whether the entry fits, and rises from there the little that it has to.
 */
static void fill_hole(struct mfs_heap *heap, uint32_t at, struct mfs_heap_entry entry)
{
    struct mfs_heap_entry *const entries = heap->entries;
    uint32_t *const where = heap->where;
    const uint32_t count = heap->count;

    while (at * ARITY + 1 < count) {
        const uint32_t best = least_child(entries, count, at * ARITY + 1);

        entries[at] = entries[best];
        where[mfs_heap_item(&entries[at])] = at;
        at = best;
    }
    sift_up(heap, at, entry);
}

int mfs_heap_init(struct mfs_heap *heap, uint32_t capacity)
{
    *heap = (struct mfs_heap){0};
    return mfs_heap_reserve(heap, capacity);
}

void mfs_heap_init_sharing(struct mfs_heap *heap, uint32_t *where)
{
    *heap = (struct mfs_heap){.where = where, .shares = true};
}

static int where_reserve(struct mfs_heap *heap, uint32_t capacity)
{
    uint32_t *where = realloc(heap->where, sizeof(*where) * capacity);

    if (!where)
        return -ENOMEM;
    memset(where + heap->capacity, 0xff, sizeof(*where) * (capacity - heap->capacity));
    heap->where = where;
    return 0;
}

int mfs_heap_reserve(struct mfs_heap *heap, uint32_t capacity)
{
    const size_t bytes = (LEAD + (size_t)capacity) * sizeof(*heap->entries);
    struct mfs_heap_entry *memory;

    if (capacity <= heap->capacity)
        return 0;
    memory = aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE);
    if (!memory)
        return -ENOMEM;
    if (!heap->shares && where_reserve(heap, capacity) != 0) {
        free(memory);
        return -ENOMEM;
    }
    if (heap->count > 0)
        memcpy(memory + LEAD, heap->entries, sizeof(*memory) * heap->count);
    if (heap->entries)
        free(heap->entries - LEAD);
    heap->entries = memory + LEAD;
    heap->capacity = capacity;
    return 0;
}

void mfs_heap_free(struct mfs_heap *heap)
{
    if (heap->entries)
        free(heap->entries - LEAD);
    if (!heap->shares)
        free(heap->where);
    *heap = (struct mfs_heap){0};
}

void mfs_heap_set(struct mfs_heap *heap, uint32_t item, uint64_t rank, uint64_t sequence)
{
    const uint32_t at = heap->where[item];
    const struct mfs_heap_entry entry = {rank, mfs_heap_tie(sequence, item)};

    if (at == MFS_HEAP_NOWHERE)
        sift_up(heap, heap->count++, entry);
    else if (before(&entry, &heap->entries[at]))
        sift_up(heap, at, entry);
    else if (before(&heap->entries[at], &entry))
        sift_down(heap, at, entry);
}

void mfs_heap_remove(struct mfs_heap *heap, uint32_t item)
{
    uint32_t at = heap->where[item];
    struct mfs_heap_entry last;

    if (at == MFS_HEAP_NOWHERE)
        return;
    heap->where[item] = MFS_HEAP_NOWHERE;
    last = heap->entries[--heap->count];
    if (at != heap->count)
        fill_hole(heap, at, last);
}

void mfs_heap_rebuild(struct mfs_heap *heap)
{
    uint32_t at;

    if (heap->count < 2)
        return;
    for (at = (heap->count - 2) / ARITY + 1; at-- > 0;)
        sift_down(heap, at, heap->entries[at]);
}
