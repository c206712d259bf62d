/* SPDX-License-Identifier: Apache-2.0 */
#include "core/slack.h"

#include <errno.h>

#include "test.h"

#define MS INT64_C(1000000)
#define MB UINT64_C(1000000)
#define NEVER MFS_TIME_NEVER

/* 1 MB a ms. */
static struct mfs_slack port(struct mfs_slack_flow *flows, uint32_t room)
{
    return (struct mfs_slack){.rate_Bps = 1000 * MB, .flows = flows, .room = room};
}

static void bytes__of_an_idle_port(void)
{
    struct mfs_slack slack = port(NULL, 0);

    CHECK_EQ(mfs_slack_bytes(&slack, 10 * MS), 10 * MB);
    CHECK_EQ(mfs_slack_bytes(&slack, 0), 0);
    CHECK_EQ(mfs_slack_bytes(&slack, -MS), 0);
    slack.first_bytes = 4 * MB;
    CHECK_EQ(mfs_slack_bytes(&slack, 10 * MS), 6 * MB);
    CHECK_EQ(mfs_slack_bytes(&slack, 3 * MS), 0);
    CHECK_EQ(mfs_slack_soonest(&slack, 6 * MB), 10 * MS);
}

/* By hand: 3 MB due at 5 ms and 4 MB due at 20 ms, so 2 ms and 13 ms to spare. */
static void bytes__nobody_in_time_becomes_late(void)
{
    static const struct {
        int64_t due_ns;
        uint64_t bytes;
    } wanted[] = {
        {MS, MB},           {2 * MS, 2 * MB},
        {4 * MS, 2 * MB}, /* before 5 ms no more than 2 MB */
        {5 * MS, 2 * MB},   {10 * MS, 7 * MB}, /* behind the first, 3 MB of 10 ms */
        {16 * MS, 13 * MB}, {19 * MS, 13 * MB}, /* the second bounds it */
        {20 * MS, 13 * MB}, {30 * MS, 23 * MB},
    };
    struct mfs_slack_flow flows[2];
    struct mfs_slack slack = port(flows, COUNT(flows));

    CHECK_EQ(mfs_slack_add(&slack, 20 * MS, 4 * MB), 0); /* in any order */
    CHECK_EQ(mfs_slack_add(&slack, 5 * MS, 3 * MB), 0);
    for (size_t i = 0; i < COUNT(wanted); i++)
        CHECK_EQ_AT(mfs_slack_bytes(&slack, wanted[i].due_ns), wanted[i].bytes, i);
    CHECK_EQ(mfs_slack_late(&slack), 0);
}

static void soonest__is_the_least_time_with_so_much(void)
{
    struct mfs_slack_flow flows[2];
    struct mfs_slack slack = port(flows, COUNT(flows));

    mfs_slack_add(&slack, 5 * MS, 3 * MB);
    mfs_slack_add(&slack, 20 * MS, 4 * MB);
    CHECK_EQ(mfs_slack_soonest(&slack, 2 * MB), 2 * MS); /* in front of all */
    CHECK_EQ(mfs_slack_soonest(&slack, 3 * MB), 6 * MS); /* behind the first */
    CHECK_EQ(mfs_slack_soonest(&slack, 13 * MB), 16 * MS);
    CHECK_EQ(mfs_slack_soonest(&slack, 14 * MB), 21 * MS); /* behind both */
    for (uint64_t bytes = MB / 2; bytes < 30 * MB; bytes += MB / 2) {
        const int64_t soonest_ns = mfs_slack_soonest(&slack, bytes);

        CHECK_EQ_AT(mfs_slack_bytes(&slack, soonest_ns) >= bytes, true, bytes);
        CHECK_EQ_AT(mfs_slack_bytes(&slack, soonest_ns - MS / 10) < bytes, true, bytes);
    }
}

/* The first needs 6 ms and has 5; it takes nothing of what the second has. */
static void late__is_left_out(void)
{
    struct mfs_slack_flow flows[3];
    struct mfs_slack slack = port(flows, COUNT(flows));

    mfs_slack_add(&slack, 5 * MS, 6 * MB);
    mfs_slack_add(&slack, 8 * MS, 4 * MB);
    mfs_slack_add(&slack, -MS, MB); /* its time has passed */
    CHECK_EQ(mfs_slack_bytes(&slack, 8 * MS), 4 * MB);
    CHECK_EQ(mfs_slack_bytes(&slack, 2 * MS), 2 * MB);
    CHECK_EQ(mfs_slack_late(&slack), 7 * MB);
}

static void add__what_is_never_due_changes_nothing(void)
{
    struct mfs_slack_flow flows[1];
    struct mfs_slack slack = port(flows, COUNT(flows));

    CHECK_EQ(mfs_slack_add(&slack, NEVER, 100 * MB), 0);
    CHECK_EQ(mfs_slack_add(&slack, 10 * MS, 0), 0);
    CHECK_EQ(slack.count, 0);
}

static void add__without_room_less_is_promised(void)
{
    struct mfs_slack_flow flows[1];
    struct mfs_slack slack = port(flows, COUNT(flows));

    CHECK_EQ(mfs_slack_add(&slack, 90 * MS, 2 * MB), 0);
    CHECK_EQ(mfs_slack_add(&slack, 80 * MS, 3 * MB), -ENOSPC);
    CHECK_EQ(mfs_slack_bytes(&slack, 10 * MS), 7 * MB);
}

static void rate__not_known(void)
{
    struct mfs_slack_flow flows[1];
    struct mfs_slack slack = port(flows, COUNT(flows));

    slack.rate_Bps = 0;
    mfs_slack_add(&slack, 90 * MS, 2 * MB);
    CHECK_EQ(mfs_slack_bytes(&slack, 100 * MS), 0);
    CHECK_EQ(mfs_slack_soonest(&slack, 1), NEVER);
    CHECK_EQ(mfs_slack_late(&slack), 0);
}

static void numbers__that_overflow_are_cut(void)
{
    struct mfs_slack_flow flows[2];
    struct mfs_slack slack = port(flows, COUNT(flows));

    mfs_slack_add(&slack, INT64_MAX - 1, UINT64_MAX);
    mfs_slack_add(&slack, INT64_MIN, UINT64_MAX);
    CHECK_EQ(mfs_slack_bytes(&slack, 10 * MS), 10 * MB);
    slack.first_bytes = UINT64_MAX;
    CHECK_EQ(mfs_slack_bytes(&slack, 10 * MS), 0);
    CHECK(mfs_slack_soonest(&slack, UINT64_MAX) > 0);
    CHECK(mfs_slack_bytes(&slack, INT64_MAX) > 0);
}

static const struct test tests[] = {
    TEST(bytes__of_an_idle_port),
    TEST(bytes__nobody_in_time_becomes_late),
    TEST(soonest__is_the_least_time_with_so_much),
    TEST(late__is_left_out),
    TEST(add__what_is_never_due_changes_nothing),
    TEST(add__without_room_less_is_promised),
    TEST(rate__not_known),
    TEST(numbers__that_overflow_are_cut),
};
TEST_MAIN(tests)
