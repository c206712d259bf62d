/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

int64_t fuzz_clock_ns, fuzz_look_ns = 1;

int fuzz_clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    fuzz_clock_ns += fuzz_look_ns;
    now->tv_sec = fuzz_clock_ns / 1000000000;
    now->tv_nsec = fuzz_clock_ns % 1000000000;
    return 0;
}
