/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks that drive a net plug-in as NCCL does, without NCCL: processes that open it, meet over
 * a shared board, and connect. For bench/nccl_loop.c and tests/nccl/harness.c.
 *
 *   rank 0 --+                       +-- listen, connect, accept: a service thread
 *   rank 1 --+-- board (shared) -----+-- isend, irecv, test: a progress thread
 *   rank 2 --+
 */
#ifndef MFS_BENCH_NCCL_WORLD_H
#define MFS_BENCH_NCCL_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "nccl/inner.h"
#include "nccl/net.h"

#define WORLD_RANKS 8
#define WORLD_SLOTS 64

struct board {
    _Atomic uint32_t arrived[256]; /* barriers, each used once */
    _Atomic uint32_t published[WORLD_RANKS][WORLD_SLOTS];
    char handles[WORLD_RANKS][WORLD_SLOTS][MFS_NCCL_HANDLE_BYTES];
    _Atomic uint64_t words[64]; /* for the scene's own use */
    double numbers[65536];
};

struct world {
    int rank, ranks;
    const char *plugin;
    int version;
    struct board *board;
    uint32_t barrier; /* the next one */
    const struct mfs_nccl_table_v12 *net;
    void *ctx;
};

#define DIE(...)                                                                                   \
    do {                                                                                           \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                            \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        _Exit(1);                                                                                  \
    } while (0)
#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            DIE("rank %d: %s", world->rank, #condition);                                           \
    } while (0)
/* A call that must return 0. */
#define CALL(call)                                                                                 \
    do {                                                                                           \
        const int result_ = (call);                                                                \
        if (result_ != 0)                                                                          \
            DIE("rank %d: %s returned %d", world->rank, #call, result_);                           \
    } while (0)

/* Shared memory for all ranks; before they fork. */
struct board *world_board(void);
/* Run `scene` in `ranks` processes; 0 when all ended with 0. A rank whose number is `victim`
 * (-1: none) is to die of a signal instead. */
int world_run(struct world *world, int ranks, int victim, void (*scene)(struct world *));
/* Open the plug-in and init a communicator. */
void world_open(struct world *world);
void world_barrier(struct world *world);
double world_now_s(void);
uint64_t world_random(uint64_t *state);

/* Publish a listener under (rank, slot); what others see of it. */
void world_listen(struct world *world, void *ctx, int slot, void **listen_comm);
/* The handle of (rank, slot), once it is there. */
void world_handle(struct world *world, int rank, int slot, void *handle);
/* Connect to (rank, slot) and accept one, as far as asked for (NULL: not), both polled. */
void world_connect(struct world *world, void *ctx, int rank, int slot, void **send_comm,
                   void *listen_comm, void **recv_comm);
/* Until done; the number of bytes. */
int world_wait(struct world *world, void *request);
/* isend and irecv until they are taken. */
void *world_isend(struct world *world, void *comm, void *data, size_t size, void *mr);
void *world_irecv(struct world *world, void *comm, void *data, size_t size, void *mr);

#endif
