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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/attach.h"
#include "host/config.h"

#include "fiber.h"

#define PROCESSES 8 /* that send; slots above are made up */

struct machine_process {
    struct mfs_host host; /* its share in the segment: slot, descriptor, mutex */
    struct fiber fiber;
    void (*run)(void *ctx);
    void *ctx;
};

struct machine {
    uint64_t random;
    int64_t now_ns;
    struct mfs_segment *segment;
    struct mfs_config config;
    struct mfs_window_config window; /* of a port, instead of what the configuration says */
    struct machine_process processes[PROCESSES];
    struct machine_process *current; /* NULL: the machine itself */
    bool alive[PROCESSES];
    int64_t wake_ns[PROCESSES];      /* it does not run before; dead: another comes then */
    int64_t stopped_ns[PROCESSES];   /* nor before this, whoever wakes it */
    int writer;                      /* who holds the lock of those who write tables; -1 */
    uint8_t slots[MFS_PROCESSES_MAX]; /* who holds its lock, + 1; 0: nobody */
};

extern struct machine machine;

/* A new run: nothing is in the segment, nobody lives. config and window are the caller's. */
void machine_reset(uint64_t seed);
/* Some 64 bits: xorshift64*, as in tests/c/test.h. */
static inline uint64_t draw(void)
{
    uint64_t random = machine.random;

    random ^= random >> 12;
    random ^= random << 25;
    random ^= random >> 27;
    machine.random = random;
    return random * UINT64_C(2685821657736338717);
}

/* Below `most`. */
static inline uint64_t pick(uint64_t most)
{
    const uint64_t drawn = draw();

    return most <= UINT32_MAX ? (drawn >> 32) * most >> 32 : drawn % most;
}

/* The same, from 16 of the bits that were drawn. most <= 65536 */
static inline uint64_t below(uint64_t *drawn, uint64_t most)
{
    const uint64_t bits = *drawn & 0xffff;

    *drawn >>= 16;
    return bits * most >> 16;
}

/* Once in `times`. */
static inline bool chance(uint64_t times)
{
    return pick(times) == 0;
}

/* The process starts (anew) at run(ctx), without a slot. */
void machine_start(unsigned index, void (*run)(void *ctx), void *ctx);
/* It runs no more, wherever it is; the kernel takes its locks. */
void machine_kill(unsigned index);
/* It is taken for dead from here on, though it lives: the lock of its slot is gone. */
void machine_unlock(unsigned index);
/* Let it run for so many accesses. */
void machine_run(unsigned index, int turn);
/* By a process: not before then. */
void machine_sleep(int64_t wake_ns);

#endif
