/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plan.h"

#include "test.h"

#define NEVER MFS_TIME_NEVER

static struct mfs_facts request(int64_t deadline_ns, uint32_t layers, int64_t layer_ns,
                                int64_t p2d_layer_ns)
{
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.deadline_ns = deadline_ns;
    facts.layers = layers;
    facts.layer_ns = layer_ns;
    facts.p2d_layer_ns = p2d_layer_ns;
    return facts;
}

static void unit__by_the_formulas(void)
{
    struct mfs_facts facts[] = {
        request(1000, 10, 10, 5), /* running, at its fourth layer */
        request(150, 10, 10, 5),  /* done at 70 + 100 + 5: hopeless */
        request(400, 10, 10, 5),  request(NEVER, 0, 0, 0), request(700, 10, 10, 5),
    };
    static const struct {
        int64_t start_ns, next_start_ns;
        bool hopeless;
    } wanted[] = {
        {-30, 195, false}, /* started four layers ago; S of the next, without its own term */
        {70, 295, true},   {170, 595, false}, /* E = min(400 - 5, 595) = 395, S = 295 */
        {270, 595, false}, {270, NEVER, false}, /* E = 695, S = 595 */
    };

    static const uint32_t batches[] = {1, 1, 1, 1, 1};

    facts[0].layer_now = 4;
    mfs_plan_unit(facts, batches, COUNT(batches), 10);
    for (size_t i = 0; i < COUNT(facts); i++) {
        CHECK_EQ_AT(facts[i].start_ns, wanted[i].start_ns, i);
        CHECK_EQ_AT(facts[i].next_start_ns, wanted[i].next_start_ns, i);
        CHECK_EQ_AT((facts[i].flags & MFS_REQUEST_HOPELESS) != 0, wanted[i].hopeless, i);
    }
    /* the one in front is done: it can be met again */
    facts[0].flags |= MFS_REQUEST_COMPUTED;
    mfs_plan_unit(facts, batches, COUNT(batches), 20);
    CHECK_EQ(facts[1].flags, 0);
    CHECK_EQ(facts[1].start_ns, 20);
    mfs_plan_unit(facts, batches, 0, 0);
}

/* All of a batch wait for the one that takes longest, and are due by the tightest of the others. */
static void unit__batches(void)
{
    struct mfs_facts facts[] = {
        request(130, 10, 10, 5), request(125, 10, 10, 5), request(104, 10, 4, 5), /* together */
        request(240, 10, 10, 5), request(220, 10, 9, 5),
    };
    static const uint32_t batches[] = {3, 0, 2};
    static const struct {
        int64_t start_ns, next_start_ns;
        bool hopeless;
    } wanted[] = {
        {0, 115, false},   /* S of the next is 215 - 100 = 115; the second is due at 120 */
        {0, 115, false},   {0, 115, true}, /* at 100 + 5: it takes 40 itself, and waits for them */
        {100, 215, false}, {100, 235, false},
    };

    mfs_plan_unit(facts, batches, COUNT(batches), 0);
    for (size_t i = 0; i < COUNT(facts); i++) {
        CHECK_EQ_AT(facts[i].start_ns, wanted[i].start_ns, i);
        CHECK_EQ_AT(facts[i].next_start_ns, wanted[i].next_start_ns, i);
        CHECK_EQ_AT((facts[i].flags & MFS_REQUEST_HOPELESS) != 0, wanted[i].hopeless, i);
    }
    CHECK_EQ(mfs_plan_computing_ns(facts, 3), 100);
    CHECK_EQ(mfs_plan_computing_ns(facts, 0), 0);
}

static void computed__owes_nothing_and_has_hope_until_it_is_due(void)
{
    struct mfs_facts facts = request(100, 10, 10, 5);

    facts.next_start_ns = 50;
    facts.flags = MFS_REQUEST_HOPELESS | MFS_REQUEST_COMPUTED;
    mfs_plan_computed(&facts, 100);
    CHECK_EQ(facts.next_start_ns, NEVER);
    CHECK_EQ(facts.flags, MFS_REQUEST_COMPUTED);
    mfs_plan_computed(&facts, 101);
    CHECK_EQ(facts.flags, MFS_REQUEST_COMPUTED | MFS_REQUEST_HOPELESS);
}

static void collective__is_of_the_earliest(void)
{
    const struct mfs_facts facts[] = {request(NEVER, 0, 0, 0), request(50, 0, 0, 0),
                                      request(40, 0, 0, 0), request(40, 0, 0, 0)};

    CHECK_EQ(mfs_plan_collective(facts, 1), 0);
    CHECK_EQ(mfs_plan_collective(facts, 2), 1);
    CHECK_EQ(mfs_plan_collective(facts, 4), 2);
}

