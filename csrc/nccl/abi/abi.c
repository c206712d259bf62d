/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/abi/abi.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NCCL_WARN = 2, NCCL_INIT_NET = 0x11 };

static char trouble[PATH_MAX + 256];

static mfs_nccl_result_t init_fails(void **ctx, uint64_t comm_id, struct mfs_nccl_config *config,
                                    mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler)
{
    (void)comm_id;
    (void)config;
    (void)profiler;
    *ctx = NULL;
    if (logger)
        logger(NCCL_WARN, NCCL_INIT_NET, __FILE__, __LINE__, "NET/MFS : %s", trouble);
    else
        fprintf(stderr, "mfs: NCCL: %s\n", trouble);
    return MFS_NCCL_SYSTEM_ERROR;
}

static mfs_nccl_result_t no_devices(int *count)
{
    *count = 0;
    return MFS_NCCL_SYSTEM_ERROR;
}

static const struct mfs_nccl_table_v12 unusable = {
    .name = MFS_NCCL_NAME,
    .init = init_fails,
    .devices = no_devices,
};

const struct mfs_nccl_table_v12 *mfs_nccl_abi_open(void)
{
    const struct mfs_nccl_table_v12 *(*implementation)(const char *own_path);
    char own[PATH_MAX], path[PATH_MAX + 32], *slash;
    void *handle;
    Dl_info info;

    if (!dladdr((const void *)&mfs_nccl_abi_open, &info) || !info.dli_fname ||
        !realpath(info.dli_fname, own) || !(slash = strrchr(own, '/'))) {
        snprintf(trouble, sizeof(trouble), "cannot tell where libnccl-net-mfs.so lies");
        return &unusable;
    }
    snprintf(path, sizeof(path), "%.*s/libmfs_nccl.so", (int)(slash - own), own);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(trouble, sizeof(trouble), "install mfs-transport anew: %s", dlerror());
        return &unusable;
    }
    *(void **)&implementation = dlsym(handle, "mfs_nccl_implementation");
    if (!implementation) {
        snprintf(trouble, sizeof(trouble), "install mfs-transport anew: %s", dlerror());
        return &unusable;
    }
    return implementation(own);
}
