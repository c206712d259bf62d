/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs of bench/soak.py and bench/chaos.py have in common: an account for each
 * process, in a file that outlives it, and bytes that say which transfer they are of.
 *
 *   posted = verified + failed + on the way       when all have ended, nothing is on the way
 *
 * A sender counts a transfer as posted before it posts it. Whoever has its bytes in the end (the
 * receiver of a put or a message, the sender of a get) counts them as verified or as wrong.
 */
#ifndef MFS_BENCH_SOAK_H
#define MFS_BENCH_SOAK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SOAK_MEMORY (16u << 20) /* of a side: the transfers of one burst, one after the other */
#define SOAK_BURST 8u
#define SOAK_MAX (4u << 20)

/* Written by its process alone, read by the bench. */
struct soak_account {
    _Alignas(128) _Atomic uint64_t pid;
    _Atomic uint64_t posted_bytes, failed_bytes, verified_bytes, wrong_bytes;
    _Atomic uint64_t operations, bursts, connections;
    _Atomic uint64_t over; /* it has ended as it should */
};

/* Record `slot` of the file at path, for this process. */
struct soak_account *soak_account(const char *path, unsigned slot);
/* A word of its own process's account. */
void soak_add(_Atomic uint64_t *word, uint64_t amount);

/* A burst that both sides know by its seed: sizes from 8 bytes to 4 MiB, each as likely as its
 * double, at offsets one behind the other. How many there are. */
struct soak_part {
    size_t offset, bytes;
    uint64_t seed;
};
unsigned soak_burst(uint64_t *random, struct soak_part parts[SOAK_BURST]);

void soak_fill(void *at, size_t bytes, uint64_t seed);
/* How many of these bytes are not what soak_fill writes; counted by words. */
size_t soak_differs(const void *at, size_t bytes, uint64_t seed);

uint64_t soak_random(uint64_t *state);
/* The kernel's: bench/chaos_clock.c changes only what the library sees. */
double soak_now_s(void);
void soak_pause(double seconds);

#endif
