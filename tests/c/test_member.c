/* SPDX-License-Identifier: Apache-2.0 */
#include "host/member.h"

#include "core/weigh.h"
#include "made_up.h"

static struct mfs_member member_of(const char *process, uint32_t configured)
{
    char cgroups[512], path[512];
    struct mfs_member member;

    snprintf(path, sizeof(path), "%s/%s", root, process);
    snprintf(cgroups, sizeof(cgroups), "%s/cg", root);
    mfs_member_read(path, cgroups, configured, &member);
    return member;
}

static void weight__of_the_cgroup_or_as_configured(void)
{
    static const struct {
        const char *text;
        uint32_t weight;
    } rows[] = {
        {"default 200\n8:0 300\n", 200},
        {"10000\n", 10000},
        {"default 10001\n", 100},
        {"default 0\n", 100},
        {"", 100},
        {"default -5\n", 100},
    };

    root_make();
    file_make("p/cgroup", "1:name=systemd:/other\n0::/a.slice/b.service\n");
    CHECK_EQ(member_of("p", 0).weight, MFS_WEIGHT_USUAL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        file_make("cg/a.slice/b.service/io.weight", rows[i].text);
        CHECK_EQ_AT(member_of("p", 0).weight, rows[i].weight, i);
    }
    CHECK_EQ(member_of("p", 7).weight, 7);
    CHECK_EQ(member_of("nobody", 0).weight, MFS_WEIGHT_USUAL);
    CHECK(member_of("nobody", 0).key != 0);
}

/* In a namespace of cgroups, a pod sees its own as the root. */
static void weight__of_a_pod(void)
{
    root_make();
    file_make("p/cgroup", "0::/\n");
    file_make("cg/io.weight", "default 50\n");
    CHECK_EQ(member_of("p", 0).weight, 50);
}

/* Who is who is told by namespaces, which cannot be made up here: this process is one, always. */
static void key__of_this_process(void)
{
    struct mfs_member first, again;

    mfs_member_read("/proc/self", "/sys/fs/cgroup", 0, &first);
    mfs_member_read("/proc/self", "/sys/fs/cgroup", 9, &again);
    CHECK(first.key != 0);
    CHECK_EQ(first.key, again.key);
    CHECK_EQ(again.weight, 9);
}

static const struct test tests[] = {
    TEST(weight__of_the_cgroup_or_as_configured),
    TEST(weight__of_a_pod),
    TEST(key__of_this_process),
};

TEST_MAIN(tests)
