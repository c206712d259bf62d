/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered memory: a UCX handle and a packed key for each of the device's contexts. `id`
 * is never used twice, so that a peer may keep the keys it was sent. Immutable but for
 * `users`: the requests that refer to it, under the engine's lock.
 */
#ifndef MFS_NCCL_MEM_H
#define MFS_NCCL_MEM_H

#include "nccl/device.h"

struct mfs_nccl_mr {
    uint64_t id; /* > 0 */
    const struct mfs_nccl_device *device;
    char *data;
    size_t size;
    int type; /* MFS_NCCL_PTR_HOST or _CUDA */
    uint32_t users;
    ucp_mem_h memh[MFS_NCCL_CLASSES_MAX];
    void *key[MFS_NCCL_CLASSES_MAX];
    size_t key_bytes[MFS_NCCL_CLASSES_MAX];
};

mfs_nccl_result_t mfs_nccl_mr_make(const struct mfs_nccl_device *device, void *data, size_t size,
                                   int type, struct mfs_nccl_mr **mr);
void mfs_nccl_mr_free(struct mfs_nccl_mr *mr);
/* Does [data, data + size) lie inside? */
static inline bool mfs_nccl_mr_holds(const struct mfs_nccl_mr *mr, const void *data, size_t size)
{
    const uintptr_t from = (uintptr_t)data, base = (uintptr_t)mr->data;

    return from >= base && from - base <= mr->size && size <= mr->size - (from - base);
}

#endif
