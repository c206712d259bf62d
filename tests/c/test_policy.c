/* SPDX-License-Identifier: Apache-2.0 */
#include "core/policy.h"

#include "test.h"

#define MS INT64_C(1000000)
#define S INT64_C(1000000000)
#define HOUR (3600 * S)
#define NEVER MFS_TIME_NEVER
#define GB UINT64_C(1000000000)

struct row {
    const char *policy;
    struct mfs_tag tag;
    struct mfs_flow_info flow; /* the tag is filled in */
    struct mfs_facts facts;
    uint64_t rate_Bps;
    int64_t now_ns;
    uint32_t level;
    int64_t key; /* -1: any */
    int64_t recheck_ns;
};

#define FACTS(...)                                                                                 \
    {.deadline_ns = NEVER, .next_start_ns = NEVER, .red_ns = NEVER, .start_ns = NEVER, __VA_ARGS__}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct mfs_place place = {.level = 7, .recheck_ns = NEVER};
        struct mfs_flow_info flow = rows[i].flow;
        struct mfs_params params;

        mfs_params_init(&params);
        params.rate_Bps = rows[i].rate_Bps;
        flow.tag = rows[i].tag;
        flow.level = MFS_LEVELS_MAX;
        mfs_policy_find(rows[i].policy)
            ->place(&params, &flow, &rows[i].facts, rows[i].now_ns, &place);
        CHECK_EQ_AT(place.level, rows[i].level, i);
        if (rows[i].key >= 0)
            CHECK_EQ_AT(place.key, rows[i].key, i);
        CHECK_EQ_AT(place.recheck_ns, rows[i].recheck_ns, i);
    }
}

