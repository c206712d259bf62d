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
        {1000000000, 65536, 4194304, 196608}, /* 200 us, less what is over whole pages */
        {327679999, 0, 4194304, 65408}, /* below 16 pages: less what is over 128 */
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

/* Of a fixed window that never fills no rate is learned. */
static void chunk__of_a_fixed_window(void)
{
    struct mfs_window_config config;

    mfs_window_config_init(&config); /* 200 us of 2 ms */
    config.window_bytes = 41943040;
    CHECK_EQ(mfs_window_chunk(&config, 0), 4194304);
    CHECK_EQ(mfs_window_chunk(&config, 1000000000), 196608); /* it is known: as ever */
    config.window_bytes = 4194304;
    CHECK_EQ(mfs_window_chunk(&config, 0), 417792);
    config.window_bytes = 1000;
    CHECK_EQ(mfs_window_chunk(&config, 0), 65536);
    config.window_bytes = UINT64_MAX;
    config.depth_ns = 1;
    CHECK_EQ(mfs_window_chunk(&config, 0), 4194304);
}

/* Alone on the way its own bytes are what takes the time; beside others half of the queue is ours.
 */
static void beside__by_the_formula(void)
{
    static const struct {
        uint64_t rate_Bps, best_Bps;
        int64_t delay_ns;
        uint64_t beside;
        uint32_t sharers;
    } rows[] = {
        {125000000, 125000000, 2 * MS, 0, 0}, /* 250 kB that leave in 2 ms: nobody else's */
        {125000000, 125000000, 4 * MS, 0, 0}, /* 2 ms of it are the way's: 250 kB cover them */
        {20000000, 125000000, 12 * MS, 750000 - 131072, 0}, /* of 1.5 MB the half */
        {20000000, 125000000, 12 * MS, 750000 - 131072, 1},
        {20000000, 125000000, 12 * MS, 375000 - 131072, 3}, /* three that share it, and others */
        {20000000, 125000000, 12 * MS, 0, UINT32_MAX},
        {20000000, 125000000, 100 * MS, 1160000 - 131072, 0}, /* no more than 145 MB/s in 8 ms */
        {125000000, 0, 12 * MS, 0, 0}, /* nothing was measured yet */
        {125000000, 125000000, 0, 0, 0},
        {125000000, 125000000, -MS, 0, 0},
    };
    struct mfs_window_config config;

    mfs_window_config_init(&config);
    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_EQ_AT(mfs_window_beside(&config, mfs_window_bytes(&config, rows[i].rate_Bps),
                                      rows[i].rate_Bps, rows[i].best_Bps, rows[i].delay_ns,
                                      rows[i].sharers),
                    rows[i].beside, i);
    CHECK(mfs_window_beside(&config, 1000, UINT64_MAX, UINT64_MAX, INT64_MAX, 0) > 1 << 30);
    config.window_bytes = 100000; /* chosen by hand */
    CHECK_EQ(mfs_window_beside(&config, 100000, 20000000, 125000000, 12 * MS, 0), 0);
}

static void bytes__by_the_formula(void)
{
    struct mfs_window_config config;

    mfs_window_config_init(&config);
    CHECK_EQ(mfs_window_bytes(&config, 0), 131072);
    CHECK_EQ(mfs_window_bytes(&config, 1000000000), 2000000); /* 2 ms */
    CHECK(mfs_window_bytes(&config, UINT64_MAX) >= UINT64_C(1) << 40);
    config.depth_ns = 1;
    CHECK_EQ(mfs_window_bytes(&config, 1000000000), 2 * 196608); /* two chunks at least */
    config.window_min_bytes = 524288;
    CHECK_EQ(mfs_window_bytes(&config, 1000000), 524288); /* learned, and perhaps too low */
    CHECK_EQ(mfs_window_bytes(&config, UINT64_C(10000000000)), 3997696);
    config.window_bytes = 77;
    CHECK_EQ(mfs_window_bytes(&config, 1000000000), 77);
}

static void away__half_as_long_as_the_window(void)
{
    struct mfs_window_config config;

    mfs_window_config_init(&config); /* 2 ms */
    CHECK(mfs_window_away(&config, MS));
    CHECK(!mfs_window_away(&config, MS - 1));
}

