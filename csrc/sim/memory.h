/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of one run: blocks that grow, counted, and freed all at once.
 *
 * A run has no place to go on from when memory ends, so an allocation that fails jumps
 * to `failed` (mfs_sim_run sets it), which frees the run and returns -ENOMEM. One thread.
 */
#ifndef MFS_SIM_MEMORY_H
#define MFS_SIM_MEMORY_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

struct mfs_block;

struct mfs_memory {
    struct mfs_block *blocks; /* all of them, doubly linked */
    size_t bytes, peak_bytes;
    jmp_buf failed;
};

/* A zeroed block of count * size bytes; never NULL. */
void *mfs_memory_new(struct mfs_memory *memory, size_t count, size_t size);
/* The block with room for count entries, zeroes behind what it had; NULL: a new one. */
void *mfs_memory_grow(struct mfs_memory *memory, void *block, size_t count, size_t size);
void mfs_memory_free(struct mfs_memory *memory, void *block); /* NULL: nothing */
void mfs_memory_free_all(struct mfs_memory *memory);

/* `array` of *capacity entries gets room for `count`: doubles. */
#define MFS_ROOM(memory, array, capacity, wanted)                                                  \
    do {                                                                                           \
        if ((wanted) > (capacity)) {                                                               \
            (capacity) = 2 * (wanted) > 8 ? 2 * (wanted) : 8;                                      \
            (array) = mfs_memory_grow(memory, array, capacity, sizeof(*(array)));                  \
        }                                                                                          \
    } while (0)

#endif