static void unit__extremes(void)
{
    static const uint32_t batches[][4] = {{1, 1, 1, 1}, {2, 2}, {4}, {1, 3}};
    static const size_t counts[] = {4, 2, 1, 2};
    static const int64_t values[] = {INT64_MIN,     -1,       0, 1, INT64_C(1) << 60,
                                     INT64_MAX - 1, INT64_MAX};
    uint64_t state = 9;

    for (int step = 0; step < 20000; step++) {
        struct mfs_facts facts[4];

        for (size_t i = 0; i < COUNT(facts); i++) {
            facts[i] = request(values[test_random(&state) % COUNT(values)],
                               (uint32_t)values[test_random(&state) % COUNT(values)],
                               values[test_random(&state) % COUNT(values)],
                               values[test_random(&state) % COUNT(values)]);
            facts[i].layer_now = (uint32_t)values[test_random(&state) % COUNT(values)];
        }
        mfs_plan_unit(facts, batches[step % 4], counts[step % 4],
                      values[test_random(&state) % COUNT(values)]);
    }
}

static int shed_count(const struct mfs_facts *facts, size_t count)
{
    int shed = 0;

    for (size_t i = 0; i < count; i++)
        shed += (facts[i].flags & MFS_REQUEST_SHED) != 0;
    return shed;
}

static void shed__largest_until_it_fits(void)
{
    /* rate 1e9: a byte a ns. In order of deadlines 10, 20, 25, 40 the sums are 5, 17, 27 > 25:
     * the largest so far (12) goes; 5 + 10 + 20 = 35 fits 40 */
    struct mfs_facts facts[] = {request(40, 0, 0, 0), request(20, 0, 0, 0),    request(10, 0, 0, 0),
                                request(25, 0, 0, 0), request(NEVER, 0, 0, 0), request(1, 0, 0, 0)};
    static const uint64_t left[] = {20, 12, 5, 10, 1000, 500};
    uint32_t scratch[COUNT(facts)];

    for (size_t i = 0; i < COUNT(facts); i++)
        facts[i].p2d_left_bytes = left[i];
    facts[5].flags = MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED;
    CHECK_EQ(mfs_plan_shed(facts, COUNT(facts), 0, 0, scratch), -EINVAL);
    CHECK_EQ(mfs_plan_shed(facts, COUNT(facts), 1000000000, 0, scratch), 0);
    for (size_t i = 0; i < COUNT(facts); i++)
        CHECK_EQ_AT((facts[i].flags & MFS_REQUEST_SHED) != 0, i == 1, i);
    for (size_t i = 0; i < COUNT(facts); i++) /* for the one of 25 */
        CHECK_EQ_AT(facts[i].shed_for, i == 1 ? 4 : 0, i);
    /* room again: it comes back */
    facts[3].p2d_left_bytes = 0;
    CHECK_EQ(mfs_plan_shed(facts, COUNT(facts), 1000000000, 0, scratch), 0);
    CHECK_EQ(shed_count(facts, COUNT(facts)), 0);
    CHECK_EQ(facts[1].shed_for, 0);
}

/* Moore-Hodgson gives up as few as can be: compared with every subset. */
static void shed__fewest(void)
{
    uint64_t state = 11;

    for (int step = 0; step < 2000; step++) {
        struct mfs_facts facts[7];
        uint32_t scratch[7];
        int fewest = 7;

        for (int i = 0; i < 7; i++) {
            facts[i] = request((int64_t)(test_random(&state) % 60), 0, 0, 0);
            facts[i].p2d_left_bytes = 1 + test_random(&state) % 20;
        }
        CHECK_EQ(mfs_plan_shed(facts, 7, 1000000000, 0, scratch), 0);
        for (unsigned kept = 0; kept < 1u << 7; kept++) {
            bool met = true;

            for (int i = 0; i < 7; i++) { /* by deadline, all in front of i have been sent */
                int64_t sum = 0;

                for (int j = 0; j < 7; j++)
                    sum += kept >> j & 1 && facts[j].deadline_ns <= facts[i].deadline_ns
                               ? (int64_t)facts[j].p2d_left_bytes
                               : 0;
                met &= !(kept >> i & 1) || sum <= facts[i].deadline_ns;
            }
            if (met && 7 - __builtin_popcount(kept) < fewest)
                fewest = 7 - __builtin_popcount(kept);
        }
        CHECK_EQ_AT(shed_count(facts, 7), fewest, step);
    }
}

/* --- the paper's plan --- */

static void red__by_the_formula(void)
{
    static const struct {
        int64_t deadlines[5];
        size_t count;
        int64_t red, loose;
    } rows[] = {
        {{100}, 1, 100, 100},
        {{100, 100, 100}, 3, 100, 100},
        /* one tight of four: 1/4 * 10 + 3/4 * 90 */
        {{100, 10, 90, 95}, 4, 70, 90},
        /* three tight of four: 3/4 * 10 + 1/4 * 90 */
        {{12, 10, 90, 11}, 4, 30, 90},
        /* equal gaps: the first */
        {{10, 20, 30}, 3, 16, 20},
        {{NEVER, 10, NEVER, 90}, 4, 50, 90},
        {{NEVER, NEVER}, 2, NEVER, NEVER},
        {{0}, 0, NEVER, NEVER},
        {{INT64_MIN, INT64_MAX - 1}, 2, -1, INT64_MAX - 1},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        int64_t scratch[5], loose_ns;
        int64_t red_ns = mfs_plan_red(rows[i].deadlines, rows[i].count, scratch, &loose_ns);

        if (i + 1 < COUNT(rows)) /* the last: only that nothing overflows */
            CHECK_EQ_AT(red_ns, rows[i].red, i);
        CHECK_EQ_AT(loose_ns, rows[i].loose, i);
    }
}

