/* SPDX-License-Identifier: Apache-2.0 */
/* A net plug-in that moves nothing and is done at once: what is in front of it is all that
 * takes time (bench/nccl.py --gate). */
#include "nccl/net.h"

#define EXPORT __attribute__((visibility("default")))

static char thing[MFS_NCCL_HANDLE_BYTES];

static mfs_nccl_result_t init(void **ctx, uint64_t id, struct mfs_nccl_config *config,
                              mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler)
{
    (void)id;
    (void)config;
    (void)logger;
    (void)profiler;
    *ctx = thing;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t devices(int *count)
{
    *count = 1;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t listen_null(void *ctx, int dev, void *handle, void **comm)
{
    (void)ctx;
    (void)dev;
    (void)handle;
    *comm = thing;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t connect_null(void *ctx, int dev, void *handle, void **comm, void **device)
{
    (void)device;
    return listen_null(ctx, dev, handle, comm);
}

static mfs_nccl_result_t isend(void *comm, void *data, size_t size, int tag, void *mhandle,
                               void *phandle, void **request)
{
    (void)comm;
    (void)data;
    (void)size;
    (void)tag;
    (void)mhandle;
    (void)phandle;
    *request = thing;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t test(void *request, int *done, int *sizes)
{
    (void)request;
    (void)sizes;
    *done = 1;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t end(void *comm)
{
    (void)comm;
    return MFS_NCCL_OK;
}

EXPORT extern const struct mfs_nccl_table_v12 ncclNetPlugin_v12;

const struct mfs_nccl_table_v12 ncclNetPlugin_v12 = {
    .name = "Null",
    .init = init,
    .devices = devices,
    .listen = listen_null,
    .connect = connect_null,
    .isend = isend,
    .test = test,
    .close_send = end,
    .close_listen = end,
    .finalize = end,
};
