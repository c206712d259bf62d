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

void *mfs_ucx_map_find(struct mfs_ucx_map *map, const void *key);
int mfs_ucx_map_add(struct mfs_ucx_map *map, const void *key, void *value); /* -ENOSPC */
void mfs_ucx_map_remove(struct mfs_ucx_map *map, const void *key);

#endif
