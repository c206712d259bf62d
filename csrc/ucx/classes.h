/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic class of an endpoint's TCP socket, where MFS_CLASSES has several: that of the most
 * urgent chunk under way.
 *
 *   class 0: 0 chunks      class 1: 2 chunks      class 2: 5 chunks   -->  the socket has class 1
 *
 * A stream arrives in one order, so what is urgent comes no sooner than what its endpoint has sent
 * before it: all of that has its class. It falls back when the last byte of the urgent chunk has
 * arrived, not when it has been handed to the socket. With nothing under way it is the last class.
 *
 * Puts alone: the bytes of a get are sent by the process that has the memory.
 */
#ifndef MFS_UCX_CLASSES_H
#define MFS_UCX_CLASSES_H

#include "host/classes.h"
#include "ucx/socket.h"

#define MFS_UCX_CLASS_NONE 0u /* of a chunk: it has none; else its class + 1 */

/* Of an endpoint; the worker's mutex guards it. All zero at first. */
struct mfs_ucx_classes {
    uint32_t under_way[MFS_CLASSES_MAX]; /* chunks of each class */
    struct mfs_ucx_socket socket; /* cookie 0: not known yet */
    struct mfs_ucx_socket guess; /* which it seemed to be at the last look */
    uint8_t looks; /* that have not found it */
    uint8_t dscp; /* that the socket has */
    bool given_up; /* it cannot be found, or cannot be marked */
};

/* Several classes, so that each chunk has one. */
static inline bool mfs_ucx_classes_are_on(void)
{
    return mfs_classes_get()->count > 1;
}

/* A chunk of that level is about to be posted. What it is to carry until it is over. */
uint8_t mfs_ucx_class_begin(struct mfs_ucx_classes *classes, unsigned level);
void mfs_ucx_class_over(struct mfs_ucx_classes *classes, uint8_t carries);

/* The socket is wanted: look at all of them, before a chunk is posted and after it. */
static inline bool mfs_ucx_class_wants_socket(const struct mfs_ucx_classes *classes)
{
    return classes->socket.cookie == 0 && !classes->given_up && mfs_ucx_socket_any();
}

/* grown: mfs_ucx_sockets_grown() after that. */
void mfs_ucx_class_saw(struct mfs_ucx_classes *classes, struct mfs_ucx_socket grown);

/* UCX has set this socket up: note it, or mark it for good where there is one class. */
void mfs_ucx_class_of_new_socket(int fd);

#endif