static struct mfs_place placed(const char *policy, const struct mfs_params *params,
                               const struct mfs_flow_info *flow, const struct mfs_facts *facts,
                               int64_t now_ns)
{
    struct mfs_place place = {.level = params->levels - 1, .recheck_ns = NEVER};

    mfs_policy_find(policy)->place(params, flow, facts, now_ns, &place);
    return place;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init" /* FACTS gives defaults first */

static void place__baselines(void)
{
    static const struct mfs_tag kv = {1, 0, MFS_STAGE_KV_REUSE}, last = {1, 0, MFS_STAGE_P2D};
    const struct mfs_flow_info flow = {
        .arrival_ns = 5, .bytes_left = 300, .bytes_sent = 200, .share_bytes = 700};
    const struct row rows[] = {
        {"off", kv, flow, FACTS(0), 0, 0, 0, 5, NEVER},
        {"fifo", kv, flow, FACTS(0), 0, 0, 0, 5, NEVER},
        {"fair", kv, flow, FACTS(0), 0, 0, 0, 700, NEVER},
        {"sjf", kv, flow, FACTS(0), 0, 0, 0, 500, NEVER},
        {"srpt", kv, flow, FACTS(0), 0, 0, 0, 300, NEVER},
        {"edf", kv, flow, FACTS(.deadline_ns = 90), 0, 0, 0, 90, NEVER},
        {"edf", kv, flow, FACTS(0), 0, 0, 7, 5, NEVER},
        {"edf_paper", last, flow, FACTS(.deadline_ns = 90), 0, 0, 0, 90, NEVER},
        {"edf_paper", kv, flow, FACTS(.deadline_ns = 90), 0, 0, 1, 700, NEVER},
        {"edf_paper", last, flow, FACTS(0), 0, 0, 1, 700, NEVER},
        /* 200 of 500 have left: due at two fifths of the way to the deadline */
        {"karuna", last, flow, FACTS(.deadline_ns = 100), 0, 39, 8, 100, 40},
        {"karuna", last, flow, FACTS(.deadline_ns = 100), 0, 40, 0, 100, NEVER},
        {"karuna", last, flow, FACTS(.deadline_ns = 100), 0, 101, 0, 100, NEVER},
        {"karuna", kv, flow, FACTS(.deadline_ns = 100), 0, 39, 1, 500, NEVER},
        {"karuna", last, flow, FACTS(0), 0, 39, 1, 500, NEVER},
    };

    check_rows(rows, COUNT(rows));
}

static void place__mfs_collective(void)
{
    static const struct mfs_tag first = {1, 0, MFS_STAGE_COLLECTIVE};
    static const struct mfs_tag third = {1, 2, MFS_STAGE_COLLECTIVE};
    const struct mfs_flow_info flow = {.arrival_ns = 5, .bytes_left = 1};
    const struct row rows[] = {
        /* D - max((G-1-g) w + x3, (G-g) x3) */
        {"mfs", first, flow,
         FACTS(.deadline_ns = S, .layers = 4, .layer_ns = 10 * MS, .p2d_layer_ns = MS), 0, 0, 0,
         S - 31 * MS, NEVER},
        {"mfs", first, flow,
         FACTS(.deadline_ns = S, .layers = 4, .layer_ns = 10 * MS, .p2d_layer_ns = 20 * MS), 0, 0,
         0, S - 80 * MS, NEVER},
        {"mfs", third, flow,
         FACTS(.deadline_ns = S, .layers = 4, .layer_ns = 10 * MS, .p2d_layer_ns = MS), 0, 0, 0,
         S - 11 * MS, NEVER},
        /* urgency inherited from behind: S' - (G-1-g) w */
        {"mfs", third, flow,
         FACTS(.deadline_ns = S, .next_start_ns = S / 2, .layers = 4, .layer_ns = 10 * MS), 0, 0, 0,
         S / 2 - 10 * MS, NEVER},
        /* hopeless: the own term is dropped, the level stays */
        {"mfs", third, flow,
         FACTS(.deadline_ns = 1, .next_start_ns = S, .layers = 4, .layer_ns = 10 * MS,
               .flags = MFS_REQUEST_HOPELESS),
         0, 0, 0, S - 10 * MS, NEVER},
        /* short, of a quarter of its group at most: an hour in front of what is due with it */
        {"mfs", third, flow,
         FACTS(.deadline_ns = 2 * HOUR, .layers = 4, .layer_ns = 10 * MS,
               .collective_ns = 10 * MS / 4),
         0, 0, 0, HOUR - 10 * MS, NEVER},
        {"mfs", third, flow,
         FACTS(.deadline_ns = 2 * HOUR, .layers = 4, .layer_ns = 10 * MS,
               .collective_ns = 10 * MS / 4 + 1),
         0, 0, 0, 2 * HOUR - 10 * MS, NEVER},
        /* nothing known: behind all that is, in order of arrival */
        {"mfs", first, flow, FACTS(0), 0, 0, 0, (INT64_C(1) << 57) + 5, NEVER},
        {"mfs", first, flow, FACTS(.layer_ns = 10 * MS, .collective_ns = MS), 0, 0, 0,
         (INT64_C(1) << 57) + 5, NEVER},
    };

    check_rows(rows, COUNT(rows));
}

static void place__mfs_fetch(void)
{
    static const struct mfs_tag for_two = {1, 2, MFS_STAGE_KV_REUSE};
    const struct mfs_flow_info flow = {.arrival_ns = 5, .bytes_left = 1000000};
    const struct mfs_flow_info large = {.arrival_ns = 5, .bytes_left = 5000000};
    const struct row rows[] = {
        /* u = 120 - 102 - 3 * 5 = 3 ms is urgent, but group 1 computes from 110 ms on only */
        {"mfs", for_two, large,
         FACTS(.deadline_ns = S, .start_ns = 100 * MS, .layers = 4, .layer_ns = 10 * MS), GB,
         102 * MS, 1, S - 20 * MS, 110 * MS},
        {"mfs", for_two, large,
         FACTS(.deadline_ns = S, .start_ns = 100 * MS, .layers = 4, .layer_ns = 10 * MS), GB,
         110 * MS, 0, S - 20 * MS, NEVER},
        /* need = start + g w = 120 ms; B/C = 3 fetches of 1 ms; u = 117 ms: later, until
         * 20 are left */
        {"mfs", for_two, flow,
         FACTS(.deadline_ns = S, .start_ns = 100 * MS, .layers = 4, .layer_ns = 10 * MS), GB, 0, 2,
         S - 20 * MS, 97 * MS},
        {"mfs", for_two, flow,
         FACTS(.deadline_ns = S, .start_ns = 100 * MS, .layers = 4, .layer_ns = 10 * MS), GB,
         97 * MS, 1, S - 20 * MS, 112 * MS},
        /* groups that have been computed need no fetching */
        {"mfs", for_two, flow,
         FACTS(.deadline_ns = S, .start_ns = 100 * MS, .layers = 4, .layer_ns = 10 * MS,
               .layer_now = 1),
         GB, 0, 2, S - 20 * MS, 98 * MS},
        /* late already */
        {"mfs", for_two, flow,
         FACTS(.deadline_ns = S, .start_ns = 100 * MS, .layers = 4, .layer_ns = 10 * MS), GB,
         118 * MS, 0, S - 20 * MS, NEVER},
        /* the unit's queue is unknown: by latest finish */
        {"mfs", for_two, flow, FACTS(.deadline_ns = S, .layers = 4, .layer_ns = 10 * MS), GB,
         S - 26 * MS, 0, S - 20 * MS, NEVER},
        {"mfs", for_two, flow, FACTS(0), GB, 0, 7, 5, NEVER},
    };

    check_rows(rows, COUNT(rows));
}

static void place__mfs_p2d(void)
{
    static const struct mfs_tag tag = {1, 0, MFS_STAGE_P2D}, none = {0, 0, MFS_STAGE_NONE};
    const struct mfs_flow_info flow = {.arrival_ns = 5, .bytes_left = 10000000}; /* 10 ms */
    const struct row rows[] = {
        /* u = D - now - 2 R/C = 80 ms: later; soon at 20, now at 5 */
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS), GB, 0, 2, 100 * MS, 60 * MS},
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS), GB, 60 * MS, 1, 100 * MS, 75 * MS},
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS), GB, 75 * MS, 0, 100 * MS, 90 * MS + 1},
        /* R counts layers that are not computed yet */
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS, .p2d_left_bytes = 50000000), GB, 0, 0,
         100 * MS, 50 * MS + 1},
        /* cannot be delivered in time, computing or not: given up, by D + 100 R/C */
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS), GB, 90 * MS + 1, 8, 1100 * MS, NEVER},
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS, .layers = 4, .p2d_left_bytes = 20000000),
         GB, 90 * MS + 1, 8, 2100 * MS, NEVER},
        {"mfs", tag, flow, FACTS(.deadline_ns = S, .flags = MFS_REQUEST_SHED), GB, 0, 8, 2 * S,
         NEVER},
        {"mfs", tag, flow, FACTS(.deadline_ns = S, .flags = MFS_REQUEST_HOPELESS), GB, 0, 8, 2 * S,
         NEVER},
        {"mfs", tag, flow, FACTS(.deadline_ns = S, .flags = MFS_REQUEST_HOPELESS), 0, 0, 8, S,
         NEVER},
        /* no deadline, nothing known, no tag: last, by arrival */
        {"mfs", tag, flow, FACTS(0), GB, 0, 7, 5, NEVER},
        {"mfs", none, flow, FACTS(0), GB, 0, 7, 5, NEVER},
        /* bandwidth unknown: only the deadline counts */
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS), 0, 95 * MS, 0, 100 * MS, 100 * MS + 1},
    };

    check_rows(rows, COUNT(rows));
}

