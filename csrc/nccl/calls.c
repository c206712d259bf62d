/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of the table that are the same on both sides of a connection. */
#include "nccl/comm.h"
#include "nccl/log.h"

mfs_nccl_result_t mfs_nccl_reg(void *pointer, void *data, size_t size, int type, void **mhandle)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(pointer, -1, "regMr");
    struct mfs_nccl_mr *mr = NULL;
    mfs_nccl_result_t result;

    *mhandle = NULL;
    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    if (type != MFS_NCCL_PTR_HOST && !(type == MFS_NCCL_PTR_CUDA && comm->engine->device->cuda)) {
        mfs_nccl_warn("regMr: UCX at hand cannot reach memory of type %d", type);
        return MFS_NCCL_INTERNAL_ERROR;
    }
    result = mfs_nccl_mr_make(comm->engine->device, data, size, type, &mr);
    *mhandle = mr;
    return result;
}

/* UCX finds the dma-buf of CUDA memory by itself, by the address, where the NIC can use it. */
mfs_nccl_result_t mfs_nccl_reg_dmabuf(void *comm, void *data, size_t size, int type,
                                      uint64_t offset, int fd, void **mhandle)
{
    (void)offset;
    (void)fd;
    return mfs_nccl_reg(comm, data, size, type, mhandle);
}

mfs_nccl_result_t mfs_nccl_dereg(void *pointer, void *mhandle)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(pointer, -1, "deregMr");
    struct mfs_nccl_mr *mr = mhandle;
    bool in_use_still;

    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    if (!mr)
        return MFS_NCCL_OK;
    mfs_nccl_lock_take(&comm->engine->lock);
    if (mr->users > 0)
        mfs_nccl_comm_quiesce(comm, mr);
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX && mr->users > 0; i++) {
        if (comm->engine->comms[i] && comm->engine->comms[i] != comm)
            mfs_nccl_comm_quiesce(comm->engine->comms[i], mr);
    }
    in_use_still = mr->users > 0;
    mfs_nccl_lock_give(&comm->engine->lock);
    if (in_use_still) /* UCX and requests point to it, and will for ever */
        mfs_nccl_warn(
            "deregMr: UCX did not give back operations on [%p, +%zu); some memory is lost",
            mr->data, mr->size);
    else
        mfs_nccl_mr_free(mr);
    return MFS_NCCL_OK;
}

mfs_nccl_result_t mfs_nccl_test(void *pointer, int *done, int *sizes)
{
    struct mfs_nccl_request *request = pointer;
    struct mfs_nccl_engine *engine;
    uint32_t state;

    *done = 0;
    if (!request || !request->comm || request->comm->magic != MFS_NCCL_COMM_MAGIC) {
        mfs_nccl_warn("test: %p is no request of ours", pointer);
        return MFS_NCCL_INTERNAL_ERROR;
    }
    engine = request->comm->engine;
    state = mfs_see(&request->state);
    if (state != MFS_NCCL_DONE && mfs_nccl_lock_try(&engine->lock)) {
        mfs_nccl_engine_progress(engine);
        mfs_nccl_lock_give(&engine->lock);
        state = mfs_see(&request->state);
    }
    if (state == MFS_NCCL_FREE) {
        mfs_nccl_warn("test: the request is over, or none");
        return MFS_NCCL_INTERNAL_ERROR;
    }
    if (state != MFS_NCCL_DONE)
        return MFS_NCCL_OK;
    if (request->result != MFS_NCCL_OK)
        return request->result;
    if (sizes)
        *sizes = (int)request->received;
    *done = 1;
    mfs_publish(&request->state, MFS_NCCL_FREE);
    return MFS_NCCL_OK;
}
