/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mark is changed by a system call, with the worker's mutex held: where the class of what is
 * under way changes, and nowhere else. Nothing here can fail the traffic: what cannot be marked
 * goes on as UCX sends it, which is said once and counted with the warnings of the host.
 */
#include "ucx/classes.h"

#include <errno.h>

#include "host/log.h"

#define LOOKS_MAX 200 /* of an endpoint that connects, or whose bytes leave by several sockets */

static void not_marked(void)
{
    static _Atomic bool said;

    mfs_warn_once(&said, "the system does not let us set the DSCP of a socket: its traffic goes on "
                         "without the class of MFS_CLASSES");
}

static void not_noted(void)
{
    static _Atomic bool said;

    mfs_warn_once(&said, "a socket of UCX's is not known to us: its traffic goes on without the "
                         "class of MFS_CLASSES");
}

static void not_found(void)
{
    static _Atomic bool said;

    mfs_warn_once(&said, "an endpoint's bytes do not leave by one TCP socket: they go on without "
                         "the class of MFS_CLASSES");
}

/* The socket gets the class that it should have. */
static void follow(struct mfs_ucx_classes *classes)
{
    const struct mfs_classes *own = mfs_classes_get();
    unsigned klass = 0;
    int error;

    if (classes->socket.cookie == 0 || classes->given_up)
        return;
    while (klass + 1 < own->count && classes->under_way[klass] == 0)
        klass++;
    if (classes->dscp == own->dscp[klass])
        return;
    error = mfs_ucx_socket_mark(&classes->socket, own->dscp[klass]);
    classes->dscp = own->dscp[klass];
    classes->given_up = error != 0;
    if (error && error != -ENOENT) /* else the connection has ended */
        not_marked();
}

uint8_t mfs_ucx_class_begin(struct mfs_ucx_classes *classes, unsigned level)
{
    const unsigned klass = mfs_class_of(level, mfs_classes_get()->count);

    classes->under_way[klass]++;
    follow(classes);
    return (uint8_t)(klass + 1);
}

void mfs_ucx_class_over(struct mfs_ucx_classes *classes, uint8_t carries)
{
    unsigned left = 0;

    classes->under_way[carries - 1]--;
    for (unsigned klass = 0; klass < carries; klass++)
        left += classes->under_way[klass];
    if (left == 0) /* else the class is as it was */
        follow(classes);
}

/* Twice in a row, since another thread may have used another socket meanwhile. */
void mfs_ucx_class_saw(struct mfs_ucx_classes *classes, struct mfs_ucx_socket grown)
{
    if (classes->socket.cookie != 0 || classes->given_up)
        return; /* another thread has seen it */
    if (grown.cookie != 0 && grown.cookie == classes->guess.cookie) {
        classes->socket = grown;
        follow(classes);
        return;
    }
    if (grown.cookie != 0)
        classes->guess = grown;
    if (++classes->looks == LOOKS_MAX) {
        classes->given_up = true;
        not_found();
    }
}

void mfs_ucx_class_of_new_socket(int fd)
{
    const struct mfs_classes *own = mfs_classes_get();
    struct mfs_ucx_socket socket;
    int error;

    if (own->count == 0)
        return;
    error = mfs_ucx_socket_note(fd, &socket);
    if (error)
        not_noted();
    else if (own->count == 1 && mfs_ucx_socket_mark(&socket, own->dscp[0]) != 0)
        not_marked();
}
