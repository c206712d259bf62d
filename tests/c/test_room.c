/* SPDX-License-Identifier: Apache-2.0 */
/* The window of a member whose owner looks late, on a port of 1 Gbit/s: 250,000 bytes at first. */
#include "host.h"

#define MS INT64_C(1000000)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)

static struct mfs_host *host;
static struct mfs_port *port;
static struct mfs_member *member;
static int64_t start_ns;
static uint64_t inflight;

static void set_up(void)
{
    setenv("MFS_PORT_RATE", "1gbit", 1);
    host = host_private();
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_join(host, port, &member), 0);
    CHECK_EQ(mfs_port_window(port), 250 * KB);
    start_ns = mfs_now_ns();
    inflight = 0;
}

static void tear_down(void)
{
    mfs_port_leave(member);
    mfs_port_close(port);
    mfs_host_close(host);
}

/* Look every look_ns at a port of rate_Bps, for span_ns; bytes sent. */
static uint64_t look_every(int64_t look_ns, uint64_t rate_Bps, int64_t span_ns)
{
    const int64_t end_ns = start_ns + span_ns;
    const uint64_t chunk = 10 * KB;
    uint64_t sent = 0;

    while (start_ns < end_ns) {
        uint64_t gone = rate_Bps * (uint64_t)look_ns / 1000000000;

        while (mfs_member_acquire(member, 0, chunk, start_ns) == 0) {
            inflight += chunk;
            sent += chunk;
        }
        start_ns += look_ns;
        gone = gone < inflight ? gone : inflight;
        inflight -= gone;
        mfs_member_done(member, gone, start_ns);
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
    tear_down();
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
    tear_down();
}

static void late__not_who_is_late_now_and_then(void)
{
    set_up();
    for (int i = 0; i < 100; i++) {
        (void)look_every(5 * MS, 125 * MB, 5 * MS); /* all of it gone, and the port idle */
        CHECK(look_every(MS / 10, 125 * MB, 20 * MS) > 0);
        CHECK(inflight <= 250 * KB);
    }
    tear_down();
}

static const struct test tests[] = {
    TEST(late__the_port_does_not_stand_idle),
    TEST(late__not_who_looks_in_time),
    TEST(late__not_who_is_late_now_and_then),
};

TEST_MAIN(tests)
