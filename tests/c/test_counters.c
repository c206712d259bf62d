/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "host.h"

static void count__by_process_and_in_all(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);

    mfs_count(one, MFS_COUNT_BYTES, 100);
    mfs_count(two, MFS_COUNT_BYTES, 11);
    CHECK_EQ(mfs_count_process(one, MFS_COUNT_BYTES), 100);
    CHECK_EQ(mfs_count_total(one, MFS_COUNT_BYTES), 111);
    mfs_host_close(two); /* what it counted stays in the sum */
    CHECK_EQ(mfs_count_total(one, MFS_COUNT_BYTES), 111);
    two = host_open(path);
    CHECK_EQ(mfs_count_process(two, MFS_COUNT_BYTES), 0);
    mfs_host_close(two);
    mfs_host_close(one);
    unlink(path);
}

static void *count_many(void *host)
{
    for (int i = 0; i < 10000; i++)
        mfs_count(host, MFS_COUNT_CHUNKS, 2);
    return NULL;
}

static void count__from_many_threads(void)
{
    struct mfs_host *host = host_private();
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, count_many, host), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(mfs_count_total(host, MFS_COUNT_CHUNKS), 80000);
    mfs_host_close(host);
}

static void counter_name__every_one(void)
{
    for (int i = 0; i < MFS_COUNT_LAST; i++)
        CHECK(mfs_counter_name((enum mfs_counter)i) != NULL);
    CHECK(mfs_counter_name(MFS_COUNT_LAST) == NULL);
}

static void count__rows_are_added_up(void)
{
    struct mfs_count_row *rows[MFS_COUNT_ROWS];
    struct mfs_host *host = host_private();

    mfs_count(host, MFS_COUNT_BYTES, 1000);
    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++) {
        rows[i] = mfs_count_row_get(host);
        CHECK(rows[i] != NULL);
        mfs_count_in(rows[i], MFS_COUNT_BYTES, 1 + i);
    }
    CHECK(!mfs_count_row_get(host));
    mfs_count_row_put(NULL);
    mfs_count_row_put(rows[3]);
    CHECK(mfs_count_row_get(host) == rows[3]);
    mfs_count_in(rows[3], MFS_COUNT_BYTES, 100);
    CHECK_EQ(mfs_count_process(host, MFS_COUNT_BYTES), 1000 + 36 + 100);
    CHECK_EQ(mfs_count_total(host, MFS_COUNT_BYTES), 1000 + 36 + 100);
    mfs_host_close(host);
}

static const struct test tests[] = {
    TEST(count__rows_are_added_up),
    TEST(count__by_process_and_in_all),
    TEST(count__from_many_threads),
    TEST(counter_name__every_one),
};

TEST_MAIN(tests)
