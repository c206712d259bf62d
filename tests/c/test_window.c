/* SPDX-License-Identifier: Apache-2.0 */
#include "core/window.h"

#include "test.h"

#define MS INT64_C(1000000)

static void chunk__by_the_formula(void)
{
    static const struct {
        uint64_t rate_Bps, minimum, maximum, chunk;
    } rows[] = {
        {0, 65536, 4194304, 65536},
        {25000000000, 65536, 4194304, 4194304},
        {1000000000, 65536, 4194304, 199936}, /* 200 us, less what is over 128 */
        {125000000, 65536, 4194304, 65536},
        {UINT64_MAX, 65536, UINT64_C(1) << 40, UINT64_C(1) << 40},
        {0, 100, 4096, 128},
        {0, 129, 4096, 128},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mfs_window_config config;

        mfs_window_config_init(&config);
        config.chunk_min_bytes = rows[i].minimum;
        config.chunk_max_bytes = rows[i].maximum;
        CHECK_EQ_AT(mfs_window_chunk(&config, rows[i].rate_Bps), rows[i].chunk, i);
    }
}

static void bytes__by_the_formula(void)
{
    struct mfs_window_config config;

    mfs_window_config_init(&config);
    CHECK_EQ(mfs_window_bytes(&config, 0), 131072);
    CHECK_EQ(mfs_window_bytes(&config, 1000000000), 2000000); /* 2 ms */
    CHECK(mfs_window_bytes(&config, UINT64_MAX) >= UINT64_C(1) << 40);
    config.depth_ns = 1;
    CHECK_EQ(mfs_window_bytes(&config, 1000000000), 2 * 199936); /* two chunks at least */
    config.window_min_bytes = 524288;
    CHECK_EQ(mfs_window_bytes(&config, 1000000), 524288); /* learned, and perhaps too low */
    CHECK_EQ(mfs_window_bytes(&config, UINT64_C(10000000000)), 4000000);
    config.window_bytes = 77;
    CHECK_EQ(mfs_window_bytes(&config, 1000000000), 77);
}

static void blend__a_quarter_of_the_way(void)
{
    CHECK_EQ(mfs_rate_blend(0, 500), 500);
    CHECK_EQ(mfs_rate_blend(400, 800), 500);
    CHECK_EQ(mfs_rate_blend(400, 0), 300);
    CHECK_EQ(mfs_rate_blend(400, UINT64_MAX), 500); /* a burst counts as twice the last */
}

static uint64_t run(struct mfs_rate *rate, const struct mfs_window_config *config, int64_t *now_ns,
                    uint64_t rate_Bps, int64_t span_ns, bool backlogged)
{
    for (int64_t end_ns = *now_ns + span_ns; *now_ns < end_ns; *now_ns += MS)
        mfs_rate_update(rate, config, rate_Bps / 1000, backlogged, *now_ns);
    return rate->rate_Bps;
}

static void update__finds_the_rate(void)
{
    struct mfs_window_config config;
    struct mfs_rate rate;
    int64_t now_ns = 0;
    uint64_t found;

    mfs_window_config_init(&config);
    mfs_rate_init(&rate, &config);
    found = run(&rate, &config, &now_ns, 1000000000, 100 * MS, true);
    CHECK(found > 990000000 && found < 1010000000);
    /* half as fast: followed within half a second */
    found = run(&rate, &config, &now_ns, 500000000, 500 * MS, true);
    CHECK(found > 495000000 && found < 520000000);
}

static void update__idle_time_says_nothing(void)
{
    struct mfs_window_config config;
    struct mfs_rate rate;
    int64_t now_ns = 0;
    uint64_t found;

    mfs_window_config_init(&config);
    mfs_rate_init(&rate, &config);
    found = run(&rate, &config, &now_ns, 1000000000, 100 * MS, true);
    CHECK_EQ(run(&rate, &config, &now_ns, 1000000, 500 * MS, false), found);
    now_ns += 5000 * MS;
    mfs_rate_update(&rate, &config, 1000, false, now_ns);
    CHECK_EQ(rate.rate_Bps, found);
}

static void update__burst_is_not_bandwidth(void)
{
    struct mfs_window_config config;
    struct mfs_rate rate;
    int64_t now_ns = 0;
    uint64_t found;

    mfs_window_config_init(&config);
    mfs_rate_init(&rate, &config);
    found = run(&rate, &config, &now_ns, 1000000000, 100 * MS, true);
    run(&rate, &config, &now_ns, 50000000000, 20 * MS, true); /* into a socket's buffer */
    CHECK(rate.rate_Bps <= found + found / 4 + found / 50);
}

static void update__fixed_is_fixed(void)
{
    struct mfs_window_config config;
    struct mfs_rate rate;
    int64_t now_ns = 0;

    mfs_window_config_init(&config);
    config.rate_Bps = 123;
    config.rate_fixed = true;
    mfs_rate_init(&rate, &config);
    CHECK_EQ(run(&rate, &config, &now_ns, 1000000000, 100 * MS, true), 123);
}

static const struct test tests[] = {
    TEST(chunk__by_the_formula),          TEST(bytes__by_the_formula),
    TEST(blend__a_quarter_of_the_way),    TEST(update__finds_the_rate),
    TEST(update__idle_time_says_nothing), TEST(update__burst_is_not_bandwidth),
    TEST(update__fixed_is_fixed),
};

TEST_MAIN(tests)
