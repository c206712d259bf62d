/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "host.h"

static void batch_get__none_before_the_first(void)
{
    struct mfs_tag tag = mfs_batch_get();

    CHECK_EQ(tag.request, MFS_REQUEST_NONE);
    CHECK_EQ(tag.layer, 0);
    CHECK_EQ(tag.stage, MFS_STAGE_COLLECTIVE);
}

static void batch_get__what_was_set_last(void)
{
    struct mfs_tag tag;

    mfs_batch_set(7, 3);
    mfs_batch_set(9, 4);
    tag = mfs_batch_get();
    CHECK_EQ(tag.request, 9);
    CHECK_EQ(tag.layer, 4);
    CHECK_EQ(tag.stage, MFS_STAGE_COLLECTIVE);
    mfs_batch_set(MFS_REQUEST_NONE, 0);
    CHECK_EQ(mfs_batch_get().request, MFS_REQUEST_NONE);
}

static _Atomic bool over;

static void *read_on(void *torn)
{
    while (!atomic_load(&over)) {
        const struct mfs_tag tag = mfs_batch_get();

        if (tag.request != MFS_REQUEST_NONE && tag.request != tag.layer + UINT64_C(1))
            atomic_store((_Atomic bool *)torn, true);
    }
    return NULL;
}

static void batch_get__never_half_of_a_change(void)
{
    _Atomic bool torn = false;
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, read_on, &torn), 0);
    for (uint32_t layer = 0; layer < 200000; layer++)
        mfs_batch_set(layer + UINT64_C(1), layer);
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK(!torn);
}

static const struct test tests[] = {
    TEST(batch_get__none_before_the_first),
    TEST(batch_get__what_was_set_last),
    TEST(batch_get__never_half_of_a_change),
};

TEST_MAIN(tests)
