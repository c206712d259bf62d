/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the targets of libFuzzer share: an input that is read as numbers, a clock that moves when
 * the input says so, and what must hold.
 *
 * The sources are compiled with -Dclock_gettime=fuzz_clock_gettime: libFuzzer itself keeps the real
 * clock, and the same input is the same run.
 */
#ifndef MFS_TESTS_FUZZ_INPUT_H
#define MFS_TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* libFuzzer calls these. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

/* The next `bytes` bytes as a number; zeros behind the end. */
static inline uint64_t input_number(struct input *input, size_t bytes)
{
    uint64_t number = 0;
    const size_t there = bytes < input->left ? bytes : input->left;

    memcpy(&number, input->at, there);
    input->at += there;
    input->left -= there;
    return number;
}

static inline uint64_t input_below(struct input *input, uint64_t below)
{
    return input_number(input, below > 256 ? 4 : 1) % below;
}

/* A number that is a limit of something, or any. */
static inline uint64_t input_limit(struct input *input)
{
    static const uint64_t limits[] = {0,
                                      1,
                                      UINT64_MAX,
                                      UINT32_MAX,
                                      INT64_MAX,
                                      UINT64_C(1) << 63,
                                      UINT64_C(1) << 32,
                                      UINT64_C(1) << 40,
                                      127,
                                      128,
                                      65536,
                                      1000000000};
    const uint64_t which = input_number(input, 1);

    if (which < COUNT(limits))
        return limits[which];
    return input_number(input, which % 2 ? 8 : 2);
}

/* The clock, in input.c: what it is, and what a look at it adds [1]. */
extern int64_t fuzz_clock_ns, fuzz_look_ns;
int fuzz_clock_gettime(clockid_t clock, struct timespec *now);

#endif
