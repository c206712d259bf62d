/* SPDX-License-Identifier: Apache-2.0 */
/* What the scenes of the harness share: messages that can be checked, and two ranks connected. */
#ifndef MFS_TESTS_NCCL_HARNESS_H
#define MFS_TESTS_NCCL_HARNESS_H

#include "nccl_world.h"

#define MAX_BYTES ((size_t)1 << 20)

extern uint64_t seed;
extern bool slow; /* fewer rounds: a sanitizer or an inner plug-in that delays is at work */

/* The bytes of message `number`; check ends the rank when one is wrong. */
void fill(char *data, uint64_t number, size_t bytes);
void check(struct world *world, const char *data, uint64_t number, size_t bytes);
/* The size of message n on a channel: the same on both sides. */
size_t size_of(uint64_t channel, uint64_t n);

/* Two ranks, a connection each way. */
struct both {
    void *listener, *send, *recv, *send_mr, *recv_mr;
    char *out, *in; /* of 4 * MAX_BYTES */
};

void both_open(struct world *world, struct both *both, int slot);
void both_close(struct world *world, struct both *both);
/* 32 messages each way. */
void many_at_one_time(struct world *world, struct both *both);

/* A thread that registers and connects to itself all the time, as another communicator's set-up
 * would. */
void service_begin(struct world *world);
void service_end(void);

/* The scenes: see harness.c. */
void ring(struct world *world);
void lines(struct world *world);
void semantics(struct world *world);
void threads(struct world *world);
void together(struct world *world);
void close_under_way(struct world *world);
void kill_one(struct world *world);
void stop(struct world *world);
void abandon(struct world *world);
void finalize(struct world *world);

#endif
