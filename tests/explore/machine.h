/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine in one thread: processes are coroutines that share one segment, the clock is a number,
 * and what the sources ask of the kernel (time, sleep, locks on bytes of the segment's file,
 * memory) is answered here, by --wrap of the linker. A process runs until it has used up its turn,
 * which is counted in atomic accesses and system calls, or sleeps. Every choice comes from one
 * random state.
 */
#ifndef MFS_TESTS_EXPLORE_MACHINE_H
#define MFS_TESTS_EXPLORE_MACHINE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "host/attach.h"
#include "host/config.h"

#define PROCESSES 8 /* that send; slots above are made up */

struct machine_process {
    struct mfs_host host; /* its share in the segment: slot, descriptor, mutex */
    ucontext_t context;
    jmp_buf where;
    void (*run)(void *ctx);
    void *ctx;
    int64_t wake_ns;  /* it does not run before */
    bool alive;       /* its slot's lock is held */
    bool entered;     /* it has run */
};

struct machine {
    uint64_t random;
    int64_t now_ns;
    struct mfs_segment *segment;
    struct mfs_config config;
    struct mfs_window_config window; /* of a port, instead of what the configuration says */
    struct machine_process processes[PROCESSES];
    struct machine_process *current; /* NULL: the machine itself */
    int turn;                        /* accesses until the next may run */
    int writer;                      /* who holds the lock of those who write tables; -1 */
    bool slots[MFS_PROCESSES_MAX];   /* held by a live process */
};

extern struct machine machine;

/* A new run: nothing is in the segment, nobody lives. config and window are the caller's. */
void machine_reset(uint64_t seed);
/* Below `most`. */
uint64_t pick(uint64_t most);
/* Once in `times`. */
bool chance(uint64_t times);

/* The process starts (anew) at run(ctx). */
void machine_start(unsigned index, void (*run)(void *ctx), void *ctx);
/* It runs no more, wherever it is; the kernel takes its locks. */
void machine_kill(unsigned index);
/* Let it run for so many accesses. */
void machine_run(unsigned index, int turn);
/* By a process: not before then. */
void machine_sleep(int64_t wake_ns);

#endif
