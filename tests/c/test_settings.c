/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

static void set_policy__for_all(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);
    uint64_t version = mfs_host_settings_version(two);

    CHECK_EQ(mfs_host_set_policy(one, "srpt"), 0);
    CHECK(strcmp(mfs_policy_name(mfs_host_policy(two)), "srpt") == 0);
    CHECK(mfs_host_settings_version(two) > version);
    CHECK_EQ(mfs_host_set_policy(one, "fastest"), -EINVAL);
    CHECK(strcmp(mfs_policy_name(mfs_host_policy(two)), "srpt") == 0);
    mfs_host_close(one);
    mfs_host_close(two);
    unlink(path);
}

static const struct test tests[] = {
    TEST(set_policy__for_all),
};

TEST_MAIN(tests)
