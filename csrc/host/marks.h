/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic class of an endpoint's TCP socket, where MFS_CLASSES has several: that of the most
 * urgent chunk under way.
 *
 *   class 0: 0 chunks      class 1: 2 chunks      class 2: 5 chunks   -->  the socket has class 1
 *
 * A stream arrives in one order, so what is urgent comes no sooner than what its endpoint has sent
 * before it: all of that has its class. It falls back when the last byte of the urgent chunk has
 * arrived, not when it has been handed to the socket. With nothing under way its puts want none.
 *
 * The NCCL plug-in's endpoints keep the class of what was under way last instead: its messages are
 * over when the socket has them, and nothing else uses its connections.
 *
 * Puts alone: the bytes of a get are sent by the process that has the memory (host/answers.h).
 */
#ifndef MFS_HOST_MARKS_H
#define MFS_HOST_MARKS_H

#include "host/classes.h"
#include "host/socket.h"

#define MFS_MARK_NONE 0u /* of a chunk: it has no class; else its class + 1 */

/* Of an endpoint; who posts for it guards it. All zero at first. */
struct mfs_marks {
    uint32_t under_way[MFS_CLASSES_MAX]; /* chunks of each class */
    struct mfs_socket socket; /* cookie 0: not known yet */
    struct mfs_socket guess; /* which it seemed to be at the last look */
    uint8_t looks; /* that have not found it */
    uint8_t class_and_1; /* that its puts want; MFS_MARK_NONE */
    bool keeps; /* the last one stays; by who made it */
    bool given_up; /* it cannot be found, or cannot be marked */
};

/* Several classes, so that each chunk has one. */
static inline bool mfs_marks_are_on(void)
{
    return mfs_classes_get()->count > 1;
}

/* A chunk of that level is about to be posted. What it is to carry until it is over. */
MFS_API uint8_t mfs_marks_begin(struct mfs_marks *marks, unsigned level);
MFS_API void mfs_marks_over(struct mfs_marks *marks, uint8_t carries);
/* A message of a few bytes is sent that others wait for: the first class, unless there is one. */
MFS_API void mfs_marks_say(struct mfs_marks *marks);

/* What goes by it has no level any more. */
MFS_API void mfs_marks_rest(struct mfs_marks *marks);

/* The socket is wanted: look at all of them, before a chunk is posted and after it. */
static inline bool mfs_marks_want_socket(const struct mfs_marks *marks)
{
    return marks->socket.cookie == 0 && !marks->given_up && mfs_socket_any();
}

/* grown: mfs_sockets_grown() after that. */
MFS_API void mfs_marks_saw(struct mfs_marks *marks, struct mfs_socket grown);

/* Sockets that are set up from now on are noted, if there are classes. */
MFS_API void mfs_marks_expect(void);
/* UCX has set this socket up: note it, and mark it where all have one class from the first. Also in
 * a signal handler. */
MFS_API void mfs_marks_of_new_socket(int fd);
/* The system refuses: said once, and counted. */
void mfs_marks_refused(void);

#endif
