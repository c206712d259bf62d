/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trust.h"

#include "test.h"

static void stamp__neither_old_nor_of_the_future(void)
{
    static const struct {
        int64_t stamp_ns, now_ns;
        bool fresh;
    } rows[] = {
        {1000, 1000, true},           {1000, 1020, true},
        {1000, 1021, false},          {1020, 1000, true},
        {1021, 1000, false},          {0, 1000, false},
        {INT64_MAX, 1000, false},     {INT64_MIN, 1000, false},
        {INT64_MIN, INT64_MAX, true}, {-5, 5, true},
        {INT64_MAX, 0, false},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_EQ_AT(mfs_stamp_fresh(rows[i].stamp_ns, rows[i].now_ns, 20), rows[i].fresh, i);
}

static void moment__no_further_ahead_than_anybody_sets_it(void)
{
    static const struct {
        int64_t moment_ns, now_ns, age_ns;
        bool come;
    } rows[] = {
        {1000, 1000, 0, true},
        {1000, 1001, 1, true},
        {1010, 1000, 0, false},
        {1011, 1000, 0, true},
        {INT64_MAX, 1000, 0, true},
        {INT64_MAX, -1000, 0, true},
        {INT64_MIN, 1000, INT64_MAX, true},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK_EQ_AT(mfs_moment_come(rows[i].moment_ns, rows[i].now_ns, 10), rows[i].come, i);
        CHECK_EQ_AT(mfs_moment_age(rows[i].moment_ns, rows[i].now_ns), rows[i].age_ns, i);
    }
}

static void at_most__what_there_is(void)
{
    CHECK_EQ(mfs_at_most(3, 4), 3);
    CHECK_EQ(mfs_at_most(4, 4), 4);
    CHECK_EQ(mfs_at_most(UINT32_MAX, 4), 4);
}

static const struct test tests[] = {
    TEST(stamp__neither_old_nor_of_the_future),
    TEST(moment__no_further_ahead_than_anybody_sets_it),
    TEST(at_most__what_there_is),
};

TEST_MAIN(tests)
