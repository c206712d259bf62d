/* SPDX-License-Identifier: Apache-2.0 */
/* What the senders of a port share: by itself, and as the senders move it. */
#include "core/port_state.h"

#include "core/window.h"
#include "test.h"

#include "rivals.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)

/* --- the account of untagged traffic --- */

static void share__what_is_earned_and_spent(void)
{
    struct mfs_port_state port = {0};

    CHECK(!mfs_share_due(&port, 500, 1));
    mfs_share_earn(&port, 500, 1000); /* half: as much */
    CHECK(mfs_share_due(&port, 500, 1000) && !mfs_share_due(&port, 500, 1001));
    mfs_share_spend(&port, 400);
    CHECK(mfs_share_due(&port, 500, 600) && !mfs_share_due(&port, 500, 601));
    mfs_share_spend(&port, 600);
    mfs_share_earn(&port, 333, 128 * 4); /* 255.616 bytes */
    mfs_share_spend(&port, 255); /* what is left of a byte stays */
    mfs_share_earn(&port, 333, 128 * 2 - 2); /* and with 126.809 makes 127 whole ones */
    CHECK(mfs_share_due(&port, 333, 127) && !mfs_share_due(&port, 333, 128));
    mfs_share_spend(&port, 128);
    mfs_share_earn(&port, 500, 600);
    mfs_share_earn(&port, 50, 19000); /* a twentieth: a byte for 19 */
    CHECK(mfs_share_due(&port, 50, 1600) && !mfs_share_due(&port, 50, 1601));
    mfs_share_earn(&port, 1, 100); /* thousandths are kept */
    CHECK_EQ(port.untagged_credit, 1600 * 1000 + 100);
    mfs_share_spend(&port, 5000); /* no debts */
    CHECK_EQ(port.untagged_credit, 0);
    mfs_share_spend(&port, 5000);
    CHECK_EQ(port.untagged_credit, 0);
}

static void share__none_and_all(void)
{
    struct mfs_port_state port = {.untagged_credit = 1000000};

    CHECK(!mfs_share_due(&port, 0, 1)); /* whatever another has earned */
    mfs_share_earn(&port, 0, 1000);
    CHECK_EQ(port.untagged_credit, 1000000);
    CHECK(mfs_share_due(&port, 1000, UINT64_MAX));
    mfs_share_earn(&port, 1000, 1000);
    CHECK_EQ(port.untagged_credit, 1000000);
}

/* However much: it is bounded, and nothing wraps. */
static void share__has_an_end(void)
{
    struct mfs_port_state port = {0};
    uint64_t last = 0;

    for (int i = 0; i < 100; i++) {
        mfs_share_earn(&port, 999, UINT64_MAX);
        CHECK(port.untagged_credit >= last);
        last = port.untagged_credit;
    }
    mfs_share_earn(&port, 999, UINT64_MAX);
    CHECK_EQ(port.untagged_credit, last);
    CHECK(mfs_share_due(&port, 999, UINT64_C(1) << 43));
    mfs_share_spend(&port, UINT64_MAX);
    CHECK_EQ(port.untagged_credit, 0);
}

/* --- pacer --- */

static void pace__a_chunk_takes_its_time(void)
{
    struct mfs_port_state port = {0};
    const int64_t start_ns = SECOND;

    CHECK(mfs_pace_take(&port, MB, 2000, start_ns)); /* 2 ms, of which one is made up */
    CHECK(!mfs_pace_take(&port, MB, 1000, start_ns + MS - 1));
    CHECK(mfs_pace_take(&port, MB, 1000, start_ns + MS));
    CHECK(!mfs_pace_take(&port, MB, 1, start_ns + 2 * MS - 1));
    /* half a millisecond late: none is lost; ten of them: nine are */
    CHECK(mfs_pace_take(&port, MB, 1000, start_ns + 2 * MS + MS / 2));
    CHECK(!mfs_pace_take(&port, MB, 1000, start_ns + 3 * MS - 1));
    CHECK(mfs_pace_take(&port, MB, 1000, start_ns + 13 * MS));
    CHECK(mfs_pace_take(&port, MB, 1000, start_ns + 13 * MS));
    CHECK(!mfs_pace_take(&port, MB, 1000, start_ns + 13 * MS));
}