/* One that was given up is last until it is late by 20 times its target; then nothing that can wait
 * is in front of it. */
static void place__mfs_patience(void)
{
    static const struct mfs_tag tag = {1, 0, MFS_STAGE_P2D}, fetch = {1, 0, MFS_STAGE_KV_REUSE};
    const struct mfs_flow_info flow = {.arrival_ns = 5, .bytes_left = 10000000};
    const struct row rows[] = {
        /* by its flags, or since it cannot be delivered any more: 100 + 20 * 60 ms */
        {"mfs", tag, flow,
         FACTS(.arrival_ns = 40 * MS, .deadline_ns = 100 * MS, .flags = MFS_REQUEST_SHED), GB,
         50 * MS, 8, 1100 * MS, 1300 * MS},
        {"mfs", tag, flow, FACTS(.arrival_ns = 40 * MS, .deadline_ns = 100 * MS), GB, 1300 * MS - 1,
         8, 1100 * MS, 1300 * MS},
        {"mfs", tag, flow, FACTS(.arrival_ns = 40 * MS, .deadline_ns = 100 * MS), GB, 1300 * MS, 2,
         100 * MS, NEVER},
        {"mfs", tag, flow,
         FACTS(.arrival_ns = 40 * MS, .deadline_ns = 100 * MS, .flags = MFS_REQUEST_HOPELESS), GB,
         1300 * MS, 2, 100 * MS, NEVER},
        /* no arrival or no target: nobody knows how long it has waited for what */
        {"mfs", tag, flow, FACTS(.deadline_ns = 100 * MS), GB, 100 * S, 8, 1100 * MS, NEVER},
        {"mfs", tag, flow, FACTS(.arrival_ns = 100 * MS, .deadline_ns = 100 * MS), GB, 100 * S, 8,
         1100 * MS, NEVER},
        /* other stages are never given up */
        {"mfs", fetch, flow,
         FACTS(.arrival_ns = 40 * MS, .deadline_ns = 100 * MS, .flags = MFS_REQUEST_SHED), GB,
         1300 * MS, 0, 100 * MS, NEVER},
    };
    struct mfs_place place = {.level = 7, .recheck_ns = NEVER};
    const struct mfs_policy *policy = mfs_policy_find("mfs");
    struct mfs_flow_info late = flow;
    struct mfs_params params;

    check_rows(rows, COUNT(rows));
    mfs_params_init(&params);
    late.tag = tag;
    params.patience = 0; /* never */
    policy->place(&params, &late, &rows[2].facts, 100 * S, &place);
    CHECK_EQ(place.level, 8);
    CHECK_EQ(place.recheck_ns, NEVER);
    CHECK_EQ(place.moves, MFS_MOVES_SENT); /* its key is by what is left */
}

