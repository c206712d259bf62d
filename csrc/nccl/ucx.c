/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/ucx.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/config.h"
#include "nccl/log.h"
#include "nccl/sockets.h"
#include "nccl/ucx_find.h"

#ifndef SYSFS /* a test has one of its own */
#define SYSFS "/sys"
#endif

static pthread_mutex_t ucx_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mfs_nccl_ucx ucx;
static bool ucx_tried, ucx_usable;

/* The libucx package's: beside ours in site-packages, or where it was when a checkout was built. */
static const char *packaged(char *path, size_t size)
{
    Dl_info info;
    const char *end;

    if (dladdr((const void *)&packaged, &info) && info.dli_fname &&
        (end = strrchr(info.dli_fname, '/'))) {
        snprintf(path, size, "%.*s/../libucx/lib/libucp.so.0", (int)(end - info.dli_fname),
                 info.dli_fname);
        if (access(path, R_OK) == 0)
            return path;
    }
#ifdef MFS_LIBUCP
    if (access(MFS_LIBUCP, R_OK) == 0)
        return MFS_LIBUCP;
#endif
    return NULL;
}

static const char *path_of(void *handle, char *path, size_t size)
{
    const void *function = dlsym(handle, "ucp_get_version");
    Dl_info info;

    snprintf(path, size, "%s",
             function && dladdr(function, &info) && info.dli_fname ? info.dli_fname : "");
    return path;
}

static void *open_one(void)
{
    const char *named = mfs_config_get()->nccl_ucx, *package;
    char path[PATH_MAX], device[64];
    void *handle = NULL;

    if (*named) {
        handle = dlopen(named, RTLD_NOW | RTLD_LOCAL);
        if (!handle)
            mfs_nccl_warn("MFS_NCCL_UCX=%s cannot be loaded: %s", named, dlerror());
        return handle;
    }
    package = packaged(path, sizeof(path));
    if (package && mfs_nccl_rdma_device(SYSFS, device, sizeof(device)) &&
        !mfs_nccl_ucx_has_verbs(package)) {
        char other[PATH_MAX];

        handle = dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
        if (handle && !mfs_nccl_ucx_has_verbs(path_of(handle, other, sizeof(other)))) {
            dlclose(handle);
            handle = NULL;
        }
    }
    if (!handle && package)
        handle = dlopen(package, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        handle = dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        mfs_nccl_warn("no UCX: %s. Install libucx-cu12 (or the system's libucx0) or name a "
                      "libucp.so.0 with MFS_NCCL_UCX",
                      dlerror());
    return handle;
}

/* NCCL would go over TCP without a word. */
static void warn_of_verbs(void)
{
    char device[64];

    if (mfs_nccl_rdma_device(SYSFS, device, sizeof(device)) && !mfs_nccl_ucx_has_verbs(ucx.path) &&
        !getenv("UCX_TLS"))
        mfs_nccl_warn("this host has RDMA devices (%s), and UCX %s (%s) was built without verbs: "
                      "all goes over TCP. Install the system's UCX, or name one with MFS_NCCL_UCX",
                      device, ucx.ucp_get_version_string(), ucx.path);
}

static bool load(void)
{
    unsigned major = 0, minor = 0, release = 0;
    const char *lacks = NULL;
    void *handle;

    mfs_nccl_sockets_see();
    handle = open_one();
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
    (void)path_of(handle, ucx.path, sizeof(ucx.path));
    ucx.ucp_get_version(&major, &minor, &release);
    ucx.version = MFS_NCCL_UCX_VERSION(major, minor);
    if (ucx.version < MFS_NCCL_UCX_OLDEST) {
        mfs_nccl_warn("UCX %s (%s) is too old: 1.12 or newer is needed; MFS_NCCL_UCX names another",
                      ucx.ucp_get_version_string(), ucx.path);
        return false;
    }
    warn_of_verbs();
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