/* A moment that nobody of this clock has set has come. */
static void pace__a_moment_too_far_ahead(void)
{
    struct mfs_port_state port = {.pace_next_ns = INT64_MAX};

    CHECK(mfs_pace_take(&port, MB, 2000, SECOND));
    CHECK_EQ(port.pace_next_ns, SECOND + MS);
    /* the largest chunk takes 42 ms at this pace: nobody sets it 50 ms ahead */
    port.pace_next_ns = SECOND + 50 * MS;
    CHECK(mfs_pace_take(&port, 100 * MB, 2000, SECOND));
    port.pace_next_ns = SECOND + 40 * MS;
    CHECK(!mfs_pace_take(&port, 100 * MB, 2000, SECOND));
}

static void pace__huge_chunk_at_a_low_pace(void)
{
    struct mfs_port_state port = {0};

    CHECK(mfs_pace_take(&port, 1, UINT64_C(1) << 50, SECOND));
    CHECK(!mfs_pace_take(&port, 1, 1, 2 * SECOND));
    CHECK(port.pace_next_ns > SECOND && port.pace_next_ns <= 61 * SECOND);
    CHECK(mfs_pace_take(&port, 1, UINT64_MAX, 61 * SECOND)); /* a minute at most */
}

static void pace__several_senders_share_it(void)
{
    struct mfs_sender_config config;
    uint64_t sent[2] = {0, 0};
    struct rivals all;
    int64_t now_ns;

    mfs_sender_config_init(&config);
    config.pace_Bps = 100 * MB; /* 100 kB a millisecond */
    rivals_create(&all, 2, &config);
    for (now_ns = SECOND; now_ns < SECOND + 100 * MS; now_ns += 100000) {
        for (int i = 0; i < 2; i++) {
            const int turn = (int)(now_ns / 100000 + i) % 2;
            const int result = rival_take(&all.of[turn], 0, 10 * KB, now_ns);

            CHECK(result == 0 || result == -ETIME);
            if (result == 0) {
                sent[turn] += 10 * KB;
                rival_done(&all.of[turn], 10 * KB, now_ns);
            } else {
                CHECK(all.port.pace_next_ns > now_ns);
            }
        }
    }
    /* 10 MB, and up to a millisecond that it makes up for */
    CHECK(sent[0] + sent[1] >= 10 * MB && sent[0] + sent[1] <= 10 * MB + 120 * KB);
    CHECK(sent[0] >= 3 * MB && sent[1] >= 3 * MB);
    rivals_destroy(&all);
}

/* --- samples of the rate --- */

static void sample__over_its_interval(void)
{
    struct mfs_port_state port = {.rate_Bps = 100 * MB, .sample_full = 1};
    const int64_t start_ns = SECOND;

    mfs_sample_begin(&port, 5 * MB, start_ns);
    CHECK_EQ(port.sample_full, 0);
    port.sample_full = 1;
    CHECK(!mfs_sample_due(&port, start_ns + MFS_RATE_SAMPLE_NS - 1));
    mfs_sample_take(&port, 9 * MB, start_ns + MFS_RATE_SAMPLE_NS - 1); /* too early */
    CHECK_EQ(port.rate_Bps, 100 * MB);
    CHECK(mfs_sample_due(&port, start_ns + MFS_RATE_SAMPLE_NS));
    mfs_sample_take(&port, 6 * MB, start_ns + MFS_RATE_SAMPLE_NS); /* 50 MB/s: by a quarter */
    CHECK_EQ(port.rate_Bps, 100 * MB - 50 * MB / 4);
    CHECK(port.sample_base == 6 * MB && port.sample_since_ns == start_ns + MFS_RATE_SAMPLE_NS);
    /* the window was not full in the next one: slower says nothing, faster does */
    mfs_sample_take(&port, 6 * MB, start_ns + 2 * MFS_RATE_SAMPLE_NS);
    CHECK_EQ(port.rate_Bps, 87500000);
    mfs_sample_take(&port, 9 * MB, start_ns + 3 * MFS_RATE_SAMPLE_NS); /* 150 MB/s */
    CHECK_EQ(port.rate_Bps, 87500000 + 62500000 / 4);
}