/* A rate that may be too low by half gives up when even twice of it would not do. */
static void place__mfs_margin(void)
{
    const struct mfs_flow_info flow = {.tag = {1, 0, MFS_STAGE_P2D}, .bytes_left = 3000000};
    const struct mfs_facts facts = FACTS(.deadline_ns = 2 * MS);
    struct mfs_params params;
    struct mfs_place place;

    mfs_params_init(&params);
    params.rate_Bps = GB; /* 3 ms, with 2 left */
    place = placed("mfs", &params, &flow, &facts, 0);
    CHECK_EQ(place.level, params.levels);
    params.rate_margin = 2.0;
    place = placed("mfs", &params, &flow, &facts, 0);
    CHECK_EQ(place.level, 0);
    CHECK_EQ(place.recheck_ns, 500001); /* then 1.5 ms would be left, and not do */
    place = placed("mfs", &params, &flow, &facts, 500001);
    CHECK_EQ(place.level, params.levels);
}

/* While a request computes, time goes by in layers. */
static void place__paper_computing(void)
{
    const struct mfs_flow_info flow = {.tag = {1, 0, MFS_STAGE_P2D}, .bytes_left = 1000000};
    struct mfs_facts facts = FACTS(.deadline_ns = 17 * MS, .layers = 4, .layer_since_ns = 1 * MS);
    struct mfs_params params;
    struct mfs_place place;

    mfs_params_init(&params);
    params.rate_Bps = GB; /* 1 ms; MLU 1/16 at 1 ms, 1/4 at 13 ms, thresholds 1/8, 1/32, ... */
    place = placed("mfs_paper", &params, &flow, &facts, 13 * MS);
    CHECK_EQ(place.level, 1);
    CHECK_EQ(place.recheck_ns, NEVER);
    facts.layer_since_ns = 13 * MS; /* the next layer */
    place = placed("mfs_paper", &params, &flow, &facts, 13 * MS);
    CHECK_EQ(place.level, 0);
    facts.layer_since_ns = 1 * MS;
    facts.flags = MFS_REQUEST_COMPUTED; /* from now on at any moment */
    place = placed("mfs_paper", &params, &flow, &facts, 13 * MS);
    CHECK_EQ(place.level, 0);
}

