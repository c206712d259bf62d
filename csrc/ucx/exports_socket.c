/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one function of UCX's that is not of libucp: by it libuct sets up each TCP socket that it
 * makes or accepts. UCX has no setting for the DSCP of those (MFS_CLASSES), and names none of them;
 * nor does it say to which hosts they lead (contacts.h).
 *
 * It does what UCX's own does, which is one system call, and calls no other: it may run in a
 * signal handler of UCX's, where the loader must not be asked which copy of UCX this is.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "host/log.h"
#include "host/marks.h"
#include "ucx/contacts.h"
#include "ucx/shim.h"

ucs_status_t ucs_socket_setopt(int fd, int level, int option, const void *value, socklen_t size);

MFS_UCX_EXPORT ucs_status_t ucs_socket_setopt(int fd, int level, int option, const void *value,
                                              socklen_t size)
{
    if (setsockopt(fd, level, option, value, size) != 0) {
        mfs_log(MFS_LOG_WARN, "UCX cannot set option %d of level %d of a socket: %m", option,
                level);
        return UCS_ERR_IO_ERROR;
    }
    if (level == IPPROTO_TCP && option == TCP_NODELAY) {
        mfs_marks_of_new_socket(fd);
        mfs_ucx_contact_of_new_socket(fd);
    }
    return UCS_OK;
}