static void soon__a_quarter_of_what_the_port_takes(void)
{
    struct mfs_window_config config;

    mfs_window_config_init(&config);
    CHECK_EQ(mfs_window_soon_ns(&config, 1000000000, 0), MS / 4);
    CHECK_EQ(mfs_window_soon_ns(&config, 1000000000, 4000000), MS / 4 + MS);
    CHECK_EQ(mfs_window_soon_ns(&config, 0, 4000000), MS / 4);
}

static void more__doubles_up_to_four_absences(void)
{
    struct mfs_window_config config;
    uint64_t more = 0;

    mfs_window_config_init(&config);
    CHECK_EQ(mfs_window_more(&config, 0, 1000, 1000000, 5 * MS), 1000); /* 1000 to 2000 */
    CHECK_EQ(mfs_window_more(&config, 1000, 1000, 1000000, 5 * MS), 3000); /* to 4000 */
    for (int i = 0; i < 100; i++)
        more = mfs_window_more(&config, more, 1000, 1000000, 5 * MS);
    CHECK_EQ(more, 20000);
    CHECK_EQ(mfs_window_more(&config, 0, 1000, 0, 5 * MS), 0); /* of no known rate */
    CHECK_EQ(mfs_window_more(&config, UINT64_MAX - 5, 1000, UINT64_MAX, 1000 * MS), UINT64_MAX);
    config.window_bytes = 1000;
    CHECK_EQ(mfs_window_more(&config, 0, 1000, 1000000, 5 * MS), 0); /* fixed is fixed */
}

static void fade__in_a_fifth_of_a_second(void)
{
    CHECK_EQ(mfs_window_fade(3000, 5 * MS), 2925);
    CHECK_EQ(mfs_window_fade(3000, 20 * MS), 2700);
    CHECK_EQ(mfs_window_fade(3000, 200 * MS), 0);
    CHECK_EQ(mfs_window_fade(3000, -MS), 3000); /* clocks of two threads */
}

static void next__a_quarter_of_the_way(void)
{
    const int64_t second = 1000 * MS;

    CHECK_EQ(mfs_rate_next(0, 500, second, true), 500);
    CHECK_EQ(mfs_rate_next(400, 800, second, true), 500);
    CHECK_EQ(mfs_rate_next(400, 400, second / 2, true), 500);
    CHECK_EQ(mfs_rate_next(400, 0, second, true), 300);
    CHECK_EQ(mfs_rate_next(400, 100000, second, true), 500); /* a burst: twice the last */
    CHECK_EQ(mfs_rate_next(400, UINT64_MAX, 1, true), 500);
}

/* Nobody filled the window: the port may be faster than what was asked of it, not slower. */
static void next__little_traffic_only_raises(void)
{
    CHECK_EQ(mfs_rate_next(400, 100, 1000 * MS, false), 400);
    CHECK_EQ(mfs_rate_next(400, 600, 1000 * MS, false), 450);
    CHECK_EQ(mfs_rate_next(0, 600, 1000 * MS, false), 0);
}

static uint64_t run(uint64_t rate_Bps, uint64_t port_Bps, unsigned samples)
{
    while (samples-- > 0)
        rate_Bps = mfs_rate_next(rate_Bps, port_Bps / 50, MFS_RATE_SAMPLE_NS, true);
    return rate_Bps;
}

static void next__finds_the_rate(void)
{
    uint64_t rate_Bps = run(0, 1000000000, 1);

    CHECK_EQ(rate_Bps, 1000000000);
    /* half as fast: followed within half a second; twenty times as fast: within one */
    CHECK(run(rate_Bps, 500000000, 25) < 501000000);
    CHECK(run(rate_Bps, UINT64_C(20000000000), 50) > UINT64_C(19900000000));
}

static const struct test tests[] = {
    TEST(chunk__by_the_formula),
    TEST(chunk__of_a_fixed_window),
    TEST(beside__by_the_formula),
    TEST(bytes__by_the_formula),
    TEST(away__half_as_long_as_the_window),
    TEST(soon__a_quarter_of_what_the_port_takes),
    TEST(more__doubles_up_to_four_absences),
    TEST(fade__in_a_fifth_of_a_second),
    TEST(next__a_quarter_of_the_way),
    TEST(next__little_traffic_only_raises),
    TEST(next__finds_the_rate),
};

TEST_MAIN(tests)
