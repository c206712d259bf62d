/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A UCX inside one process: what is sent to a worker lies in its queue until it makes progress.
 * All on one thread, and the same at every run: what is complete at once and what later is drawn
 * from a seed.
 *
 *   put   into memory that is registered, or the program ends: nothing else may reach UCX
 *   keys, addresses   known by their magic, or the program ends
 *
 * The program that loads it may change an active message when it is delivered.
 */
#ifndef MFS_TESTS_NCCL_LOOP_UCP_H
#define MFS_TESTS_NCCL_LOOP_UCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOOP_HEADER_MAX 128

struct loop_message {
    unsigned id;
    char header[LOOP_HEADER_MAX];
    size_t header_bytes;
    size_t bytes;
    char *data; /* with room for one byte more */
};

struct loop_hooks {
    uint64_t random; /* state; 0: everything is complete at once */
    /* Called with each message before its handler; NULL: none. */
    void (*change)(struct loop_message *message);
    /* Asked before each call that may fail, and at the end of what was posted; NULL: none does. */
    bool (*fails)(const char *call);
    unsigned minor; /* of version 1.x; 0: a new one */
    bool rdma;   /* say that there is an RDMA device */
    bool hold;   /* what is posted is not complete before it is told otherwise */
    bool silent; /* nothing ends any more, unless its endpoint is closed by force */
    char log[256]; /* "flush close close!" as they come; emptied by the program */
};

/* Everything of it has been closed: what was kept for late requests goes. */
void loop_reset(void);

#endif
