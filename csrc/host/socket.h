/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP sockets that UCX makes in this process, and the DSCP that they send with. UCX tells
 * nobody of its sockets, but sets each of them up by a function that it exports, where we stand
 * in the way and note it here (ucx/exports_socket.c, nccl/sockets.c). Nor does it tell which of
 * them carries an endpoint's bytes: that is seen by how much each has been given.
 *
 *   look --> a put is posted --> the one that was given as many bytes is the endpoint's
 *
 * Two have a say in a socket's class: who puts by it (host/marks.h), and, for what others read of
 * us by the same connection, who knows how urgent that is (host/answers.h):
 *
 *   own      answers    the socket has
 *   1        none       1, that of its own puts
 *   none     0          0
 *   2        0          0: a stream arrives in one order, so what is urgent waits for all of it
 *   none     none       MFS_CLASSES_ANSWERS, or the last one
 *
 * THREADS: any, without a lock; also a signal handler, where UCX may accept connections. A socket
 * is known by its cookie, which is never used twice, so that one that was closed is not mistaken
 * for another one of the same number.
 */
#ifndef MFS_HOST_SOCKET_H
#define MFS_HOST_SOCKET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/types.h"

#define MFS_SOCKETS_MAX 256u /* of a process; what is more is not marked */

struct mfs_socket {
    uint64_t cookie; /* 0: none */
    int fd;
    uint32_t place;
};

/* What each has been given to send, ever. */
struct mfs_sockets {
    unsigned count;
    struct {
        struct mfs_socket socket;
        uint64_t bytes;
    } at[MFS_SOCKETS_MAX];
};

/* UCX has set it up. -errno: it is not noted: no TCP socket, no room, or the kernel tells too
 * little. */
MFS_API int mfs_socket_note(int fd, struct mfs_socket *socket);
MFS_API bool mfs_socket_any(void);
/* Places that have ever been used. */
MFS_API unsigned mfs_socket_places(void);
/* That is noted at this place; cookie 0: none is. */
struct mfs_socket mfs_socket_at(unsigned place);
/* The descriptor still is that one. */
bool mfs_socket_is_open(const struct mfs_socket *socket);
/* Both ends of the one at this place. 0; -ENOTCONN: not yet, perhaps; -ENOENT: it was closed. */
MFS_API int mfs_socket_ends(unsigned place, struct sockaddr_storage *own,
                            struct sockaddr_storage *peer);

MFS_API void mfs_sockets_look(struct mfs_sockets *sockets);
/* The only one that has been given at least so many bytes since; cookie 0: none, or several. */
MFS_API struct mfs_socket mfs_sockets_grown(const struct mfs_sockets *before, uint64_t bytes);

/*
 * Its class from now on, also of what it has been given and has not sent: number + 1; 0: none.
 * alone: answers have no say in it. 0 or -errno: it is not marked, and never will be; -ENOENT: it
 * was closed.
 */
int mfs_socket_own(const struct mfs_socket *socket, unsigned class_and_1, bool alone);
int mfs_socket_answers(const struct mfs_socket *socket, unsigned class_and_1);
/* That of sockets by which nobody has anything under way. */
int mfs_socket_rest(const struct mfs_socket *socket);

#endif
