/* SPDX-License-Identifier: Apache-2.0 */
/* The window of a sender whose owner looks late, on a port of 1 Gbit/s: 250,000 bytes at first. */
#include "core/window_state.h"

#include <errno.h>

#include "test.h"

#include "rival.h"

#define MS INT64_C(1000000)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)

static struct rival rival;
static int64_t start_ns;
static uint64_t inflight;
static mfs_rank_t elsewhere; /* the best that waits at another sender of the port */

static void others(void *ctx, int64_t now_ns, struct mfs_others *found)
{
    (void)ctx, (void)now_ns;
    found->best = elsewhere;
}

static void set_up(void)
{
    struct mfs_sender_config config;

    elsewhere = MFS_RANK_NONE;
    mfs_sender_config_init(&config);
    mfs_window_config_init(&config.window);
    config.others.look = others;
    config.queue.params.rate_Bps = 125 * MB;
    config.rate_known = true;
    rival_create(&rival, &config);
    (void)mfs_sender_chunk(rival.sender);
    CHECK_EQ(rival.sender->window.window_bytes, 250 * KB);
    start_ns = 1000 * MS;
    inflight = 0;
    rival_waits(&rival, 0, UINT64_C(1) << 50, start_ns);
}

#define CHUNK UINT64_C(9984)

/* All that fits; how much that was. */
static uint64_t fill(void)
{
    uint64_t sent = 0;

    while (rival_next(&rival, CHUNK, start_ns) == 0)
        sent += CHUNK;
    inflight += sent;
    return sent;
}

/* Look every look_ns at a port of rate_Bps, for span_ns; bytes sent. */
static uint64_t look_every(int64_t look_ns, uint64_t rate_Bps, int64_t span_ns)
{
    const int64_t end_ns = start_ns + span_ns;
    uint64_t sent = 0;

    while (start_ns < end_ns) {
        uint64_t gone = rate_Bps * (uint64_t)look_ns / 1000000000;

        sent += fill();
        start_ns += look_ns;
        gone = gone < inflight ? gone : inflight;
        inflight -= gone;
        rival_done(&rival, gone, start_ns);
    }
    return sent;
}

static void late__the_port_does_not_stand_idle(void)
{
    set_up();
    (void)look_every(10 * MS, 125 * MB, 200 * MS);
    CHECK(look_every(10 * MS, 125 * MB, 2000 * MS) > 230 * MB); /* of 250 */
    /* in time again: as small as it was, soon */
    (void)look_every(MS / 10, 125 * MB, 1500 * MS);
    CHECK(inflight <= 255 * KB);
    rival_destroy(&rival);
}

static void late__not_who_looks_in_time(void)
{
    set_up();
    for (int i = 0; i < 1000; i++) {
        CHECK(look_every(MS / 10, 125 * MB, MS) > 0);
        CHECK(inflight <= 250 * KB);
        CHECK(look_every(MS, 125 * MB, MS) > 0); /* half of the window's time */
        CHECK(inflight <= 250 * KB);
    }
    rival_destroy(&rival);
}

static void late__not_who_is_late_now_and_then(void)
{
    set_up();
    for (int i = 0; i < 100; i++) {
        (void)look_every(5 * MS, 125 * MB, 5 * MS); /* all of it gone, and the port idle */
        CHECK(look_every(MS / 10, 125 * MB, 20 * MS) > 0);
        CHECK(inflight <= 250 * KB);
    }
    rival_destroy(&rival);
}

/* Its own absence says nothing about the destination, which took all bytes at the port's rate. */
static void late__the_destination_is_not_slow(void)
{
    for (int64_t late_ns = 3 * MS; late_ns <= 48 * MS; late_ns *= 2) {
        set_up();
        for (int i = 0; i < 40; i++) {
            (void)look_every(late_ns, 125 * MB, late_ns);
            CHECK_EQ_AT(rival.to.state, MFS_DESTINATION_OPEN, late_ns);
            (void)look_every(MS / 10, 125 * MB, i * MS);
            CHECK_EQ_AT(rival.to.state, MFS_DESTINATION_OPEN, late_ns);
        }
        rival_destroy(&rival);
    }
}

/*
 * A program that another one takes turns with: 4 ms each. All that was in flight has left by its
 * turn, but it is told late_ns after its first look, in so many parts. What a turn finds in flight
 * at its end.
 */
static uint64_t turns(unsigned count, int64_t late_ns, unsigned parts)
{
    while (count-- > 0) {
        (void)fill();
        start_ns += 4 * MS; /* the other's turn */
        (void)fill();
        for (unsigned part = 0; part < parts; part++) {
            const uint64_t gone = part + 1 < parts ? inflight / (parts - part) : inflight;

            start_ns += late_ns / parts;
            (void)fill();
            inflight -= gone;
            rival_done(&rival, gone, start_ns);
        }
        (void)fill();
        start_ns += 4 * MS - late_ns;
        inflight -= inflight / 2; /* in its own turn it sees what leaves */
        rival_done(&rival, rival.sender->destinations.in[0].bytes - inflight, start_ns);
    }
    (void)fill();
    return inflight;
}

