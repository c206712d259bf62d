/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/ucx.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "host/config.h"
#include "nccl/log.h"

static pthread_mutex_t ucx_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mfs_nccl_ucx ucx;
static bool ucx_tried, ucx_usable;

/* site-packages/libucx/lib/libucp.so.0, if we lie in site-packages/mfs_transport. */
static const char *beside(char *path, size_t size)
{
    char own[512], *end;
    Dl_info info;

    if (!dladdr((const void *)&beside, &info) || !info.dli_fname ||
        strlen(info.dli_fname) >= sizeof(own))
        return NULL;
    strcpy(own, info.dli_fname);
    end = strrchr(own, '/');
    if (!end)
        return NULL;
    *end = '\0';
    snprintf(path, size, "%s/../libucx/lib/libucp.so.0", own);
    return path;
}

static void *open_one(void)
{
    const char *named = mfs_config_get()->nccl_ucx;
    char path[600];
    void *handle = NULL;

    if (*named) {
        handle = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        if (!handle)
            mfs_nccl_warn("MFS_NCCL_UCX=%s cannot be loaded: %s", named, dlerror());
        return handle;
    }
    if (beside(path, sizeof(path)))
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        handle = dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        mfs_nccl_warn("no UCX: %s. Install libucx-cu12 (or the system's libucx0) or name a "
                      "libucp.so.0 with MFS_NCCL_UCX",
                      dlerror());
    return handle;
}

static bool load(void)
{
    void *handle = open_one();
    const char *lacks = NULL;
    Dl_info info;

    if (!handle)
        return false;
#define MFS_NCCL_UCX(type, name, parameters)                                                       \
    *(void **)&ucx.name = dlsym(handle, #name);                                                    \
    if (!ucx.name)                                                                                 \
        lacks = #name;
#define MFS_NCCL_UCX_OPTIONAL(type, name, parameters) *(void **)&ucx.name = dlsym(handle, #name);
#include "nccl/ucx.def"
#undef MFS_NCCL_UCX_OPTIONAL
#undef MFS_NCCL_UCX
    if (lacks) {
        mfs_nccl_warn("this UCX is too old: it has no %s", lacks);
        return false;
    }
    if (dladdr(*(void **)&ucx.ucp_init_version, &info) && info.dli_fname)
        snprintf(ucx.path, sizeof(ucx.path), "%s", info.dli_fname);
    return true;
}

const struct mfs_nccl_ucx *mfs_nccl_ucx_get(void)
{
    pthread_mutex_lock(&ucx_mutex);
    if (!ucx_tried) {
        ucx_tried = true;
        ucx_usable = load();
    }
    pthread_mutex_unlock(&ucx_mutex);
    return ucx_usable ? &ucx : NULL;
}
