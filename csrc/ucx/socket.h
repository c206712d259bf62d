/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP sockets that UCX makes in this process, and the DSCP that they send with. UCX tells
 * nobody of its sockets, but sets each of them up by a function that it exports
 * (exports_socket.c), which notes it here. Nor does it tell which of them carries an endpoint's
 * bytes: that is seen by how much each has been given.
 *
 *   look --> a put is posted --> the one that was given as many bytes is the endpoint's
 *
 * THREADS: any, without a lock; also a signal handler, where UCX may accept connections. A socket
 * is known by its cookie, which is never used twice, so that one that was closed is not mistaken
 * for another one of the same number.
 */
#ifndef MFS_UCX_SOCKET_H
#define MFS_UCX_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#define MFS_UCX_SOCKETS_MAX 256u /* of a process; what is more is not marked */

struct mfs_ucx_socket {
    uint64_t cookie; /* 0: none */
    int fd;
};

/* What each has been given to send, ever. */
struct mfs_ucx_sockets {
    unsigned count;
    struct {
        struct mfs_ucx_socket socket;
        uint64_t bytes;
    } at[MFS_UCX_SOCKETS_MAX];
};

/* UCX has set it up. -errno: it is not noted: no TCP socket, no room, or the kernel tells too
 * little. */
int mfs_ucx_socket_note(int fd, struct mfs_ucx_socket *socket);
bool mfs_ucx_socket_any(void);
void mfs_ucx_sockets_look(struct mfs_ucx_sockets *sockets);
/* The only one that has been given at least so many bytes since; cookie 0: none, or several. */
struct mfs_ucx_socket mfs_ucx_sockets_grown(const struct mfs_ucx_sockets *before, uint64_t bytes);
/* All that it sends from now on, also what it has been given. 0 or -errno; -ENOENT: it was closed.
 */
int mfs_ucx_socket_mark(const struct mfs_ucx_socket *socket, unsigned dscp);

#endif
