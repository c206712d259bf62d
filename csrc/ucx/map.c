/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open addressing. A removed cell keeps its key, so that probing goes on past it,
 * and is taken again for the same key (allocators hand the same addresses out again
 * and again) or, once half of the cells have been used, for any key.
 */
#include "ucx/map.h"

#include <errno.h>

void *mfs_ucx_map_find_on(struct mfs_ucx_map *map, const void *key)
{
    uint32_t at = mfs_ucx_map_home(key);

    for (uint32_t i = 0; i < MFS_UCX_MAP_CELLS; i++, at++) {
        const void *found = mfs_see(&map->cells[at % MFS_UCX_MAP_CELLS].key);

        if (found == key)
            return mfs_see(&map->cells[at % MFS_UCX_MAP_CELLS].value);
        if (!found)
            return NULL;
    }
    return NULL;
}

int mfs_ucx_map_add(struct mfs_ucx_map *map, const void *key, void *value)
{
    uint32_t at = mfs_ucx_map_home(key), spare = MFS_UCX_MAP_CELLS;
    int error = -ENOSPC;

    pthread_mutex_lock(&map->mutex);
    for (uint32_t i = 0; i < MFS_UCX_MAP_CELLS; i++, at++) {
        uint32_t cell = at % MFS_UCX_MAP_CELLS;
        const void *found = mfs_get(&map->cells[cell].key);

        if (found == key || !found) {
            if (!found && spare < MFS_UCX_MAP_CELLS && map->count >= MFS_UCX_MAP_CELLS / 2)
                cell = spare;
            else if (!found && ++map->count > MFS_UCX_MAP_CELLS - 1)
                break;
            mfs_publish(&map->cells[cell].value, value);
            mfs_publish(&map->cells[cell].key, key);
            error = 0;
            break;
        }
        if (spare == MFS_UCX_MAP_CELLS && !mfs_get(&map->cells[cell].value))
            spare = cell;
    }
    pthread_mutex_unlock(&map->mutex);
    return error;
}

void mfs_ucx_map_remove(struct mfs_ucx_map *map, const void *key)
{
    uint32_t at = mfs_ucx_map_home(key);

    pthread_mutex_lock(&map->mutex);
    for (uint32_t i = 0; i < MFS_UCX_MAP_CELLS; i++, at++) {
        const void *found = mfs_get(&map->cells[at % MFS_UCX_MAP_CELLS].key);

        if (found == key)
            mfs_publish(&map->cells[at % MFS_UCX_MAP_CELLS].value, NULL);
        if (found == key || !found)
            break;
    }
    pthread_mutex_unlock(&map->mutex);
}
