/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's lock: one at a time, some that wait and some that only try. */
#include <pthread.h>

#include "nccl/lock.h"
#include "test.h"

#define THREADS 4
#define ROUNDS 100000

static struct mfs_nccl_lock lock;
static uint64_t guarded[2]; /* always the same number */

static void *wait_and_try(void *argument)
{
    uint64_t *held = argument;

    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2 == 0)
            mfs_nccl_lock_take(&lock);
        else if (!mfs_nccl_lock_try(&lock))
            continue;
        CHECK_EQ(guarded[0], guarded[1]);
        guarded[0]++;
        for (volatile int k = 0; k < 10; k++)
            ;
        guarded[1]++;
        ++*held;
        mfs_nccl_lock_give(&lock);
    }
    return NULL;
}

static void lock__one_thread_at_a_time(void)
{
    uint64_t held[THREADS] = {0}, sum = 0;
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_and_try, &held[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(held[i] >= ROUNDS / 2); /* who waits gets it */
        sum += held[i];
    }
    CHECK_EQ(guarded[0], sum);
}

static void lock__try_fails_while_it_is_held(void)
{
    CHECK(mfs_nccl_lock_try(&lock));
    CHECK(!mfs_nccl_lock_try(&lock));
    mfs_nccl_lock_give(&lock);
    CHECK(mfs_nccl_lock_try(&lock));
}
static const struct test tests[] = {
    TEST(lock__one_thread_at_a_time),
    TEST(lock__try_fails_while_it_is_held),
};

TEST_MAIN(tests)
