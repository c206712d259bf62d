/* SPDX-License-Identifier: Apache-2.0 */
/* When the queue asks its policy, and what it is told. */
#include "core/rmlq_inside.h"

#include "test.h"

#define RATE UINT64_C(32000)

/* The answers of a policy, and what it was asked. */
static struct {
    unsigned asked;
    uint64_t rate_Bps;
    int64_t now_ns;
    int64_t recheck_ns; /* what it answers */
} last;

static void note(const struct mfs_params *params, const struct mfs_flow_info *flow,
                 const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place)
{
    (void)flow, (void)facts;
    if (++last.asked > 1000)
        FAIL("it is asked without an end");
    last.rate_Bps = params->rate_Bps;
    last.now_ns = now_ns;
    place->recheck_ns = last.recheck_ns;
}

static const struct mfs_policy noting = {.name = "noting", .place = note};

static struct mfs_rmlq *queue;
static struct mfs_voq voq;

static void set_up(const struct mfs_policy *policy)
{
    struct mfs_rmlq_config config;

    mfs_rmlq_config_init(&config);
    config.policy = policy;
    config.params.rate_Bps = RATE;
    CHECK_EQ(mfs_rmlq_create(&config, &queue), 0);
    CHECK_EQ(mfs_voq_open(queue, &voq), 0);
    last.recheck_ns = MFS_TIME_NEVER;
}

static void tear_down(void)
{
    mfs_voq_close(queue, &voq);
    mfs_rmlq_destroy(queue);
}

static void push(struct mfs_op *op, uint64_t request, uint64_t length)
{
    const struct mfs_tag tag = {request, 0, MFS_STAGE_P2D};

    *op = (struct mfs_op){.length = length};
    CHECK_EQ(mfs_rmlq_push(queue, op, &voq, &tag, 1), 0);
}

static void recheck__of_the_past_and_of_now(void)
{
    static const int64_t answers[] = {INT64_MIN, 0, 99, 100};
    struct mfs_op op;

    for (size_t i = 0; i < COUNT(answers); i++) {
        set_up(&noting);
        last.asked = 0;
        last.recheck_ns = answers[i];
        push(&op, 1, 128);
        mfs_rmlq_place_due(queue, 100); /* asked once, and it has an end */
        CHECK_EQ_AT(last.asked, 1, i);
        CHECK_EQ_AT(mfs_rmlq_next_ns(queue), 101, i);
        mfs_rmlq_place_due(queue, 100);
        CHECK_EQ_AT(last.asked, 1, i);
        mfs_rmlq_place_due(queue, 200); /* not for each of the times in between */
        CHECK_EQ_AT(last.asked, 2, i);
        CHECK_EQ_AT(last.now_ns, 200, i);
        CHECK_EQ(mfs_rmlq_remove(queue, &op), 0);
        tear_down();
    }
}

static void recheck__at_its_time(void)
{
    struct mfs_op op;

    set_up(&noting);
    last.recheck_ns = 101;
    push(&op, 1, 128);
    mfs_rmlq_place_due(queue, 100);
    CHECK_EQ(mfs_rmlq_next_ns(queue), 101);
    last.recheck_ns = 500;
    mfs_rmlq_place_due(queue, 101);
    CHECK_EQ(last.asked, 2);
    CHECK_EQ(mfs_rmlq_next_ns(queue), 500);
    mfs_rmlq_place_due(queue, 499);
    CHECK_EQ(last.asked, 2);
    last.recheck_ns = MFS_TIME_NEVER;
    mfs_rmlq_place_due(queue, 500);
    CHECK_EQ(last.asked, 3);
    CHECK_EQ(mfs_rmlq_next_ns(queue), MFS_TIME_NEVER);
    CHECK_EQ(mfs_rmlq_remove(queue, &op), 0);
    tear_down();
}

/* A change of less than 1/32 moves nothing; many small ones add up. */
static void rate__small_changes_are_ignored(void)
{
    static const struct {
        uint64_t rate_Bps;
        bool taken;
    } rows[] = {
        {RATE, false},
        {RATE + RATE / 32, false},
        {RATE - RATE / 32, false},
        {RATE + 1, false},
        {RATE + RATE / 32 + 1, true}, /* 33001 */
        {31970, false},
        {31969, true},
        {0, true},
        {0, false},
        {1, true},
        {2, true},
        {UINT64_MAX, true},
        {UINT64_MAX - 1, false},
        {0, true},
    };
    unsigned asked;
    struct mfs_op op;

    set_up(&noting);
    push(&op, 1, 128);
    mfs_rmlq_place_due(queue, 100);
    CHECK_EQ(last.rate_Bps, RATE);
    for (size_t i = 0; i < COUNT(rows); i++) {
        asked = last.asked;
        mfs_rmlq_set_rate(queue, rows[i].rate_Bps, 100 + (int64_t)i);
        CHECK_EQ_AT(last.asked, asked + rows[i].taken, i);
        if (rows[i].taken)
            CHECK_EQ_AT(last.rate_Bps, rows[i].rate_Bps, i);
    }
    CHECK_EQ(mfs_rmlq_remove(queue, &op), 0);
    tear_down();
}