/* What the port has carried is known for minutes, whatever others take of it meanwhile. */
static void sample__the_best_is_kept(void)
{
    struct mfs_port_state port = {.rate_Bps = 1000 * MB}; /* a virtual link's speed says nothing */
    int64_t now_ns = SECOND;
    uint64_t done = 0;

    mfs_sample_begin(&port, done, now_ns);
    for (int i = 0; i < 100; i++) { /* 2 s at 100 MB/s */
        mfs_sample_is(&port, MFS_SAMPLE_FULL);
        mfs_sample_take(&port, done += 2 * MB, now_ns += MFS_RATE_SAMPLE_NS);
    }
    CHECK(port.best_Bps >= 99 * MB && port.best_Bps <= 100 * MB);
    for (int i = 0; i < 100; i++) { /* 2 s at 10 MB/s */
        mfs_sample_is(&port, MFS_SAMPLE_FULL);
        mfs_sample_take(&port, done += 200 * KB, now_ns += MFS_RATE_SAMPLE_NS);
    }
    CHECK(port.rate_Bps < 11 * MB);
    CHECK(port.best_Bps >= 95 * MB);
    for (int i = 0; i < 100; i++) /* asked for no more, or kept by a slow peer: that says nothing */
        mfs_sample_take(&port, done += 20 * KB, now_ns += MFS_RATE_SAMPLE_NS);
    CHECK(port.best_Bps >= 95 * MB);
    for (int i = 0; i < 30000; i++) { /* 10 minutes */
        mfs_sample_is(&port, MFS_SAMPLE_FULL);
        mfs_sample_take(&port, done += 200 * KB, now_ns += MFS_RATE_SAMPLE_NS);
    }
    CHECK(port.best_Bps < 11 * MB);
    port.best_Bps = UINT64_MAX; /* somebody has written over it */
    mfs_sample_is(&port, MFS_SAMPLE_FULL);
    mfs_sample_take(&port, done += 200 * KB, now_ns += MFS_RATE_SAMPLE_NS);
    CHECK(port.best_Bps <= 100 * MB);
}

/* Somebody has written over what it began with: no port has sent so much. */
static void sample__that_no_port_can_have(void)
{
    static const uint64_t bases[] = {MB + 1, UINT64_C(0xa5a5a5a5a5a5a5a5)};

    for (size_t i = 0; i < COUNT(bases); i++) {
        struct mfs_port_state port = {.rate_Bps = 100 * MB, .sample_full = MFS_SAMPLE_SLOW};

        port.sample_base = bases[i];
        mfs_sample_take(&port, MB, MFS_RATE_SAMPLE_NS);
        CHECK_EQ_AT(port.rate_Bps, 100 * MB, i);
        CHECK_EQ_AT(port.sample_base, MB, i);
    }
}

static void sample__begun_in_a_future_that_nobody_meant(void)
{
    struct mfs_port_state port = {.rate_Bps = 100, .sample_since_ns = INT64_MAX};

    CHECK(mfs_sample_due(&port, SECOND));
    mfs_sample_take(&port, MB, SECOND);
    CHECK_EQ(port.rate_Bps, 100); /* of no time no rate */
    CHECK_EQ(port.sample_since_ns, SECOND);
}

static struct rivals all;
static int64_t start_ns;

/* A window of 100,000 bytes, a rate that is learned. */
static void set_up(unsigned senders)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.window.window_bytes = 100 * KB;
    rivals_create(&all, senders, &config);
    start_ns = SECOND;
}

/* The first keeps the window full on a port of rate_Bps, for span_ns. */
static void keep_busy(uint64_t rate_Bps, int64_t span_ns)
{
    const uint64_t chunk = 50 * KB;
    struct rival *one = &all.of[0];
    int64_t now_ns = start_ns;

    CHECK_EQ(rival_take(one, 0, chunk, now_ns), 0);
    CHECK_EQ(rival_take(one, 0, chunk, now_ns), 0);
    while (now_ns < start_ns + span_ns) {
        CHECK_EQ(rival_take(one, 0, chunk, now_ns), -ENOBUFS);
        now_ns += (int64_t)(chunk * 1000000000 / rate_Bps);
        rival_done(one, chunk, now_ns);
        CHECK_EQ(rival_take(one, 0, chunk, now_ns), 0);
    }
    rival_done(one, chunk, now_ns);
    rival_done(one, chunk, now_ns);
    start_ns = now_ns;
}

static void rate__is_learned_and_followed(void)
{
    set_up(1);
    CHECK_EQ(all.port.rate_Bps, 0);
    keep_busy(100 * MB, 50 * MS);
    CHECK(all.port.rate_Bps >= 99 * MB && all.port.rate_Bps <= 101 * MB);
    keep_busy(50 * MB, 600 * MS);
    CHECK(all.port.rate_Bps >= 49 * MB && all.port.rate_Bps <= 52 * MB);
    rivals_destroy(&all);
}

/* A socket's buffer takes a whole window at once: the port is empty each time we look, but not
 * idle. Now and then we look late. */
