/* SPDX-License-Identifier: Apache-2.0 */
#include "core/rmlq.h"

#include "allocations.h"
#include "rmlq_queue.h"

/* --- create, push --- */

static void create__refuses_bad_values(void)
{
    struct mfs_rmlq_config good, bad[8];
    struct mfs_rmlq *queue = NULL;

    mfs_rmlq_config_init(&good);
    for (size_t i = 0; i < COUNT(bad); i++)
        bad[i] = good;
    bad[0].policy = NULL;
    bad[1].max_flows = 0;
    bad[2].max_flows = 1u << 24;
    bad[3].params.levels = 3;
    bad[4].params.levels = MFS_LEVELS_MAX;
    bad[5].params.rate_margin = 0.5;
    bad[6].params.mlu_base = 1.0;
    bad[7].params.mlu_top = 0.0;
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK_EQ_AT(mfs_rmlq_create(&bad[i], &queue), -EINVAL, i);
    CHECK(queue == NULL);
}

static void push__refuses_bad_operations(void)
{
    struct mfs_rmlq *queue = queue_make("mfs", 4);
    struct mfs_tag tag = p2d(1, 0);
    struct mfs_op op = {.length = 0};

    CHECK_EQ(mfs_rmlq_push(queue, &op, &voq, &tag, 0), -EINVAL);
    push(queue, &op, 1, tag, 0);
    CHECK_EQ(mfs_rmlq_push(queue, &op, &voq, &tag, 0), -EINVAL);
    CHECK_EQ(mfs_rmlq_operations(queue), 1);
    CHECK_EQ(mfs_rmlq_bytes(queue), 1);
    queue_end(queue);
}

static void push__no_flow_is_free(void)
{
    struct mfs_rmlq *queue = queue_make("mfs", 2);
    struct mfs_op ops[4];
    struct mfs_tag third = p2d(3, 0);

    push(queue, &ops[0], 10, p2d(1, 0), 0);
    push(queue, &ops[1], 10, p2d(2, 0), 0);
    ops[2] = (struct mfs_op){.length = 10};
    CHECK_EQ(mfs_rmlq_push(queue, &ops[2], &voq, &third, 0), -ENOSPC);
    CHECK_EQ(mfs_rmlq_operations(queue), 2);
    push(queue, &ops[3], 10, p2d(2, 0), 0); /* a flow that is there takes more */
    queue_end(queue);
}

/* A flow that ran empty before anybody looked is free at once, not at the next look. */
static void push__emptied_flow_is_free_at_once(void)
{
    struct mfs_rmlq *queue = queue_make("mfs", 1);
    struct mfs_op op;

    for (uint64_t i = 1; i < 5; i++) {
        push(queue, &op, 10, p2d(i, 0), 0);
        CHECK_EQ_AT(mfs_rmlq_remove(queue, &op), 0, i);
        CHECK_EQ_AT(mfs_rmlq_next_ns(queue), MFS_TIME_NEVER, i);
        CHECK_EQ_AT(mfs_rmlq_flows(queue), 0, i);
    }
    queue_end(queue);
}

/* --- order --- */

static void take__order(void)
{
    static const struct {
        const char *policy;
        unsigned order[4]; /* of the operations below */
    } rows[] = {
        {"off", {0, 1, 2, 3}}, {"fifo", {0, 1, 2, 3}}, {"sjf", {2, 1, 3, 0}},
        {"edf", {3, 0, 2, 1}}, {"mfs", {3, 0, 2, 1}},  {"mfs_paper", {3, 0, 2, 1}},
    };

    for (size_t row = 0; row < COUNT(rows); row++) {
        struct mfs_rmlq *queue = queue_make(rows[row].policy, 8);
        struct mfs_op ops[4];
        struct mfs_chunk chunk;

        known.facts[1].deadline_ns = 2000 * MS;
        known.facts[2].deadline_ns = MFS_TIME_NEVER;
        known.facts[3].deadline_ns = 3000 * MS;
        known.facts[4].deadline_ns = 1000 * MS;
        push(queue, &ops[0], 400, p2d(1, 0), 0);
        push(queue, &ops[1], 200, p2d(2, 0), 1);
        push(queue, &ops[2], 100, p2d(3, 0), 2);
        push(queue, &ops[3], 300, p2d(4, 0), 3);
        for (unsigned i = 0; i < 4; i++) {
            CHECK_EQ_AT(take(queue, 1024, 4, &chunk), 0, row);
            CHECK_EQ_AT(chunk.op - ops, rows[row].order[i], row * 10 + i);
        }
        CHECK_EQ_AT(take(queue, 1024, 4, &chunk), -EAGAIN, row);
        queue_end(queue);
    }
}

