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

static void span__means_the_same_on_another_clock(void)
{
    static const int64_t spans[] = {0, 1, -1, 20 * MS, -20 * MS, 3600 * 1000 * MS};
    const int64_t here_ns = 500000 * 1000 * MS, there_ns = 7200 * 1000 * MS;

    for (unsigned i = 0; i < COUNT(spans); i++) {
        const mfs_rank_t rank = mfs_rank_make(3, here_ns + spans[i]);
        const mfs_rank_t told = mfs_exchange_rank(3, mfs_exchange_span(rank, here_ns), there_ns);

        CHECK_EQ_AT(mfs_rank_level(told), 3, i);
        CHECK_EQ_AT(mfs_rank_key(told) - there_ns, spans[i], i);
    }
}

static void span__absurd_ones_are_cut(void)
{
    static const int64_t times[] = {0, 1, MS, INT64_MAX, INT64_MIN, -1, INT64_C(1) << 57};

    for (unsigned i = 0; i < COUNT(times); i++) {
        const int64_t span_ns = mfs_exchange_span(UINT64_MAX, times[i]);

        CHECK_EQ_AT(span_ns <= MFS_EXCHANGE_SPAN_MAX_NS && span_ns >= -MFS_EXCHANGE_SPAN_MAX_NS, 1,
                    i);
        for (unsigned k = 0; k < COUNT(times); k++) {
            const mfs_rank_t rank = mfs_exchange_rank(1, times[k], times[i]);

            CHECK_EQ_AT(mfs_rank_level(rank), 1, i);
            CHECK_EQ_AT(mfs_rank_key(rank) > 0, 1, i); /* never in front of all */
        }
    }
    CHECK(mfs_exchange_rank(MFS_LEVELS_MAX, 0, MS) < MFS_RANK_LAST);
    CHECK(mfs_exchange_rank(MFS_LEVELS_MAX + 1, 0, MS) == MFS_RANK_NONE);
    CHECK(mfs_exchange_rank(UINT32_MAX, 0, MS) == MFS_RANK_NONE);
}

static void heed__ten_leases_at_most(void)
{
    struct mfs_far_end end = {0};
    const int64_t lease_ns = 20 * MS;
    int64_t now_ns = MS;

    CHECK_EQ(mfs_exchange_heed(&end, 5, 7, lease_ns, now_ns), 7); /* nothing is held */
    CHECK_EQ(mfs_exchange_heed(&end, MFS_RANK_NONE, 7, lease_ns, now_ns), 7);
    for (; now_ns <= MS + 10 * lease_ns; now_ns += MS)
        CHECK_EQ_AT(mfs_exchange_heed(&end, 9, 7, lease_ns, now_ns), 7, now_ns);
    CHECK(mfs_exchange_heed(&end, 9, 7, lease_ns, now_ns) == MFS_RANK_NONE);
    CHECK_EQ(mfs_exchange_heed(&end, 9, 7, lease_ns, now_ns + MS), 7);
    /* a while in which it was not held counts from anew */
    CHECK_EQ(mfs_exchange_heed(&end, 6, 7, lease_ns, now_ns + 9 * lease_ns), 7);
    CHECK_EQ(mfs_exchange_heed(&end, 9, 7, lease_ns, now_ns + 11 * lease_ns), 7);
    CHECK_EQ(mfs_exchange_heed(&end, 9, 7, INT64_MAX, INT64_MAX), 7);
}

static void believe__while_its_bytes_move(void)
{
    struct mfs_guest_word word = {0};
    const int64_t lease_ns = 20 * MS;

    CHECK_EQ(mfs_exchange_believe(&word, 5, 0, lease_ns, MS), 5);
    CHECK_EQ(mfs_exchange_believe(&word, 5, 0, lease_ns, MS + lease_ns), 5);
    CHECK(mfs_exchange_believe(&word, 5, 0, lease_ns, 2 * MS + lease_ns) == MFS_RANK_NONE);
    CHECK_EQ(mfs_exchange_believe(&word, 5, 1, lease_ns, 3 * MS + lease_ns), 5);
    CHECK(mfs_exchange_believe(&word, MFS_RANK_NONE, 1, lease_ns, 60 * MS) == MFS_RANK_NONE);
    CHECK_EQ(mfs_exchange_believe(&word, 5, 1, lease_ns, 60 * MS), 5);
}

static void believe__half_of_the_time(void)
{
    struct mfs_guest_word word = {0};
    const int64_t lease_ns = 20 * MS;
    uint64_t first = 0;

    for (uint64_t i = 0; i < 1000; i++)
        first += mfs_exchange_believe(&word, 5, i, lease_ns, (int64_t)(i + 1) * MS) == 5;
    CHECK(first > 450 && first < 550);
    /* one that rests is none */
    word = (struct mfs_guest_word){0};
    for (uint64_t i = 0; i < 1000; i++) {
        const bool rests = i % 100 >= 90;

        first = mfs_exchange_believe(&word, rests ? MFS_RANK_NONE : 5, i, lease_ns,
                                     (int64_t)(i + 1) * MS);
        CHECK_EQ_AT(first == 5, !rests, i);
    }
}

static const struct test tests[] = {
    TEST(allowed__one_more_when_it_runs_dry),
    TEST(allowed__one_less_while_it_is_full),
    TEST(allowed__all_where_limits_come_too_late),
    TEST(limit__of_the_best_so_many),
    TEST(span__means_the_same_on_another_clock),
    TEST(span__absurd_ones_are_cut),
    TEST(heed__ten_leases_at_most),
    TEST(believe__while_its_bytes_move),
    TEST(believe__half_of_the_time),
};
TEST_MAIN(tests)
