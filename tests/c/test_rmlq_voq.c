/* SPDX-License-Identifier: Apache-2.0 */
/* core/rmlq_voq.c: the queues of destinations, and the order among them. */
#include "rmlq_queue.h"

/* What has a larger rank than the limit is no candidate, and is one again when its rank or the
 * limit has changed. */
static void voq__is_held_back_by_a_limit(void)
{
    struct mfs_rmlq *queue = queue_make("edf", 8);
    struct mfs_voq other = {0};
    struct mfs_op first, second;
    struct mfs_chunk chunk;
    mfs_rank_t rank;

    CHECK_EQ(mfs_voq_open(queue, &other), 0);
    known.facts[1].deadline_ns = 1 * MS;
    known.facts[2].deadline_ns = 2 * MS;
    push(queue, &first, 256, p2d(1, 0), 0);
    second = (struct mfs_op){.length = 128};
    CHECK_EQ(mfs_rmlq_push(queue, &second, &other, &(struct mfs_tag){2, 0, MFS_STAGE_P2D}, 0), 0);
    rank = peek(queue, 0);
    CHECK_EQ(mfs_rank_key(rank), 1 * MS);
    mfs_voq_limit(queue, &voq, rank); /* as good as that */
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK(chunk.voq == &voq);
    mfs_voq_limit(queue, &voq, rank - 1);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK(chunk.voq == &other);
    CHECK_EQ(peek(queue, 0), MFS_RANK_NONE);
    CHECK_EQ(mfs_rmlq_operations(queue), 1);
    known.facts[1].deadline_ns = MS / 2; /* it has become more urgent than the limit */
    known.version++;
    CHECK_EQ(mfs_rank_key(peek(queue, 0)), MS / 2);
    mfs_voq_limit(queue, &voq, 0);
    mfs_voq_move(queue, &voq, MFS_VOQ_PARKED); /* the limit stays */
    mfs_voq_move(queue, &voq, MFS_VOQ_OPEN);
    CHECK_EQ(peek(queue, 0), MFS_RANK_NONE);
    mfs_voq_limit(queue, &voq, MFS_RANK_NONE);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK(chunk.op == &first && chunk.last);
    mfs_voq_close(queue, &other);
    queue_end(queue);
}

/* The best of the open ones goes next, whatever waits for one that is parked; and it has its
 * place when it comes back. */
static void voq__moves_with_its_flows(void)
{
    struct mfs_rmlq *queue = queue_make("edf", 8);
    struct mfs_voq other = {0};
    struct mfs_op first[4], second;
    struct mfs_chunk chunk;
    struct mfs_head head;

    CHECK_EQ(mfs_voq_open(queue, &other), 0);
    for (int i = 1; i <= 4; i++) {
        known.facts[i].deadline_ns = i * MS;
        push(queue, &first[i - 1], 128, p2d((uint64_t)i, 0), 0);
    }
    known.facts[5].deadline_ns = 3 * MS - 1;
    second = (struct mfs_op){.length = 128};
    CHECK_EQ(mfs_rmlq_push(queue, &second, &other, &(struct mfs_tag){5, 0, MFS_STAGE_P2D}, 0), 0);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK(chunk.op == &first[0] && chunk.voq == &voq);
    mfs_voq_move(queue, &voq, MFS_VOQ_PARKED);
    CHECK_EQ(mfs_rank_key(peek(queue, 0)), 3 * MS - 1);
    mfs_voq_move(queue, &voq, MFS_VOQ_SLOW);
    mfs_rmlq_head(queue, MFS_VOQ_SLOW, MFS_TAGGED, 128, &head);
    CHECK(head.voq == &voq && mfs_rank_key(head.rank) == 2 * MS);
    CHECK_EQ(mfs_rank_key(peek(queue, 0)), 3 * MS - 1);
    known.facts[4].deadline_ns = 1; /* it becomes the best of them while it cannot go */
    known.version++;
    mfs_voq_move(queue, &voq, MFS_VOQ_PARKED);
    CHECK_EQ(mfs_rank_key(peek(queue, 0)), 3 * MS - 1);
    mfs_voq_move(queue, &voq, MFS_VOQ_OPEN);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK(chunk.op == &first[3]);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK(chunk.op == &first[1]);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK(chunk.op == &second && chunk.voq == &other);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK_EQ(mfs_rmlq_operations(queue), 0);
    CHECK(voq.operations == 0 && other.operations == 0);
    mfs_voq_close(queue, &other);
    queue_end(queue);
}

/* One tag to two destinations: two flows, in the order in which they came. */
static void voq__flows_are_of_one_each(void)
{
    struct mfs_rmlq *queue = queue_make("fifo", 4);
    const struct mfs_tag tag = p2d(1, 0);
    static struct mfs_voq others[40];
    struct mfs_chunk chunk;
    struct mfs_op ops[4];

    for (size_t i = 0; i < COUNT(others); i++)
        CHECK_EQ(mfs_voq_open(queue, &others[i]), 0);
    mfs_voq_close(queue, &others[7]); /* its place is the next one's */
    CHECK_EQ(mfs_voq_open(queue, &others[7]), 0);
    CHECK_EQ(others[7].index, 8);
    for (int i = 0; i < 4; i++) {
        ops[i] = (struct mfs_op){.length = 100};
        CHECK_EQ(mfs_rmlq_push(queue, &ops[i], &others[i % 2 ? 7 : 39], &tag, i), 0);
    }
    CHECK_EQ(mfs_rmlq_flows(queue), 2);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(take(queue, 128, 10, &chunk), 0);
        CHECK(chunk.op == &ops[i] && chunk.voq == &others[i % 2 ? 7 : 39]);
    }
    CHECK_EQ(mfs_rmlq_flows(queue), 0);
    for (size_t i = 0; i < COUNT(others); i++)
        mfs_voq_close(queue, &others[i]);
    queue_end(queue);
}

static const struct test tests[] = {
    TEST(voq__is_held_back_by_a_limit),
    TEST(voq__moves_with_its_flows),
    TEST(voq__flows_are_of_one_each),
};

TEST_MAIN(tests)