static uint64_t take_chunk(enum mfs_kind kind)
{
    struct mfs_chunk chunk;

    mfs_rmlq_place_due(queue, 2);
    mfs_rmlq_take(queue, &voq, kind, 128, &chunk);
    return chunk.tag.request;
}

/* Who takes a turn that is not its by the order does not move the clock of shares: a flow that
 * comes later begins where the least of those is that wait. */
static void share__a_turn_out_of_order_moves_no_clock(void)
{
    struct mfs_op first, untagged, late;

    set_up(mfs_policy_find("fair"));
    push(&first, 1, 1 << 20);
    push(&untagged, MFS_REQUEST_NONE, 1 << 20);
    CHECK_EQ(take_chunk(MFS_TAGGED), 1);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(take_chunk(MFS_UNTAGGED), MFS_REQUEST_NONE);
    push(&late, 2, 1 << 20);
    for (int i = 0; i < 20; i++) { /* they take turns from the start */
        const uint64_t one = take_chunk(MFS_TAGGED), other = take_chunk(MFS_TAGGED);

        CHECK_EQ_AT(one + other, 3, i);
    }
    CHECK_EQ(mfs_rmlq_remove(queue, &first), 0);
    CHECK_EQ(mfs_rmlq_remove(queue, &untagged), 0);
    CHECK_EQ(mfs_rmlq_remove(queue, &late), 0);
    tear_down();
}

/* One that takes turns in order does: who comes later does not catch up on what it had no part in.
 */
static void share__a_late_comer_shares_from_now_on(void)
{
    struct mfs_op first, late;

    set_up(mfs_policy_find("fair"));
    push(&first, 1, 1 << 20);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(take_chunk(MFS_TAGGED), 1);
    push(&late, 2, 1 << 20);
    for (int i = 0; i < 20; i++) {
        const uint64_t one = take_chunk(MFS_TAGGED), other = take_chunk(MFS_TAGGED);

        CHECK_EQ_AT(one + other, 3, i);
    }
    CHECK_EQ(mfs_rmlq_remove(queue, &first), 0);
    CHECK_EQ(mfs_rmlq_remove(queue, &late), 0);
    tear_down();
}

static int64_t deadline_ns[3]; /* of each request; 0: it is not known any more */
static uint64_t facts_version;

static uint64_t version_of_facts(void *ctx)
{
    (void)ctx;
    return facts_version;
}

static bool facts_of(void *ctx, uint64_t request, struct mfs_facts *facts)
{
    (void)ctx;
    if (deadline_ns[request] == 0)
        return false;
    facts->deadline_ns = deadline_ns[request];
    return true;
}

static uint64_t request_of_next(void)
{
    struct mfs_head head;
    struct mfs_chunk chunk;

    mfs_rmlq_best(queue, MFS_VOQ_OPEN, MFS_TAGGED, 128, &head);
    mfs_rmlq_take(queue, head.voq, MFS_TAGGED, 128, &chunk);
    return chunk.tag.request;
}

/* Its request is finished, or who had registered it has died: it goes behind those that have a
 * deadline, and not in front of them by the time at which it came. */
static void deadline__that_is_gone(const char *policy)
{
    const int64_t second = 1000000000, now_ns = 100 * second;
    struct mfs_rmlq_config config;
    struct mfs_op first, other;

    mfs_rmlq_config_init(&config);
    config.policy = mfs_policy_find(policy);
    config.params.rate_Bps = UINT64_C(1) << 30;
    config.facts = (struct mfs_facts_source){NULL, version_of_facts, facts_of};
    CHECK_EQ(mfs_rmlq_create(&config, &queue), 0);
    CHECK_EQ(mfs_voq_open(queue, &voq), 0);
    deadline_ns[1] = now_ns + 10 * second;
    deadline_ns[2] = now_ns + 20 * second;
    push(&first, 1, 1024);
    push(&other, 2, 1024);
    mfs_rmlq_place_due(queue, now_ns);
    CHECK_EQ(request_of_next(), 1);
    deadline_ns[1] = 0;
    facts_version++;
    mfs_rmlq_place_due(queue, now_ns);
    CHECK_EQ(request_of_next(), 2);
    deadline_ns[1] = now_ns + second; /* and back */
    facts_version++;
    mfs_rmlq_place_due(queue, now_ns);
    CHECK_EQ(request_of_next(), 1);
    CHECK_EQ(mfs_rmlq_remove(queue, &first), 0);
    CHECK_EQ(mfs_rmlq_remove(queue, &other), 0);
    tear_down();
}

static void deadline__that_is_gone_under_mfs(void)
{
    deadline__that_is_gone("mfs");
}

static void deadline__that_is_gone_under_edf(void)
{
    deadline__that_is_gone("edf");
}

static const struct test tests[] = {
    TEST(recheck__of_the_past_and_of_now),        TEST(recheck__at_its_time),
    TEST(rate__small_changes_are_ignored),        TEST(share__a_turn_out_of_order_moves_no_clock),
    TEST(share__a_late_comer_shares_from_now_on), TEST(deadline__that_is_gone_under_mfs),
    TEST(deadline__that_is_gone_under_edf),
};

TEST_MAIN(tests)
