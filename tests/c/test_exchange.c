/* SPDX-License-Identifier: Apache-2.0 */
#include "core/exchange.h"

#include "test.h"

#define MS INT64_C(1000000)

static void allowed__one_more_when_it_runs_dry(void)
{
    CHECK_EQ(mfs_exchange_allowed(2, 9, 0, MS), 3);
    CHECK_EQ(mfs_exchange_allowed(2, 9, MS / 8, MS), 3);
    CHECK_EQ(mfs_exchange_allowed(2, 9, MS / 8 + 1, MS), 2);
    CHECK_EQ(mfs_exchange_allowed(9, 9, 0, MS), 9); /* as many as there are */
    CHECK_EQ(mfs_exchange_allowed(9, 3, MS / 5, MS), 3);
}

static void allowed__one_less_while_it_is_full(void)
{
    CHECK_EQ(mfs_exchange_allowed(2, 9, MS / 4, MS), 2);
    CHECK_EQ(mfs_exchange_allowed(2, 9, MS / 4 + 1, MS), 1);
    CHECK_EQ(mfs_exchange_allowed(1, 9, INT64_MAX, MS), 1); /* one always may */
    CHECK_EQ(mfs_exchange_allowed(0, 9, INT64_MAX, MS), 1);
    CHECK_EQ(mfs_exchange_allowed(0, 0, 0, MS), 1);
}

static void allowed__all_where_limits_come_too_late(void)
{
    CHECK_EQ(mfs_exchange_allowed(1, 9, 100 * MS, MFS_EXCHANGE_DELAY_MAX_NS + 1), 9);
    CHECK_EQ(mfs_exchange_allowed(2, 9, 100 * MS, MFS_EXCHANGE_DELAY_MAX_NS), 1);
}

static void limit__of_the_best_so_many(void)
{
    for (uint32_t allowed = 0; allowed < 6; allowed++) {
        static const mfs_rank_t limits[] = {0, 3, 5, 5, 8, MFS_RANK_NONE};
        mfs_rank_t claims[] = {8, 5, 9, 3, 5};

        CHECK_EQ_AT(mfs_exchange_limit(claims, COUNT(claims), allowed), limits[allowed], allowed);
    }
    CHECK_EQ(mfs_exchange_limit(NULL, 0, 1), MFS_RANK_NONE);
}

static const struct test tests[] = {
    TEST(allowed__one_more_when_it_runs_dry),
    TEST(allowed__one_less_while_it_is_full),
    TEST(allowed__all_where_limits_come_too_late),
    TEST(limit__of_the_best_so_many),
};
TEST_MAIN(tests)