static void take__fifo_on_ties(void)
{
    struct mfs_rmlq *queue = queue_make("edf", REQUESTS);
    struct mfs_op ops[REQUESTS];
    struct mfs_chunk chunk;

    for (int i = 1; i < REQUESTS; i++) {
        known.facts[i].deadline_ns = 1000;
        push(queue, &ops[i], 128, p2d((uint64_t)(REQUESTS - i), 0), 5);
    }
    for (int i = 1; i < REQUESTS; i++) {
        CHECK_EQ_AT(take(queue, 128, 6, &chunk), 0, i);
        CHECK_EQ_AT(chunk.op - ops, i, i);
    }
    queue_end(queue);
}

static void take__fifo_inside_a_flow(void)
{
    struct mfs_rmlq *queue = queue_make("srpt", 4);
    struct mfs_op ops[20];
    struct mfs_chunk chunk;

    for (int i = 0; i < 20; i++)
        push(queue, &ops[i], (uint64_t)(2000 - 90 * i), p2d(1, 0), 0);
    for (int i = 0; i < 20; i++) {
        do {
            CHECK_EQ_AT(take(queue, 512, 0, &chunk), 0, i);
            CHECK_EQ_AT(chunk.op - ops, i, i);
        } while (!chunk.last);
    }
    queue_end(queue);
}

/* fifo is the order of operations: a flow that is filled up again does not stay in front. */
static void take__fifo_by_the_oldest_operation(void)
{
    static const char *const policies[] = {"fifo", "mfs", "mfs_paper", "edf"};

    for (size_t row = 0; row < COUNT(policies); row++) {
        struct mfs_rmlq *queue = queue_make(policies[row], 4);
        struct mfs_op mine[10], others;
        struct mfs_chunk chunk;
        int served = 0;

        push(queue, &mine[0], 128, p2d(1, 0), 0); /* no deadline: by arrival everywhere */
        push(queue, &others, 128, p2d(2, 0), 1);
        for (int i = 1; i < 10 && served == 0; i++) {
            push(queue, &mine[i], 128, p2d(1, 0), 1 + i);
            CHECK_EQ_AT(take(queue, 128, 1 + i, &chunk), 0, row);
            if (chunk.op == &others)
                served = i;
        }
        CHECK_EQ_AT(served, 2, row);
        queue_end(queue);
    }
}

/* Flows that share get equal parts, also after a flow with a deadline has sent much. */
static void take__late_comer_shares_at_once(void)
{
    struct mfs_rmlq *queue = queue_make("edf_paper", 8);
    struct mfs_tag first = {1, 0, MFS_STAGE_COLLECTIVE}, second = {2, 0, MFS_STAGE_COLLECTIVE};
    struct mfs_op ops[3];
    struct mfs_chunk chunk;
    int turns[2] = {0, 0};

    known.facts[3].deadline_ns = 1000 * MS;
    push(queue, &ops[0], 1 << 20, first, 0);
    CHECK_EQ(take(queue, 1024, 0, &chunk), 0);
    push(queue, &ops[2], 1 << 20, p2d(3, 0), 0);
    do
        CHECK_EQ(take(queue, 1024, 0, &chunk), 0);
    while (chunk.op == &ops[2] && !chunk.last);
    push(queue, &ops[1], 1 << 20, second, 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(take(queue, 1024, 0, &chunk), 0);
        turns[chunk.op - ops]++;
    }
    CHECK(turns[0] >= 9 && turns[1] >= 9);
    queue_end(queue);
}

/* --- chunks --- */

static void take__covers_exactly(void)
{
    static const char *const policies[] = {"off", "fair", "srpt", "mfs"};
    static struct mfs_op ops[100];
    uint64_t next[100] = {0}, state = 7;

    for (size_t row = 0; row < COUNT(policies); row++) {
        struct mfs_rmlq *queue = queue_make(policies[row], 16);
        uint64_t total = 0, seen = 0;
        struct mfs_chunk chunk;
        int ends = 0;

        memset(next, 0, sizeof(next));
        for (int i = 0; i < 100; i++) {
            uint64_t length = 1 + test_random(&state) % 5000;

            push(queue, &ops[i], length, p2d(test_random(&state) % 8, 0), i);
            total += length;
        }
        CHECK_EQ_AT(mfs_rmlq_bytes(queue), total, row);
        for (;;) {
            uint64_t limit = 128 + test_random(&state) % 2000;
            int result = take(queue, limit, 100, &chunk);
            ptrdiff_t at = chunk.op - ops;

            if (result == -EAGAIN)
                break;
            CHECK_EQ_AT(result, 0, row);
            CHECK(chunk.length > 0 && chunk.length <= limit);
            CHECK_EQ_AT(chunk.offset, next[at], row);
            next[at] += chunk.length;
            CHECK(chunk.last == (next[at] == chunk.op->length));
            CHECK(chunk.last || next[at] % 128 == 0);
            ends += chunk.last;
            seen += chunk.length;
        }
        CHECK_EQ_AT(seen, total, row);
        CHECK_EQ_AT(ends, 100, row);
        CHECK_EQ_AT(mfs_rmlq_bytes(queue), 0, row);
        CHECK_EQ_AT(mfs_rmlq_flows(queue), 0, row);
        queue_end(queue);
    }
}

