/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

static void set_policy__for_all(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);
    uint64_t version = mfs_host_settings_version(two);

    CHECK_EQ(mfs_host_set_policy(one, "srpt"), 0);
    CHECK(strcmp(mfs_host_policy(two)->name, "srpt") == 0);
    CHECK(mfs_host_settings_version(two) > version);
    CHECK_EQ(mfs_host_set_policy(one, "fastest"), -EINVAL);
    CHECK(strcmp(mfs_host_policy(two)->name, "srpt") == 0);
    mfs_host_close(one);
    mfs_host_close(two);
    unlink(path);
}

/* Something that has gone wrong has written over it. */
static void policy__rubbish_is_the_one_that_was_known(void)
{
    static const uint32_t rubbish[] = {0, 11, UINT32_MAX};
    const char *path = segment_path();
    struct mfs_host *one = host_open(path);

    CHECK_EQ(mfs_host_set_policy(one, "srpt"), 0);
    CHECK(strcmp(mfs_host_policy(one)->name, "srpt") == 0);
    for (size_t i = 0; i < COUNT(rubbish); i++) {
        one->segment->policy = rubbish[i];
        CHECK(strcmp(mfs_host_policy(one)->name, "srpt") == 0);
        mfs_process_reap(one);
        CHECK_EQ_AT(one->segment->policy, mfs_policy_index(mfs_policy_find("srpt")) + 1, i);
    }
    mfs_host_close(one);
    unlink(path);
}

static const struct test tests[] = {
    TEST(set_policy__for_all),
    TEST(policy__rubbish_is_the_one_that_was_known),
};

TEST_MAIN(tests)
