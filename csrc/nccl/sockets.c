/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which sockets are those of UCX: as in ucx/exports_socket.c, for a process without that shim. The
 * loader finds this function in front of UCX's own if this library is open for all (RTLD_GLOBAL)
 * before UCX is loaded. Where the shim is preloaded, its own comes before this one.
 */
#include "nccl/sockets.h"

#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <ucs/type/status.h>

#include "host/marks.h"
#include "nccl/device.h"
#include "nccl/log.h"

__attribute__((visibility("default"))) ucs_status_t ucs_socket_setopt(int fd, int level, int option,
                                                                      const void *value,
                                                                      socklen_t size);

ucs_status_t ucs_socket_setopt(int fd, int level, int option, const void *value, socklen_t size)
{
    if (setsockopt(fd, level, option, value, size) != 0) {
        mfs_nccl_warn("UCX cannot set option %d of level %d of a socket: %m", option, level);
        return UCS_ERR_IO_ERROR;
    }
    if (level == IPPROTO_TCP && option == TCP_NODELAY)
        mfs_marks_of_new_socket(fd);
    return UCS_OK;
}

void mfs_nccl_sockets_see(void)
{
    Dl_info info;

    if (mfs_classes_get()->count == 0 || !mfs_nccl_enabled())
        return;
    mfs_marks_expect();
    if (!dladdr((const void *)&mfs_nccl_sockets_see, &info) || !info.dli_fname)
        return;
    (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}
