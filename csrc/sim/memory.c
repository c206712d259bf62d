/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/memory.h"

#include <stdlib.h>
#include <string.h>

struct mfs_block {
    _Alignas(16) struct mfs_block *next;
    struct mfs_block *prev;
    size_t bytes; /* behind this header */
};

static void count(struct mfs_memory *memory, size_t more, size_t less)
{
    memory->bytes += more - less;
    if (memory->bytes > memory->peak_bytes)
        memory->peak_bytes = memory->bytes;
}

void *mfs_memory_grow(struct mfs_memory *memory, void *block, size_t entries, size_t size)
{
    struct mfs_block *old = block ? (struct mfs_block *)block - 1 : NULL, *new;
    const size_t had = old ? old->bytes : 0;
    size_t bytes;

    if (__builtin_mul_overflow(entries, size, &bytes) || bytes > SIZE_MAX / 2)
        longjmp(memory->failed, 1);
    new = realloc(old, sizeof(*new) + bytes);
    if (!new)
        longjmp(memory->failed, 1); /* the old block is still in the list */
    if (!old) {
        new->prev = NULL;
        new->next = memory->blocks;
        memory->blocks = new;
    }
    if (new->next)
        new->next->prev = new;
    if (new->prev)
        new->prev->next = new;
    else
        memory->blocks = new;
    new->bytes = bytes;
    if (bytes > had)
        memset((char *)(new + 1) + had, 0, bytes - had);
    count(memory, bytes, had);
    return new + 1;
}

void *mfs_memory_new(struct mfs_memory *memory, size_t entries, size_t size)
{
    return mfs_memory_grow(memory, NULL, entries, size);
}

void mfs_memory_free(struct mfs_memory *memory, void *block)
{
    struct mfs_block *old = block ? (struct mfs_block *)block - 1 : NULL;

    if (!old)
        return;
    if (old->next)
        old->next->prev = old->prev;
    if (old->prev)
        old->prev->next = old->next;
    else
        memory->blocks = old->next;
    count(memory, 0, old->bytes);
    free(old);
}

void mfs_memory_free_all(struct mfs_memory *memory)
{
    while (memory->blocks)
        mfs_memory_free(memory, memory->blocks + 1);
}
