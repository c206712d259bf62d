/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handle -> state, for handles of UCX (pointers). Readers take no lock; writers
 * hold the map's mutex. Fixed size: when it is full, add fails and that handle is
 * not scheduled for. Using a handle while another thread destroys it is the
 * caller's error, as it is in UCX.
 */
#ifndef MFS_UCX_MAP_H
#define MFS_UCX_MAP_H

#include <pthread.h>

#include "core/atomic.h"
#include "core/types.h"

#define MFS_UCX_MAP_CELLS 16384u /* a power of two */

struct mfs_ucx_map {
    pthread_mutex_t mutex;
    uint32_t count;
    struct {
        _Atomic(const void *) key; /* NULL: never used */
        _Atomic(void *) value;     /* NULL: removed */
    } cells[MFS_UCX_MAP_CELLS];
};

/* Not where it would be: perhaps further on. */
void *mfs_ucx_map_find_on(struct mfs_ucx_map *map, const void *key);

static inline uint32_t mfs_ucx_map_home(const void *key)
{
    return (uint32_t)((uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15) >> 40);
}

/* NULL: it is not there. */
static inline void *mfs_ucx_map_find(struct mfs_ucx_map *map, const void *key)
{
    const uint32_t at = mfs_ucx_map_home(key) % MFS_UCX_MAP_CELLS;

    if (MFS_LIKELY(mfs_see(&map->cells[at].key) == key))
        return mfs_see(&map->cells[at].value);
    return mfs_ucx_map_find_on(map, key);
}

int mfs_ucx_map_add(struct mfs_ucx_map *map, const void *key, void *value); /* -ENOSPC */
void mfs_ucx_map_remove(struct mfs_ucx_map *map, const void *key);

#endif
