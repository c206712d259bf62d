/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "host.h"
#include "host/tag.h"

static void tag__is_what_was_set_last(void)
{
    struct mfs_tag tag = {7, 3, MFS_STAGE_P2D}, seen;

    mfs_tag_set(&tag);
    seen = mfs_tag_get();
    CHECK(seen.request == 7 && seen.layer == 3 && seen.stage == MFS_STAGE_P2D);
    mfs_tag_set(NULL);
    seen = mfs_tag_get();
    CHECK(seen.request == MFS_REQUEST_NONE && seen.stage == MFS_STAGE_NONE);
}

static void *look(void *seen)
{
    *(struct mfs_tag *)seen = mfs_tag_look();
    return NULL;
}

static void tag__belongs_to_the_thread(void)
{
    struct mfs_tag tag = {7, 3, MFS_STAGE_P2D}, elsewhere = tag;
    pthread_t thread;

    mfs_tag_set(&tag);
    CHECK(mfs_tag_look().request == 7);
    CHECK_EQ(pthread_create(&thread, NULL, look, &elsewhere), 0);
    pthread_join(thread, NULL);
    CHECK(elsewhere.request == MFS_REQUEST_NONE);
    mfs_tag_set(NULL);
}

static void *look_at_abort(void *seen)
{
    *(bool *)seen = mfs_abort_get();
    return NULL;
}

static void abort__belongs_to_the_thread(void)
{
    bool elsewhere = true;
    pthread_t thread;

    mfs_abort_set(true);
    CHECK(mfs_abort_get());
    CHECK_EQ(pthread_create(&thread, NULL, look_at_abort, &elsewhere), 0);
    pthread_join(thread, NULL);
    CHECK(!elsewhere);
    mfs_abort_set(false);
    CHECK(!mfs_abort_get());
}

static const struct test tests[] = {
    TEST(tag__is_what_was_set_last),
    TEST(tag__belongs_to_the_thread),
    TEST(abort__belongs_to_the_thread),
};

TEST_MAIN(tests)