static void head__of_an_empty_queue(void)
{
    struct mfs_rmlq *queue = queue_make("mfs", 4);
    struct mfs_chunk chunk;
    struct mfs_head head;
    struct mfs_op op;

    push(queue, &op, 1, p2d(1, 0), 0);
    CHECK_EQ(take(queue, 128, 0, &chunk), 0);
    CHECK_EQ(take(queue, 128, 0, &chunk), -EAGAIN);
    for (int class = 0; class < MFS_VOQ_CLASSES; class++) {
        mfs_rmlq_head(queue, class, MFS_TAGGED, 128, &head);
        CHECK(head.rank == MFS_RANK_NONE && head.bytes == 0 && !head.voq);
    }
    CHECK(!mfs_rmlq_waits(queue));
    queue_end(queue);
}

/* --- remove --- */

static void remove__any_place(void)
{
    for (int which = 0; which < 3; which++) {
        struct mfs_rmlq *queue = queue_make("mfs", 4);
        struct mfs_op ops[3];
        struct mfs_chunk chunk;

        for (int i = 0; i < 3; i++)
            push(queue, &ops[i], 1000, p2d(1, 0), i);
        CHECK_EQ_AT(take(queue, 256, 5, &chunk), 0, which); /* the first is under way */
        CHECK_EQ_AT(mfs_rmlq_remove(queue, &ops[which]), 0, which);
        CHECK_EQ_AT(mfs_rmlq_remove(queue, &ops[which]), -ENOENT, which);
        CHECK_EQ_AT(mfs_rmlq_bytes(queue), which == 0 ? 2000 : 1744, which);
        CHECK_EQ_AT(mfs_rmlq_operations(queue), 2, which);
        for (int i = 0; i < 3; i++) {
            if (i == which)
                continue;
            CHECK_EQ_AT(take(queue, 1024, 5, &chunk), 0, which);
            CHECK_EQ_AT(chunk.op - ops, i, which);
        }
        CHECK_EQ_AT(take(queue, 1024, 5, &chunk), -EAGAIN, which);
        queue_end(queue);
    }
}

static void remove__the_rest_is_judged_anew(void)
{
    struct mfs_rmlq *queue = queue_make("srpt", 4);
    struct mfs_op ops[3];
    struct mfs_chunk chunk;

    push(queue, &ops[0], 5000, p2d(1, 0), 0);
    push(queue, &ops[1], 1000, p2d(1, 0), 0);
    push(queue, &ops[2], 2000, p2d(2, 0), 0);
    CHECK_EQ(mfs_rank_key(peek(queue, 0)), 2000);
    CHECK_EQ(mfs_rmlq_remove(queue, &ops[0]), 0);
    CHECK_EQ(take(queue, 4096, 0, &chunk), 0);
    CHECK(chunk.op == &ops[1]);
    queue_end(queue);
}

/* --- both kinds --- */

