/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for small things of one size that come and go all the time.
 *
 *   all:  | link | thing | thing | ... |  ->  | link | thing | ... |
 *   free: a thing -> a thing -> ...
 *
 * It grows by a slab when more of them are in use than ever before; what is given back is used
 * again. So nothing is allocated once a program has shown how much it has under way at a time.
 * The owner locks.
 */
#ifndef MFS_UCX_SLABS_H
#define MFS_UCX_SLABS_H

#include <stdlib.h>

#include "core/types.h"

#define MFS_UCX_SLAB_THINGS 64u

struct mfs_ucx_slabs {
    void *free; /* each begins with a pointer to the next */
    void *all;
};

static inline void mfs_ucx_slabs_put(struct mfs_ucx_slabs *slabs, void *thing)
{
    *(void **)thing = slabs->free;
    slabs->free = thing;
}

/* bytes: of each, always the same. NULL: no memory. Its content is whatever it was. */
static inline void *mfs_ucx_slabs_get(struct mfs_ucx_slabs *slabs, size_t bytes)
{
    void *thing = slabs->free;

    if (!MFS_LIKELY(thing)) {
        char *slab = malloc(sizeof(max_align_t) + MFS_UCX_SLAB_THINGS * bytes);

        if (!slab)
            return NULL;
        *(void **)(void *)slab = slabs->all;
        slabs->all = slab;
        for (unsigned i = 0; i < MFS_UCX_SLAB_THINGS; i++)
            mfs_ucx_slabs_put(slabs, slab + sizeof(max_align_t) + i * bytes);
        thing = slabs->free;
    }
    slabs->free = *(void **)thing;
    return thing;
}

/* All that was ever handed out is gone. */
static inline void mfs_ucx_slabs_free(struct mfs_ucx_slabs *slabs)
{
    while (slabs->all) {
        void *slab = slabs->all;

        slabs->all = *(void **)slab;
        free(slab);
    }
    slabs->free = NULL;
}

#endif
