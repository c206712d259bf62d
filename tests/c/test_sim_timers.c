/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/timers.h"

#include <math.h>

#include "test.h"

#define ITEMS 200

static void set__first_is_the_least_whatever_happens(void)
{
    struct mfs_memory memory = {0};
    struct mfs_timers timers = {.memory = &memory};
    double times[ITEMS];
    static uint64_t seed = 3; /* static: it lives over a jump */

    if (setjmp(memory.failed))
        FAIL("no memory");
    for (uint32_t i = 0; i < ITEMS; i++)
        times[i] = INFINITY;
    CHECK(isinf(mfs_timers_first_s(&timers)));
    mfs_timers_drop(&timers, 5); /* never set: nothing */
    for (int step = 0; step < 20000; step++) {
        const uint32_t item = (uint32_t)(test_random(&seed) % ITEMS);
        uint32_t least = 0;

        if (test_random(&seed) % 3 == 0) {
            times[item] = INFINITY;
            mfs_timers_drop(&timers, item);
        } else {
            times[item] = (double)(test_random(&seed) % 50); /* ties: the least number first */
            mfs_timers_set(&timers, item, times[item]);
        }
        for (uint32_t i = 1; i < ITEMS; i++)
            least = times[i] < times[least] ? i : least;
        CHECK(mfs_timers_first_s(&timers) == times[least]);
        if (!isinf(times[least]))
            CHECK_EQ(timers.heap[0].item, least);
    }
    mfs_memory_free_all(&memory);
}

static const struct test tests[] = {TEST(set__first_is_the_least_whatever_happens)};
TEST_MAIN(tests)
