/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/mem.h"

#include <stdlib.h>

#include "core/atomic.h"
#include "nccl/log.h"

static _Atomic uint64_t last_id;

static ucs_status_t map_one(struct mfs_nccl_mr *mr, unsigned klass)
{
    const struct mfs_nccl_ucx *ucx = mfs_nccl_ucx_get();
    const ucp_mem_map_params_t params = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
        .address = mr->data,
        .length = mr->size,
        .memory_type = mr->type == MFS_NCCL_PTR_CUDA ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST,
    };
    ucp_context_h context = mr->device->contexts[klass];
    ucs_status_t status = ucx->ucp_mem_map(context, &params, &mr->memh[klass]);

    if (status != UCS_OK) {
        mr->memh[klass] = NULL;
        return status;
    }
    status = ucx->ucp_rkey_pack(context, mr->memh[klass], &mr->key[klass], &mr->key_bytes[klass]);
    if (status != UCS_OK)
        mr->key[klass] = NULL;
    return status;
}

mfs_nccl_result_t mfs_nccl_mr_make(const struct mfs_nccl_device *device, void *data, size_t size,
                                   int type, struct mfs_nccl_mr **out)
{
    struct mfs_nccl_mr *mr = calloc(1, sizeof(*mr));

    if (!mr)
        return MFS_NCCL_SYSTEM_ERROR;
    mr->id = mfs_add(&last_id, 1) + 1;
    mr->device = device;
    mr->data = data;
    mr->size = size;
    mr->type = type;
    for (unsigned klass = 0; size > 0 && klass < mfs_nccl_classes(NULL); klass++) {
        const ucs_status_t status = map_one(mr, klass);

        if (status != UCS_OK) {
            mfs_nccl_warn("regMr: UCX cannot register %zu bytes at %p (%s memory): %s", size, data,
                          type == MFS_NCCL_PTR_CUDA ? "CUDA" : "host",
                          mfs_nccl_ucx_get()->ucs_status_string(status));
            mfs_nccl_mr_free(mr);
            return MFS_NCCL_SYSTEM_ERROR;
        }
    }
    *out = mr;
    return MFS_NCCL_OK;
}

void mfs_nccl_mr_free(struct mfs_nccl_mr *mr)
{
    const struct mfs_nccl_ucx *ucx = mfs_nccl_ucx_get();

    if (!mr)
        return;
    for (unsigned klass = 0; klass < MFS_NCCL_CLASSES_MAX; klass++) {
        if (mr->key[klass])
            ucx->ucp_rkey_buffer_release(mr->key[klass]);
        if (mr->memh[klass])
            (void)ucx->ucp_mem_unmap(mr->device->contexts[klass], mr->memh[klass]);
    }
    free(mr);
}
