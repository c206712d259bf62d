/* SPDX-License-Identifier: Apache-2.0 */
#include "soak.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct soak_account *soak_account(const char *path, unsigned slot)
{
    const size_t bytes = (slot + 1) * sizeof(struct soak_account);
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    struct soak_account *accounts;

    if (fd < 0) {
        perror(path);
        exit(1);
    }
    accounts = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (accounts == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    atomic_store(&accounts[slot].pid, (uint64_t)getpid());
    return &accounts[slot];
}

void soak_add(_Atomic uint64_t *word, uint64_t amount)
{
    atomic_fetch_add_explicit(word, amount, memory_order_relaxed);
}

uint64_t soak_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 */

    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

unsigned soak_burst(uint64_t *random, struct soak_part parts[SOAK_BURST])
{
    const unsigned most = 1 + (unsigned)(soak_random(random) % SOAK_BURST);
    size_t offset = 0;
    unsigned count = 0;

    while (count < most) {
        const double part = (double)(soak_random(random) >> 11) * 0x1p-53;
        const size_t bytes = (size_t)(8 * exp2(part * log2(SOAK_MAX / 8.0)));

        if (offset + bytes > SOAK_MEMORY)
            break;
        parts[count++] =
            (struct soak_part){.offset = offset, .bytes = bytes, .seed = soak_random(random)};
        offset += (bytes + 63) / 64 * 64;
    }
    return count;
}

static uint64_t word_of(uint64_t seed, size_t i)
{
    const uint64_t x = (seed + i) * UINT64_C(0x9E3779B97F4A7C15);

    return x ^ x >> 29;
}

void soak_fill(void *at, size_t bytes, uint64_t seed)
{
    uint64_t word;

    for (size_t i = 0; i < bytes / 8; i++) {
        word = word_of(seed, i);
        memcpy((char *)at + 8 * i, &word, 8);
    }
    word = word_of(seed, bytes / 8);
    memcpy((char *)at + bytes / 8 * 8, &word, bytes % 8);
}

size_t soak_differs(const void *at, size_t bytes, uint64_t seed)
{
    size_t wrong = 0;
    uint64_t word, last;

    for (size_t i = 0; i < bytes / 8; i++) {
        memcpy(&word, (const char *)at + 8 * i, 8);
        wrong += word != word_of(seed, i);
    }
    last = word_of(seed, bytes / 8);
    if (memcmp((const char *)at + bytes / 8 * 8, &last, bytes % 8) != 0)
        return 8 * wrong + bytes % 8;
    return 8 * wrong;
}

double soak_now_s(void)
{
    struct timespec now;

    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void soak_pause(double seconds)
{
    struct timespec left = {.tv_sec = (time_t)seconds};

    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    nanosleep(&left, NULL);
}
