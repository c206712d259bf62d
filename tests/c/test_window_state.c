/* SPDX-License-Identifier: Apache-2.0 */
/* The window of a sender whose owner looks late, on a port of 1 Gbit/s: 250,000 bytes at first. */
#include "core/window_state.h"

#include "test.h"

#include "rival.h"

#define MS INT64_C(1000000)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)

static struct rival rival;
static int64_t start_ns;
static uint64_t inflight;

static void set_up(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    mfs_window_config_init(&config.window);
    config.queue.params.rate_Bps = 125 * MB;
    config.rate_known = true;
    rival_create(&rival, &config);
    (void)mfs_sender_chunk(rival.sender);
    CHECK_EQ(rival.sender->window.window_bytes, 250 * KB);
    start_ns = 1000 * MS;
    inflight = 0;
    rival_waits(&rival, 0, UINT64_C(1) << 50, start_ns);
}

/* Look every look_ns at a port of rate_Bps, for span_ns; bytes sent. */
static uint64_t look_every(int64_t look_ns, uint64_t rate_Bps, int64_t span_ns)
{
    const int64_t end_ns = start_ns + span_ns;
    const uint64_t chunk = 9984;
    uint64_t sent = 0;

    while (start_ns < end_ns) {
        uint64_t gone = rate_Bps * (uint64_t)look_ns / 1000000000;

        while (rival_next(&rival, chunk, start_ns) == 0) {
            inflight += chunk;
            sent += chunk;
        }
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

static const struct test tests[] = {
    TEST(late__the_port_does_not_stand_idle),
    TEST(late__not_who_looks_in_time),
    TEST(late__not_who_is_late_now_and_then),
    TEST(late__the_destination_is_not_slow),
};

TEST_MAIN(tests)
