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

    facts[0].layer_now = 4;
    mfs_plan_unit(facts, COUNT(facts), 10);
    for (size_t i = 0; i < COUNT(facts); i++) {
        CHECK_EQ_AT(facts[i].start_ns, wanted[i].start_ns, i);
        CHECK_EQ_AT(facts[i].next_start_ns, wanted[i].next_start_ns, i);
        CHECK_EQ_AT((facts[i].flags & MFS_REQUEST_HOPELESS) != 0, wanted[i].hopeless, i);
    }
    /* the one in front is done: it can be met again */
    facts[0].flags |= MFS_REQUEST_COMPUTED;
    mfs_plan_unit(facts, COUNT(facts), 20);
    CHECK_EQ(facts[1].flags, 0);
    CHECK_EQ(facts[1].start_ns, 20);
    mfs_plan_unit(facts, 0, 0);
}

static void unit__extremes(void)
{
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
        mfs_plan_unit(facts, COUNT(facts), values[test_random(&state) % COUNT(values)]);
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
    /* room again: it comes back */
    facts[3].p2d_left_bytes = 0;
    CHECK_EQ(mfs_plan_shed(facts, COUNT(facts), 1000000000, 0, scratch), 0);
    CHECK_EQ(shed_count(facts, COUNT(facts)), 0);
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

static const struct test tests[] = {
    TEST(unit__by_the_formulas),
    TEST(unit__extremes),
    TEST(shed__largest_until_it_fits),
    TEST(shed__fewest),
};

TEST_MAIN(tests)
