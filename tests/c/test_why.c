/* SPDX-License-Identifier: Apache-2.0 */
/* Why a flow has its level: the reason that is told is the one that placed it. */
#include "core/why.h"

#include "test.h"

#define MS INT64_C(1000000)
#define S INT64_C(1000000000)
#define GB UINT64_C(1000000000)

static struct mfs_why why_of(const char *name, const struct mfs_params *params,
                             struct mfs_flow_info *flow, const struct mfs_facts *facts,
                             int64_t now_ns)
{
    const struct mfs_policy *policy = mfs_policy_find(name);
    struct mfs_place place = {.level = params->levels - 1, .recheck_ns = MFS_TIME_NEVER};
    struct mfs_why why;

    policy->place(params, flow, facts, now_ns, &place);
    flow->level = place.level;
    mfs_why_find(params, flow, facts, &place, now_ns, &why);
    return why;
}

static uint64_t draw(uint64_t below)
{
    static uint64_t state = 17;

    return test_random(&state) % below;
}

static int64_t moment(void)
{
    return draw(4) == 0 ? MFS_TIME_NEVER : (int64_t)draw((uint64_t)S);
}

/* 0 to 2, K-1 and K of policy mfs, and the reasons that lead there. */
static void why__agrees_with_the_level(void)
{
    static const uint32_t reasons[9] = {
        [0] = 1u << MFS_WHY_URGENT | 1u << MFS_WHY_BLOCKS,
        [1] = 1u << MFS_WHY_URGENT | 1u << MFS_WHY_TURN,
        [2] = 1u << MFS_WHY_TIME | 1u << MFS_WHY_PATIENCE,
        [7] = 1u << MFS_WHY_UNDATED,
        [8] = 1u << MFS_WHY_HOPELESS | 1u << MFS_WHY_SHED | 1u << MFS_WHY_LATE,
    };
    uint32_t met = 0;
    struct mfs_params params;

    mfs_params_init(&params);
    for (unsigned i = 0; i < 200000; i++) {
        struct mfs_flow_info flow = {
            .tag = {1, (uint32_t)draw(8), (uint32_t)draw(4)},
            .bytes_left = 1 + draw(draw(2) ? GB : 10000000),
            .arrival_ns = (int64_t)draw((uint64_t)S),
        };
        struct mfs_facts facts;
        struct mfs_why why;

        mfs_facts_init(&facts);
        facts.deadline_ns = moment();
        facts.next_start_ns = moment();
        facts.start_ns = moment();
        facts.arrival_ns = (int64_t)draw(3) * 300 * MS;
        facts.layers = (uint32_t)draw(9);
        facts.layer_now = (uint32_t)draw(8);
        facts.layer_ns = (int64_t)draw(30 * (uint64_t)MS);
        facts.p2d_left_bytes = draw(3) ? 0 : draw(GB);
        facts.flags = draw(4) ? 0 : (uint32_t)draw(4);
        params.rate_Bps = draw(8) ? GB : 0;
        params.rate_margin = draw(2) ? 1.0 : 2.0;
        params.patience = (uint32_t)draw(3);
        why = why_of("mfs", &params, &flow, &facts, (int64_t)draw(2 * (uint64_t)S));
        CHECK(why.reason < MFS_WHY_LAST);
        CHECK_EQ_AT(reasons[flow.level] >> why.reason & 1, 1, i);
        met |= 1u << why.reason;
    }
    CHECK_EQ(met, (1u << MFS_WHY_LAST) - 1 - (1u << MFS_WHY_ORDER)); /* all of them */
}

static void why__late_by_what_at_which_rate(void)
{
    struct mfs_flow_info flow = {.tag = {1, 0, MFS_STAGE_P2D}, .bytes_left = GB / 2};
    struct mfs_facts facts;
    struct mfs_params params;
    struct mfs_why why;

    mfs_facts_init(&facts);
    mfs_params_init(&params);
    facts.deadline_ns = S;
    params.rate_Bps = GB;
    why = why_of("mfs", &params, &flow, &facts, 700 * MS); /* needs 500, has 300 */
    CHECK(why.reason == MFS_WHY_LATE && why.slack_ns == -200 * MS && why.rate_Bps == GB);
    params.rate_margin = 1.25; /* needs 400 */
    why = why_of("mfs", &params, &flow, &facts, 700 * MS);
    CHECK(why.reason == MFS_WHY_LATE && why.slack_ns == -100 * MS && why.rate_Bps == 5 * GB / 4);
    params.rate_margin = 2.0;
    why = why_of("mfs", &params, &flow, &facts, 700 * MS);
    CHECK(why.reason == MFS_WHY_URGENT && why.slack_ns == -200 * MS && why.rate_Bps == GB);
}

static void why__of_other_policies(void)
{
    struct mfs_flow_info flow = {.tag = {1, 0, MFS_STAGE_P2D}, .bytes_left = GB / 2};
    struct mfs_facts facts;
    struct mfs_params params;
    struct mfs_why why;

    mfs_facts_init(&facts);
    mfs_params_init(&params);
    params.rate_Bps = GB;
    why = why_of("edf", &params, &flow, &facts, 0);
    CHECK(why.reason == MFS_WHY_UNDATED && why.slack_ns == MFS_TIME_NEVER);
    facts.deadline_ns = S;
    facts.flags = MFS_REQUEST_SHED;
    why = why_of("edf", &params, &flow, &facts, 100 * MS); /* which does not know it */
    CHECK(why.reason == MFS_WHY_ORDER && why.slack_ns == 400 * MS);
    why = why_of("mfs_paper", &params, &flow, &facts, 100 * MS);
    CHECK(why.reason == MFS_WHY_SHED && why.slack_ns == 400 * MS);
}

static const struct test tests[] = {
    TEST(why__agrees_with_the_level),
    TEST(why__late_by_what_at_which_rate),
    TEST(why__of_other_policies),
};

TEST_MAIN(tests)