static void place__paper(void)
{
    static const struct mfs_tag last = {1, 3, MFS_STAGE_P2D}, first = {1, 3, MFS_STAGE_KV_REUSE};
    static const struct mfs_tag middle = {1, 3, MFS_STAGE_COLLECTIVE};
    const int64_t late = INT64_C(1) << 57, undated = INT64_C(1) << 56;
    const struct mfs_flow_info flow = {.arrival_ns = 5, .bytes_left = 10000000}; /* 10 ms */
    const struct row rows[] = {
        /* MLU 1/8 = Q_1: P1. A moment earlier: P2, until then */
        {"mfs_paper", last, flow, FACTS(.deadline_ns = 80 * MS), GB, 0, 0, late | 80 * MS, NEVER},
        {"mfs_paper", last, flow, FACTS(.deadline_ns = 81 * MS), GB, 0, 1, late | 81 * MS, MS},
        {"mfs_paper", last, flow, FACTS(.deadline_ns = 320 * MS + 1), GB, 0, 2, -1, 1},
        /* while it computes: at layer boundaries only */
        {"mfs_paper", last, flow, FACTS(.deadline_ns = 81 * MS, .layers = 4), GB, 0, 1, -1, NEVER},
        {"mfs_paper", last, flow, FACTS(.deadline_ns = 5), GB, 5, 0, -1, NEVER},
        {"mfs_paper", last, flow, FACTS(0), GB, 0, 7, (late | undated) + 5, NEVER},
        /* RLI: 1 + min(target - now, K-2), by RED, else by deadline */
        {"mfs_paper", first, flow, FACTS(.deadline_ns = S, .layer_now = 2), GB, 0, 2, S, NEVER},
        {"mfs_paper", first, flow, FACTS(.deadline_ns = S, .red_ns = MS), GB, 0, 4, MS, NEVER},
        {"mfs_paper", first, flow, FACTS(.deadline_ns = S, .layer_now = 9), GB, 0, 1, S, NEVER},
        {"mfs_paper", middle, flow, FACTS(.deadline_ns = S), GB, 0, 1, S, NEVER},
        {"mfs_paper", middle, flow, FACTS(0), GB, 0, 1, undated + 5, NEVER},
        /* dropped: a scavenger in every stage */
        {"mfs_paper", middle, flow, FACTS(.flags = MFS_REQUEST_SHED), GB, 0, 8, -1, NEVER},
        {"mfs_paper", last, flow, FACTS(.deadline_ns = 81 * MS, .flags = MFS_REQUEST_SHED), GB, 0,
         8, -1, NEVER},
    };

    check_rows(rows, COUNT(rows));
}

#pragma GCC diagnostic pop