static void head__of_each_kind(void)
{
    struct mfs_rmlq *queue = queue_make("mfs", 4);
    struct mfs_tag none = {0};
    struct mfs_op tagged, first, second;
    struct mfs_head head, untagged;
    struct mfs_chunk chunk;

    known.facts[1].deadline_ns = 1000 * MS;
    push(queue, &tagged, 3000, p2d(1, 0), 0);
    push(queue, &first, 1100, none, 5);
    push(queue, &second, 10, none, 6);
    CHECK_EQ(best(queue, 1000, 6, &head), MFS_TAGGED);
    CHECK_EQ(head.bytes, 896);
    mfs_rmlq_head(queue, MFS_VOQ_OPEN, MFS_UNTAGGED, 1000, &untagged);
    CHECK(untagged.rank > head.rank && mfs_rank_key(untagged.rank) == 5 && untagged.bytes == 896);
    mfs_rmlq_take(queue, untagged.voq, MFS_UNTAGGED, 1000, &chunk); /* out of its turn */
    CHECK(chunk.op == &first && chunk.length == 896 && !chunk.last && chunk.rank == untagged.rank);
    mfs_rmlq_take(queue, untagged.voq, MFS_UNTAGGED, 1000, &chunk);
    CHECK(chunk.op == &first && chunk.offset == 896 && chunk.last);
    CHECK_EQ(take(queue, 4000, 6, &chunk), 0); /* the order is as before */
    CHECK(chunk.op == &tagged && chunk.last);
    CHECK_EQ(best(queue, 1000, 6, &head), MFS_UNTAGGED);
    CHECK_EQ(take(queue, 1000, 6, &chunk), 0);
    CHECK(chunk.op == &second && mfs_rmlq_operations(queue) == 0);
    queue_end(queue);
}

/* What was seen is what is taken, also when a request has become more urgent in between. */
static void take__what_was_seen(void)
{
    struct mfs_rmlq *queue = queue_make("edf", 4);
    struct mfs_op soon, late;
    struct mfs_chunk chunk;
    struct mfs_head head;

    known.facts[1].deadline_ns = 100 * MS;
    known.facts[2].deadline_ns = 1000 * MS;
    push(queue, &soon, 512, p2d(1, 0), 0);
    push(queue, &late, 3000, p2d(2, 0), 0);
    CHECK_EQ(best(queue, 1000, 0, &head), MFS_TAGGED);
    CHECK_EQ(head.bytes, 512);
    known.facts[2].deadline_ns = 10 * MS;
    known.version++;
    mfs_rmlq_take(queue, head.voq, MFS_TAGGED, 1000, &chunk);
    CHECK(chunk.op == &soon && chunk.last && chunk.rank == head.rank);
    CHECK_EQ(take(queue, 1000, 0, &chunk), 0);
    CHECK(chunk.op == &late && chunk.length == 896);
    queue_end(queue);
}

/* --- cost --- */

static void cost__nothing_is_allocated_once_it_has_grown(void)
{
    static struct mfs_op ops[2000];

    for (size_t row = 0; mfs_policy_at(row); row++) {
        struct mfs_rmlq *queue = queue_make(mfs_policy_at(row)->name, REQUESTS);
        unsigned long before = 0;
        struct mfs_params params;
        struct mfs_chunk chunk;

        mfs_params_init(&params);
        for (int i = 1; i < REQUESTS; i++)
            known.facts[i].deadline_ns = i * MS;
        for (int round = 0; round < 3; round++) { /* at first the voq grows to its flows */
            for (int i = 0; i < 2000; i++)
                push(queue, &ops[i], 1000, p2d((uint64_t)i % REQUESTS, 0), i);
            known.version++;
            CHECK_EQ(mfs_rmlq_remove(queue, &ops[77]), 0);
            mfs_rmlq_set_rate(queue, 1000000 << round, 2000);
            CHECK_EQ(mfs_rmlq_set_policy(queue, mfs_policy_find("mfs"), &params, 2000), 0);
            for (int64_t now_ns = 2000; take(queue, 512, now_ns, &chunk) == 0;)
                now_ns += 10000;
            CHECK_EQ_AT(mfs_rmlq_operations(queue), 0, row);
            CHECK_EQ_AT(round < 2 || allocations == before, true, row);
            before = allocations;
        }
        queue_end(queue);
    }
    CHECK(allocations > 0); /* they are counted at all */
}

static void cost__an_operation_is_small(void)
{
    CHECK(sizeof(struct mfs_op) <= 128);
}

static const struct test tests[] = {
    TEST(create__refuses_bad_values),
    TEST(push__refuses_bad_operations),
    TEST(push__no_flow_is_free),
    TEST(push__emptied_flow_is_free_at_once),
    TEST(take__order),
    TEST(take__fifo_on_ties),
    TEST(take__fifo_inside_a_flow),
    TEST(take__fifo_by_the_oldest_operation),
    TEST(take__late_comer_shares_at_once),
    TEST(take__covers_exactly),
    TEST(head__of_an_empty_queue),
    TEST(remove__any_place),
    TEST(remove__the_rest_is_judged_anew),
    TEST(head__of_each_kind),
    TEST(take__what_was_seen),
    TEST(cost__nothing_is_allocated_once_it_has_grown),
    TEST(cost__an_operation_is_small),
};

TEST_MAIN(tests)
