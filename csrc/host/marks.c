/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mark is changed by a system call, with the worker's mutex held: where the class of what is
 * under way changes, and nowhere else. Nothing here can fail the traffic: what cannot be marked
 * goes on as UCX sends it, which is said once and counted with the warnings of the host.
 */
#include "host/marks.h"

#include <errno.h>

#include "core/atomic.h"
#include "host/log.h"

#define LOOKS_MAX 200 /* of an endpoint that connects, or whose bytes leave by several sockets */

void mfs_marks_refused(void)
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
static void tell(struct mfs_marks *marks)
{
    int error;

    if (marks->socket.cookie == 0 || marks->given_up)
        return;
    error = mfs_socket_own(&marks->socket, marks->class_and_1, marks->keeps);
    marks->given_up = error != 0;
    if (error && error != -ENOENT) /* else the connection has ended */
        mfs_marks_refused();
}

static void want(struct mfs_marks *marks, unsigned class_and_1)
{
    if (marks->class_and_1 == class_and_1)
        return;
    marks->class_and_1 = (uint8_t)class_and_1;
    tell(marks);
}

static void follow(struct mfs_marks *marks)
{
    const unsigned count = mfs_classes_get()->count;
    unsigned klass = 0;

    while (klass < count && marks->under_way[klass] == 0)
        klass++;
    if (klass < count)
        want(marks, klass + 1);
    else if (!marks->keeps)
        want(marks, MFS_MARK_NONE);
}

uint8_t mfs_marks_begin(struct mfs_marks *marks, unsigned level)
{
    const unsigned klass = mfs_class_of(level, mfs_classes_get()->count);

    marks->under_way[klass]++;
    follow(marks);
    return (uint8_t)(klass + 1);
}

void mfs_marks_over(struct mfs_marks *marks, uint8_t carries)
{
    if (--marks->under_way[carries - 1] == 0)
        follow(marks);
}

void mfs_marks_say(struct mfs_marks *marks)
{
    if (marks->class_and_1 == MFS_MARK_NONE)
        want(marks, 1);
}

void mfs_marks_rest(struct mfs_marks *marks)
{
    want(marks, MFS_MARK_NONE);
}

/* Twice in a row, since another thread may have used another socket meanwhile. */
void mfs_marks_saw(struct mfs_marks *marks, struct mfs_socket grown)
{
    if (marks->socket.cookie != 0 || marks->given_up)
        return; /* another thread has seen it */
    if (grown.cookie != 0 && grown.cookie == marks->guess.cookie) {
        marks->socket = grown;
        tell(marks);
        return;
    }
    if (grown.cookie != 0)
        marks->guess = grown;
    if (++marks->looks == LOOKS_MAX) {
        marks->given_up = true;
        not_found();
    }
}

static _Atomic bool expected;

void mfs_marks_expect(void)
{
    if (mfs_classes_get()->count > 0) /* it is read here, not in a signal handler */
        mfs_publish(&expected, true);
}

void mfs_marks_of_new_socket(int fd)
{
    const struct mfs_classes *own;
    struct mfs_socket socket;
    int error;

    if (!mfs_see(&expected))
        return;
    own = mfs_classes_get();
    error = mfs_socket_note(fd, &socket);
    if (error) {
        not_noted();
        return;
    }
    if (own->count == 1)
        error = mfs_socket_own(&socket, 1, true);
    else if (own->has_answers)
        error = mfs_socket_rest(&socket);
    if (error)
        mfs_marks_refused();
}
