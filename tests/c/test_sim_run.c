/* SPDX-License-Identifier: Apache-2.0 */
#include "allocations.h"
#include "sim_run.h"

static void run__every_policy_and_enforcement(void)
{
    static const char *const policies[] = {"fair", "fifo",       "sjf",       "srpt",  "edf_paper",
                                           "edf",  "karuna",     "pdq",       "varys", "sincronia",
                                           "lstf", "llf_oracle", "mfs_paper", "mfs",   "inf"};

    for (size_t i = 0; i < COUNT(policies); i++) {
        for (uint32_t enforcement = 0; enforcement <= MFS_SIM_PRESSURE; enforcement++) {
            for (int hopeless = 0; hopeless <= 1; hopeless++) {
                struct run run;

                run_init(&run);
                CHECK(mfs_sim_links(&run.cluster) <= LINKS);
                run.options.policy = policies[i];
                run.options.enforcement = enforcement;
                run.options.hopeless = hopeless;
                CHECK_EQ_AT(run_go(&run, true), 0, (int)i);
                for (int r = 0; r < REQUESTS; r++)
                    CHECK(run.first_token_s[r] > run.times_s[2][r] - 1e-12);
                CHECK(run.outcome.trace_count > REQUESTS);
                mfs_sim_trace_free(run.outcome.trace);
            }
        }
    }
}

/* Each of the first ones, then ever fewer of them. */
static void run__any_allocation_may_fail(void)
{
    struct run run;
    int result = -ENOMEM;

    for (unsigned long at = 1; result == -ENOMEM; at += 1 + at / 16) {
        run_init(&run);
        run.options.policy = "mfs_paper";
        allocations = 0;
        allocations_fail_at = at;
        result = run_go(&run, true);
        CHECK(result == 0 || result == -ENOMEM);
        mfs_sim_trace_free(run.outcome.trace);
    }
    CHECK(allocations > 50);
}

static int give_up(void *context, uint32_t done, double now_s)
{
    (void)done, (void)now_s;
    ++*(int *)context;
    return 1;
}

static void run__progress_ends_it(void)
{
    struct run run;
    int calls = 0;

    run_init(&run);
    run.model.groups = 4000; /* enough events for a report */
    CHECK_EQ(mfs_sim_run(&run.cluster, &run.model, &run.requests, &run.options, false, give_up,
                         &calls, &run.outcome),
             -ECANCELED);
    CHECK_EQ(calls, 1);
    CHECK(isinf(run.first_token_s[REQUESTS - 1]));
}

static void run__nonsense_is_refused(void)
{
    struct run run;

#define REFUSED(...)                                                                               \
    do {                                                                                           \
        run_init(&run);                                                                            \
        __VA_ARGS__;                                                                               \
        CHECK_EQ(run_go(&run, false), -EINVAL);                                                    \
    } while (0)
    REFUSED(run.options.policy = "none such");
    REFUSED(run.options.policy = "off");
    REFUSED(run.options.levels = 3);
    REFUSED(run.options.enforcement = MFS_SIM_GRANTS + 1);
    REFUSED(run.options.classes = 0);
    REFUSED(run.options.classes = 37);
    REFUSED(run.options.pressure_delay_s = NAN);
    REFUSED(run.options.promote_interval_s = -1.0);
    REFUSED(run.options.stage_first = 4);
    REFUSED(run.options.stage_second = MFS_STAGE_P2D);
    REFUSED(run.options.stage_first = run.options.stage_second = MFS_STAGE_P2D);
    REFUSED(run.options.deadline_less = 4);
    REFUSED(run.options.karuna_margin = -1.0);
    REFUSED(run.cluster.units = 0);
    REFUSED(run.cluster.link_Bps = NAN);
    REFUSED(run.cluster.oversubscription = 0.0);
    REFUSED(run.model.groups = 0);
    REFUSED(run.model.flops = 0.0);
    REFUSED(run.prefix[3] = run.tokens[3]);
    REFUSED(run.arrival_s[3] = -1.0);
    REFUSED(run.draw[3] = 1.0);
    REFUSED(run.deadline_s[3] = NAN);
}

static const struct test tests[] = {
    TEST(run__every_policy_and_enforcement),
    TEST(run__any_allocation_may_fail),
    TEST(run__progress_ends_it),
    TEST(run__nonsense_is_refused),
};
TEST_MAIN(tests)