/* Two batches on two ports of a byte a ns. The second, looser by RED, is checked last. */
static void overload__drops_on_the_bottleneck(void)
{
    static const int64_t deadlines[] = {100, 100, 60, 60};
    static const uint64_t loads[] = {30, 0, 50, 10, 20, 5, 40, 0}; /* request x port */
    static const uint64_t rates[] = {1000000000, 1000000000};
    static const struct {
        uint32_t budget;
        bool global, earlier, accumulates;
        int64_t compute_ns;
        bool dropped[4];
        int64_t finish[2];
    } rows[] = {
        /* batch 1 (RED 60): 60 on port 0, in time. Batch 0: 60 + 80 = 140 > 100: the heaviest
         * on port 0 goes (50, its own): 90, in time */
        {9, false, true, false, 0, {false, true, false, false}, {90, 60}},
        /* without a budget nothing is dropped */
        {0, false, true, false, 0, {false, false, false, false}, {140, 60}},
        /* computing takes 15: batch 1 drops its 40 (75 > 60): 35; batch 0: 115 > 100, its 50
         * goes: 65 */
        {1, false, true, false, 15, {false, true, false, true}, {65, 35}},
        /* one drop for all: it is used up by batch 1 */
        {1, true, true, false, 15, {false, false, false, true}, {115, 35}},
        /* batches compute in turn: batch 0 at 30 + 20 + 80 = 130, then without its 50: 80 */
        {9, false, true, true, 15, {false, true, false, true}, {80, 35}},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mfs_plan_batch batches[2] = {{.first = 0, .count = 2}, {.first = 2, .count = 2}};
        const struct mfs_plan_overload control = {
            2, rows[i].budget, rows[i].global, rows[i].earlier, rows[i].accumulates, rates};
        uint64_t scratch[2 * 2 + 4];
        bool dropped[4];
        uint32_t order[2];

        batches[0].compute_ns = batches[1].compute_ns = rows[i].compute_ns;
        CHECK_EQ(
            mfs_plan_overload(&control, batches, 2, deadlines, loads, 0, order, dropped, scratch),
            0);
        CHECK(order[0] == 1 && order[1] == 0);
        for (size_t r = 0; r < 4; r++)
            CHECK_EQ_AT(dropped[r], rows[i].dropped[r], i * 10 + r);
        for (size_t b = 0; b < 2; b++)
            CHECK_EQ_AT(batches[b].finish_ns, rows[i].finish[b], i * 10 + b);
    }
}

/* A request of a batch in front can make room for a later one, if the pool has it. */
static void overload__drops_of_batches_before(void)
{
    static const int64_t deadlines[] = {50, 60};
    static const uint64_t loads[] = {50, 20}, rates[] = {1000000000};

    for (int earlier = 0; earlier < 2; earlier++) {
        struct mfs_plan_batch batches[2] = {{.first = 0, .count = 1}, {.first = 1, .count = 1}};
        const struct mfs_plan_overload control = {1, 1, false, earlier, false, rates};
        uint64_t scratch[2 + 2];
        bool dropped[2];
        uint32_t order[2];

        CHECK_EQ(
            mfs_plan_overload(&control, batches, 2, deadlines, loads, 0, order, dropped, scratch),
            0);
        CHECK_EQ(dropped[0], earlier);
        CHECK_EQ(dropped[1], !earlier);
    }
}

static void overload__refuses_no_port(void)
{
    static const uint64_t none[] = {0};
    struct mfs_plan_overload control = {0, 1, false, true, false, none};

    CHECK_EQ(mfs_plan_overload(&control, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL), -EINVAL);
    control.ports = 1;
    CHECK_EQ(mfs_plan_overload(&control, NULL, 0, NULL, NULL, 0, NULL, NULL, (uint64_t[2]){0}),
             -EINVAL);
}

static const struct test tests[] = {
    TEST(red__by_the_formula),
    TEST(overload__drops_on_the_bottleneck),
    TEST(overload__drops_of_batches_before),
    TEST(overload__refuses_no_port),
    TEST(unit__by_the_formulas),
    TEST(unit__batches),
    TEST(computed__owes_nothing_and_has_hope_until_it_is_due),
    TEST(collective__is_of_the_earliest),
    TEST(unit__extremes),
    TEST(shed__largest_until_it_fits),
    TEST(shed__fewest),
};

TEST_MAIN(tests)
