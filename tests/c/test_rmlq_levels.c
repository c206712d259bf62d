/* SPDX-License-Identifier: Apache-2.0 */
/* core/rmlq_place.c by the queue: levels, promotion, and what moves all flows. */
#include "rmlq_queue.h"

static void promotion__at_the_exact_time(void)
{
    static const struct {
        int64_t left_ns; /* until the deadline */
        unsigned level;
    } rows[] = {
        {5000 * MS, 2}, {20 * MS + 1, 2}, {20 * MS, 1}, {5 * MS + 1, 1}, {5 * MS, 0}, {1, 0},
    };
    const int64_t deadline_ns = 100000 * MS;
    struct mfs_rmlq *queue = queue_make("mfs", 4);
    unsigned promotions = 0;
    struct mfs_op op;

    known.facts[1].deadline_ns = deadline_ns;
    push(queue, &op, 128, p2d(1, 0), 0);
    for (size_t row = 0; row < COUNT(rows); row++) {
        unsigned level = mfs_rank_level(peek(queue, deadline_ns - rows[row].left_ns));

        CHECK_EQ_AT(level, rows[row].level, row);
    }
    CHECK_EQ(mfs_rmlq_promotions(queue), 2);
    queue_end(queue);

    /* and next_ns names each of these moments: nothing happens one ns earlier */
    queue = queue_make("mfs", 4);
    known.facts[1].deadline_ns = deadline_ns;
    push(queue, &op, 128, p2d(1, 0), 0);
    for (mfs_rank_t rank = peek(queue, 0); mfs_rank_level(rank) > 0; promotions++) {
        const int64_t next_ns = mfs_rmlq_next_ns(queue);

        CHECK(peek(queue, next_ns - 1) == rank);
        rank = peek(queue, next_ns);
        CHECK_EQ(mfs_rmlq_promotions(queue), promotions + 1);
    }
    CHECK_EQ(promotions, 2);
    queue_end(queue);
}

static void level__never_grows_but_to_the_scavenger(void)
{
    struct mfs_rmlq *queue = queue_make("mfs", 4);
    struct mfs_op op;

    known.facts[1].deadline_ns = 20 * MS;
    push(queue, &op, 128, p2d(1, 0), 0);
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 1);
    known.facts[1].deadline_ns = 100000 * MS; /* later, but not lower; the key follows */
    known.version++;
    CHECK(peek(queue, 0) == mfs_rank_make(1, 100000 * MS));
    known.facts[1].flags = MFS_REQUEST_HOPELESS;
    known.version++;
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 8);
    known.facts[1].flags = 0;
    known.version++;
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 2);
    queue_end(queue);
}

static void set_policy__places_anew(void)
{
    struct mfs_rmlq *queue = queue_make("edf", 4);
    struct mfs_params params;
    struct mfs_op op;

    mfs_params_init(&params);
    known.facts[1].deadline_ns = 100000 * MS;
    push(queue, &op, 128, p2d(1, 0), 0);
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 0);
    CHECK_EQ(mfs_rmlq_set_policy(queue, mfs_policy_find("mfs"), &params, 0), 0);
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 2);
    CHECK_EQ(mfs_rmlq_promotions(queue), 0);
    params.levels = 5;
    known.facts[1].deadline_ns = MFS_TIME_NEVER; /* the last of five */
    CHECK_EQ(mfs_rmlq_set_policy(queue, mfs_policy_find("mfs"), &params, 0), 0);
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 4);
    params.levels = 0;
    CHECK_EQ(mfs_rmlq_set_policy(queue, mfs_policy_find("mfs"), &params, 0), -EINVAL);
    CHECK_EQ(mfs_rmlq_set_policy(queue, NULL, &params, 0), -EINVAL);
    queue_end(queue);
}

static void set_rate__doomed_and_back(void)
{
    struct mfs_rmlq *queue = queue_make("mfs", 4);
    struct mfs_op op;

    known.facts[1].deadline_ns = 100 * MS;
    push(queue, &op, 1000000, p2d(1, 0), 0);
    mfs_rmlq_set_rate(queue, 100000000, 0); /* 10 ms of 100 */
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 2);
    mfs_rmlq_set_rate(queue, 1000000, 0); /* a second */
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 8);
    mfs_rmlq_set_rate(queue, 1000000 + 1000000 / 32, 0); /* too little a change */
    CHECK_EQ(mfs_rmlq_next_ns(queue), MFS_TIME_NEVER);
    mfs_rmlq_set_rate(queue, 100000000, 0);
    CHECK_EQ(mfs_rank_level(peek(queue, 0)), 2);
    /* by itself it falls to the scavengers when it cannot be met any more */
    CHECK(mfs_rank_level(peek(queue, 90 * MS)) == 0);
    CHECK_EQ(mfs_rank_level(peek(queue, 90 * MS + 1)), 8);
    queue_end(queue);
}

static void clock__never_runs_back(void)
{
    struct mfs_rmlq *queue = queue_make("fifo", 4);
    struct mfs_op ops[2];
    struct mfs_chunk chunk;

    push(queue, &ops[0], 128, p2d(1, 0), 1000);
    push(queue, &ops[1], 128, p2d(2, 0), 10); /* pushed later, whatever its clock says */
    CHECK_EQ(take(queue, 128, MFS_TIME_NEVER, &chunk), 0);
    CHECK(chunk.op == &ops[0]);
    queue_end(queue);
}

static const struct test tests[] = {
    TEST(promotion__at_the_exact_time), TEST(level__never_grows_but_to_the_scavenger),
    TEST(set_policy__places_anew),      TEST(set_rate__doomed_and_back),
    TEST(clock__never_runs_back),
};

TEST_MAIN(tests)