static void rate__bursts_that_empty_the_window(void)
{
    const uint64_t chunk = 49920;

    set_up(1);
    rival_waits(&all.of[0], 0, UINT64_C(1) << 40, start_ns);
    for (int burst = 0; burst < 400; burst++) {
        const int64_t now_ns = start_ns;

        CHECK_EQ(rival_next(&all.of[0], chunk, now_ns), 0);
        CHECK_EQ(rival_next(&all.of[0], chunk, now_ns), 0);
        CHECK_EQ(rival_next(&all.of[0], chunk, now_ns), -ENOBUFS);
        start_ns += burst % 40 == 39 ? 40 * MS : MS; /* on average 100 KB in 1.975 ms */
        rival_done(&all.of[0], chunk, start_ns);
        rival_done(&all.of[0], chunk, start_ns);
    }
    CHECK(all.port.rate_Bps >= 30 * MB && all.port.rate_Bps <= 100 * MB);
    rivals_destroy(&all);
}

/* Little traffic, one chunk before the last is done: it shows what was asked for. */
static void rate__is_not_learned_from_little_traffic(void)
{
    uint64_t rate_Bps;

    set_up(1);
    keep_busy(100 * MB, 100 * MS);
    rate_Bps = all.port.rate_Bps;
    CHECK_EQ(rival_take(&all.of[0], 0, KB, start_ns), 0);
    for (int i = 0; i < 300; i++) {
        start_ns += MS;
        CHECK_EQ(rival_take(&all.of[0], 0, KB, start_ns), 0);
        rival_done(&all.of[0], KB, start_ns);
    }
    CHECK_EQ(all.port.rate_Bps, rate_Bps);
    rivals_destroy(&all);
}

static void rate__idle_time_does_not_count(void)
{
    uint64_t rate_Bps;

    set_up(1);
    keep_busy(100 * MB, 100 * MS);
    rate_Bps = all.port.rate_Bps;
    start_ns += 10 * SECOND;
    keep_busy(100 * MB, 100 * MS);
    CHECK_EQ(all.port.rate_Bps / MB, rate_Bps / MB);
    rivals_destroy(&all);
}

/* What all of them have completed, whoever takes the sample. */
static void rate__is_of_all_senders(void)
{
    const uint64_t chunk = 25 * KB;

    set_up(3);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(rival_take(&all.of[i], 0, chunk, start_ns), 0);
    for (int i = 0; i < 400; i++) { /* 50 KB in a millisecond, of three in turn */
        CHECK_EQ(rival_take(&all.of[i % 3], 0, 2 * chunk, start_ns), -ENOBUFS);
        start_ns += MS / 2;
        rival_done(&all.of[i % 3], chunk, start_ns);
        CHECK_EQ(rival_take(&all.of[i % 3], 0, chunk, start_ns), 0);
    }
    CHECK(all.port.rate_Bps >= 48 * MB && all.port.rate_Bps <= 52 * MB);
    rivals_destroy(&all);
}

/* It begins with the speed of the link, which is no more than a first estimate. */
static void rate__of_the_link_is_corrected(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.window.window_bytes = 100 * KB;
    config.queue.params.rate_Bps = 100 * MB;
    rivals_create(&all, 1, &config);
    start_ns = SECOND;
    keep_busy(50 * MB, SECOND);
    CHECK(all.port.rate_Bps >= 45 * MB && all.port.rate_Bps <= 55 * MB);
    rivals_destroy(&all);
}

static void rate__known_is_kept(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.window.window_bytes = 100 * KB;
    config.queue.params.rate_Bps = MB;
    config.rate_known = true;
    rivals_create(&all, 1, &config);
    start_ns = SECOND;
    keep_busy(100 * MB, 100 * MS);
    CHECK_EQ(all.port.rate_Bps, MB);
    rivals_destroy(&all);
}

static const struct test tests[] = {
    TEST(share__what_is_earned_and_spent),
    TEST(share__none_and_all),
    TEST(share__has_an_end),
    TEST(pace__a_chunk_takes_its_time),
    TEST(pace__a_moment_too_far_ahead),
    TEST(pace__huge_chunk_at_a_low_pace),
    TEST(pace__several_senders_share_it),
    TEST(sample__over_its_interval),
    TEST(sample__the_best_is_kept),
    TEST(sample__that_no_port_can_have),
    TEST(sample__begun_in_a_future_that_nobody_meant),
    TEST(rate__is_learned_and_followed),
    TEST(rate__bursts_that_empty_the_window),
    TEST(rate__is_not_learned_from_little_traffic),
    TEST(rate__idle_time_does_not_count),
    TEST(rate__is_of_all_senders),
    TEST(rate__of_the_link_is_corrected),
    TEST(rate__known_is_kept),
};

TEST_MAIN(tests)