/* Whatever it is fed, a policy answers with a level that there is and computes without overflow. */
static void place__extremes(void)
{
    static const int64_t values[] = {INT64_MIN,        INT64_MIN + 1, -S,       -1, 0, 1, S,
                                     INT64_C(1) << 60, INT64_MAX - 1, INT64_MAX};
    uint64_t state = 5;

    for (int step = 0; step < 200000; step++) {
#define ANY values[test_random(&state) % COUNT(values)]
        struct mfs_place place = {.level = 1, .recheck_ns = NEVER};
        const struct mfs_policy *policy = mfs_policy_at(test_random(&state) % 12);
        struct mfs_facts facts = {.arrival_ns = ANY,
                                  .deadline_ns = ANY,
                                  .next_start_ns = ANY,
                                  .red_ns = ANY,
                                  .start_ns = ANY,
                                  .layer_since_ns = ANY,
                                  .layer_ns = ANY,
                                  .collective_ns = ANY,
                                  .p2d_layer_ns = ANY,
                                  .p2d_left_bytes = (uint64_t)ANY,
                                  .layers = (uint32_t)ANY,
                                  .layer_now = (uint32_t)ANY,
                                  .flags = (uint32_t)ANY & 7};
        struct mfs_flow_info flow = {{1, (uint32_t)ANY, test_random(&state) % 4},
                                     ANY,
                                     ANY,
                                     (uint64_t)ANY,
                                     (uint64_t)ANY,
                                     (uint64_t)ANY,
                                     0};
        struct mfs_params params;

        mfs_params_init(&params);
        params.levels = MFS_LEVELS_MIN + (uint32_t)(test_random(&state) % 28);
        params.rate_Bps = (uint64_t)ANY;
        params.patience = (uint32_t)ANY;
        if (!policy)
            continue;
        policy->place(&params, &flow, &facts, ANY, &place);
        CHECK_EQ_AT(place.level <= params.levels, 1, step);
        CHECK_EQ_AT(place.moves <= MFS_MOVES_SHARE, 1, step);
    }
}

static void find__every_name(void)
{
    size_t count = 0;

    for (; mfs_policy_at(count); count++) {
        const struct mfs_policy *policy = mfs_policy_at(count);

        CHECK(mfs_policy_find(policy->name) == policy);
        CHECK(strlen(policy->help) > 0);
        CHECK(policy->defers == (strcmp(policy->name, "off") != 0));
        CHECK(policy->plan ==
              (strcmp(policy->name, "mfs_paper") == 0 ? MFS_PLAN_PAPER : MFS_PLAN_UNIT));
    }
    CHECK(count >= 9);
    CHECK(!mfs_policy_find("nothing") && !mfs_policy_find("") && !mfs_policy_find(NULL));
}

static void level_next__promotes_only(void)
{
    CHECK_EQ(mfs_level_next(8, MFS_LEVELS_MAX, 5), 5); /* a new one goes where it is put */
    CHECK_EQ(mfs_level_next(8, 5, 3), 3);
    CHECK_EQ(mfs_level_next(8, 3, 5), 3);
    CHECK_EQ(mfs_level_next(8, 3, 8), 8); /* given up */
    CHECK_EQ(mfs_level_next(8, 3, UINT32_MAX), 8);
    CHECK_EQ(mfs_level_next(8, 8, 5), 5); /* and back */
}

static void stage_name__every_stage(void)
{
    CHECK(strcmp(mfs_stage_name(MFS_STAGE_COLLECTIVE), "collective") == 0);
    CHECK(mfs_stage_name(4) == NULL && mfs_stage_name(UINT32_MAX) == NULL);
}

static void rank_make__clamps(void)
{
    CHECK(mfs_rank_make(3, -5) == mfs_rank_make(3, 0));
    CHECK(mfs_rank_make(3, NEVER) == mfs_rank_make(3, MFS_KEY_MAX));
    CHECK(mfs_rank_make(3, NEVER) < mfs_rank_make(4, 0));
    CHECK(mfs_rank_make(MFS_LEVELS_MAX, NEVER) < MFS_RANK_NONE);
    CHECK_EQ(mfs_rank_level(mfs_rank_make(31, 77)), 31);
    CHECK_EQ(mfs_rank_key(mfs_rank_make(31, 77)), 77);
}

static const struct test tests[] = {
    TEST(place__baselines),          TEST(place__mfs_collective),
    TEST(place__mfs_fetch),          TEST(place__mfs_p2d),
    TEST(place__mfs_patience),       TEST(place__mfs_margin),
    TEST(place__paper_computing),    TEST(place__paper),
    TEST(place__extremes),           TEST(find__every_name),
    TEST(level_next__promotes_only), TEST(stage_name__every_stage),
    TEST(rank_make__clamps),
};

TEST_MAIN(tests)
