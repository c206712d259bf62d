/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/chunks.h"

#include "allocations.h"
#include "sim_run.h"

static void chunks_init(struct run *run)
{
    run_init(run);
    run->options.enforcement = MFS_SIM_CHUNKS;
}

static void chunks__every_policy_of_core_with_pods(void)
{
    static const char *const policies[] = {"fair", "fifo",   "sjf",       "srpt", "edf_paper",
                                           "edf",  "karuna", "mfs_paper", "mfs"};

    for (size_t i = 0; i < COUNT(policies); i++) {
        struct run run;
        double fluid_bytes;

        run_init(&run);
        run.options.policy = policies[i];
        CHECK_EQ_AT(run_go(&run, false), 0, (int)i);
        fluid_bytes = run.outcome.bytes;
        chunks_init(&run);
        run.options.policy = policies[i];
        CHECK_EQ_AT(run_go(&run, true), 0, (int)i);
        for (int r = 0; r < REQUESTS; r++)
            CHECK(run.first_token_s[r] > run.times_s[2][r] - 1e-12);
        CHECK(fabs(run.outcome.bytes - fluid_bytes) < 1.0);
        CHECK(run.outcome.trace_count > REQUESTS);
        mfs_sim_trace_free(run.outcome.trace);
    }
}

/* The senders hold memory of their own: none of it is left, wherever a run ends. */
static void chunks__any_allocation_may_fail(void)
{
    struct run run;
    int result = -ENOMEM;

    for (unsigned long at = 1; result == -ENOMEM; at += 1 + at / 16) {
        chunks_init(&run);
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
    (void)context, (void)done, (void)now_s;
    return 1;
}

/* All still arrives, and runs that end in the middle leave nothing. */
static void receivers_tell(uint32_t enforcement)
{
    static const double delays_s[] = {0.0, 1e-5, 1e-3, 1.0};
    struct run run;
    int result = -ENOMEM;

    for (size_t i = 0; i < 2 * COUNT(delays_s); i++) {
        chunks_init(&run);
        run.options.enforcement = enforcement;
        run.options.pressure_delay_s = delays_s[i / 2];
        run.options.limits_lost = i % 2 ? 0.4 : 0.0;
        CHECK_EQ_AT(run_go(&run, false), 0, (int)i);
        for (int r = 0; r < REQUESTS; r++)
            CHECK(isfinite(run.first_token_s[r]));
        if (delays_s[i / 2] < 1.0) /* a run that is over sooner is told nothing */
            CHECK(run.outcome.told > 0);
    }
    for (unsigned long at = 1; result == -ENOMEM; at += 1 + at / 16) {
        chunks_init(&run);
        run.options.enforcement = enforcement;
        allocations = 0;
        allocations_fail_at = at;
        result = run_go(&run, false);
        CHECK(result == 0 || result == -ENOMEM);
    }
    allocations_fail_at = 0;
}

static void chunks__with_an_exchange(void)
{
    receivers_tell(MFS_SIM_EXCHANGE);
}

static void chunks__with_grants(void)
{
    receivers_tell(MFS_SIM_GRANTS);
}

static void chunks__ends_with_flows_queued(void)
{
    struct run run;

    chunks_init(&run);
    run.cluster.link_Bps = 1e8;
    CHECK_EQ(mfs_sim_run(&run.cluster, &run.model, &run.requests, &run.options, false, give_up,
                         NULL, &run.outcome),
             -ECANCELED);
    CHECK(isinf(run.first_token_s[REQUESTS - 1]));
}

static void chunks__what_only_the_fluid_model_has_is_refused(void)
{
    struct run run;

#define REFUSED(...)                                                                               \
    do {                                                                                           \
        chunks_init(&run);                                                                         \
        __VA_ARGS__;                                                                               \
        CHECK_EQ(run_go(&run, false), -EINVAL);                                                    \
    } while (0)
    REFUSED(run.options.policy = "pdq");
    REFUSED(run.options.policy = "inf");
    REFUSED(run.options.policy = "edf", run.options.hopeless = 1);
    REFUSED(run.options.policy = "mfs_paper", run.options.shed = 1);
    REFUSED(run.options.level_order = 2);
    REFUSED(run.options.promote_interval_s = 1e-3);
    REFUSED(run.options.stage_first = MFS_STAGE_P2D);
    REFUSED(run.options.policy = "edf", run.options.deadline_less = MFS_SIM_LESS_STAGE3);
    REFUSED(run.options.policy = "karuna", run.options.karuna_margin = 0.25);
}

static const struct test tests[] = {
    TEST(chunks__every_policy_of_core_with_pods),
    TEST(chunks__any_allocation_may_fail),
    TEST(chunks__with_an_exchange),
    TEST(chunks__with_grants),
    TEST(chunks__ends_with_flows_queued),
    TEST(chunks__what_only_the_fluid_model_has_is_refused),
};
TEST_MAIN(tests)
