/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the fuzzer of the host's segment; see segment.c. */
#ifndef MFS_TESTS_FUZZ_SEGMENT_H
#define MFS_TESTS_FUZZ_SEGMENT_H

#include "../c/test.h"
#include "host/attach.h"

#define FUZZ_PROCESSES 8
#define FUZZ_CALM_OPERATIONS                                                                       \
    20 /* that each thread must finish once nothing is changed any more                            \
        */

/* Shared by driver and workers, and no part of the segment. */
struct fuzz_board {
    _Atomic uint32_t attached; /* workers that are at work */
    _Atomic bool calm;         /* nothing is changed any more: finish, and end */
};

/* --- one queue that sends (segment_traffic.c) --- */

struct fuzz_traffic;

struct fuzz_traffic *fuzz_traffic_make(struct mfs_host *host);
/* One turn: operations are queued, chunks are sent and arrive. How many operations have finished;
 * all of their bytes have left once, or the process ends. */
uint32_t fuzz_traffic_step(struct fuzz_traffic *traffic, uint64_t *random);
void fuzz_traffic_end(struct fuzz_traffic *traffic);

/* --- a process (segment_worker.c) --- */

int fuzz_worker(const char *path, struct fuzz_board *board, uint64_t seed);

#endif