/* Its first look comes before the transport has told what is over. */
static void late__what_is_over_is_told_a_moment_later(void)
{
    set_up();
    CHECK(turns(12, MS / 10, 1) >= 750 * KB); /* 250, and 4 ms of the port */
    rival_destroy(&rival);
}

/* Gets: what has come in is read from a socket part by part. */
static void late__what_is_over_is_told_in_parts(void)
{
    set_up();
    CHECK(turns(12, MS / 2, 10) >= 750 * KB);
    rival_destroy(&rival);
}

/* A port that takes whatever it is given says nothing about how much it needs. */
static void late__no_more_than_four_absences(void)
{
    set_up();
    CHECK(turns(200, MS / 10, 1) <= 250 * KB + 4 * 500 * KB);
    rival_destroy(&rival);
}

/* The port has kept some of it: it has not stood idle. */
static void late__not_who_left_enough(void)
{
    set_up();
    for (int i = 0; i < 50; i++) {
        (void)look_every(4 * MS, 40 * MB, 4 * MS); /* 160 of 250 KB */
        (void)look_every(MS / 10, 125 * MB, 4 * MS);
        CHECK(inflight <= 250 * KB);
    }
    rival_destroy(&rival);
}

static void late__falls_when_somebody_urgent_comes(void)
{
    set_up();
    CHECK(turns(12, MS / 10, 1) >= 750 * KB);
    rival_waits(&rival, 10, UINT64_C(1) << 50, start_ns);
    elsewhere = 5;
    CHECK_EQ(rival_next(&rival, CHUNK, start_ns), -EBUSY);
    elsewhere = MFS_RANK_NONE; /* it has gone, and may come again */
    rival_done(&rival, inflight, start_ns);
    inflight = 0;
    CHECK(fill() <= 250 * KB);
    rival_destroy(&rival);
}

/* Reads whose rate is learned: several hosts have the floor of one between them. */
static void shared__two_chunks_stay_whatever_is_told(void)
{
    struct mfs_window_config config;
    struct mfs_window_state state;

    mfs_window_config_init(&config);
    config.window_min_bytes = 512 * KB;
    mfs_window_state_init(&state, &config);
    mfs_window_state_rate(&state, 40 * MB);
    CHECK_EQ(state.window_bytes, 512 * KB);
    mfs_window_state_share(&state, 1);
    CHECK_EQ(state.window_bytes, 512 * KB);
    mfs_window_state_beside(&state, 125 * MB, 12 * MS);
    CHECK_EQ(mfs_window_state_added(&state), 750 * KB - 512 * KB);
    mfs_window_state_share(&state, 3);
    CHECK_EQ(state.window_bytes, 512 * KB / 3);
    CHECK_EQ(mfs_window_state_added(&state), 0);
    mfs_window_state_share(&state, UINT32_MAX);
    CHECK_EQ(state.window_bytes, 2 * 65536);
    mfs_window_state_rate(&state, 1250 * MB); /* what is learned counts, too */
    CHECK_EQ(state.window_bytes, 2500 * KB);
    mfs_window_state_rate(&state, 40 * MB);
    mfs_window_state_share(&state, 0);
    CHECK_EQ(state.window_bytes, 512 * KB);
}

/* What is 4 ms of a port of 1 Gbit/s is 42 ms of one of 100 Mbit/s. */
static void floor__is_no_more_time_on_a_slow_port(void)
{
    struct mfs_window_config config;
    struct mfs_window_state state;

    mfs_window_config_init(&config);
    config.window_min_bytes = 512 * KB;
    mfs_window_state_init(&state, &config);
    mfs_window_state_rate(&state, 12500 * KB);
    CHECK_EQ(state.window_bytes, 512 * KB); /* it is not known yet that this is all it can do */
    mfs_window_state_beside(&state, 12500 * KB, 0);
    CHECK_EQ(state.window_bytes, 150 * KB);
    mfs_window_state_beside(&state, 2 * MB, 0);
    CHECK_EQ(state.window_bytes, 2 * 65536);
    mfs_window_state_beside(&state, 25 * MB, 0);
    CHECK_EQ(state.window_bytes, 300 * KB);
    mfs_window_state_share(&state, 2);
    CHECK_EQ(state.window_bytes, 150 * KB);
    mfs_window_state_beside(&state, 125 * MB, 0);
    mfs_window_state_share(&state, 0);
    CHECK_EQ(state.window_bytes, 512 * KB);
    mfs_window_state_beside(&state, UINT64_MAX, 0);
    CHECK_EQ(state.window_bytes, 512 * KB);
    mfs_window_state_beside(&state, 0, 0); /* forgotten, or never seen */
    CHECK_EQ(state.window_bytes, 512 * KB);
}

static const struct test tests[] = {
    TEST(late__the_port_does_not_stand_idle),        TEST(late__not_who_looks_in_time),
    TEST(late__not_who_is_late_now_and_then),        TEST(late__the_destination_is_not_slow),
    TEST(late__what_is_over_is_told_a_moment_later), TEST(late__what_is_over_is_told_in_parts),
    TEST(late__no_more_than_four_absences),          TEST(late__not_who_left_enough),
    TEST(late__falls_when_somebody_urgent_comes),    TEST(shared__two_chunks_stay_whatever_is_told),
    TEST(floor__is_no_more_time_on_a_slow_port),
};

TEST_MAIN(tests)
