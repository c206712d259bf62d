/* SPDX-License-Identifier: Apache-2.0 */
/* What other hosts want of a port of this one, and how far they are believed. */
#include "host/guest.h"

#include "core/exchange.h"
#include "host/far.h"

#include "host.h"

#define MS INT64_C(1000000)
#define LEASE (20 * MS)
#define MINE mfs_rank_make(1, 5)

static struct mfs_host *host;
static struct mfs_port *port;
static struct rival one;
static struct mfs_guest *guest;
static int64_t now_ns;

static void set_up(void)
{
    setenv("MFS_WINDOW", "100000", 0);
    setenv("MFS_LEASE", "20ms", 0);
    host = host_private();
    rival_join(&one, host, "nic");
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_guest_join(port, &guest), 0);
    now_ns = mfs_now_ns();
}

static void tear_down(void)
{
    mfs_guest_leave(guest);
    mfs_guest_leave(NULL);
    rival_leave(&one);
    mfs_port_close(port);
    mfs_host_close(host);
}

static void tell__the_better_one_goes_first(void)
{
    set_up();
    CHECK_EQ(mfs_guest_tell(guest, 0, 5 * MS, 0, 0, now_ns), 0);
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns), -EBUSY);
    CHECK_EQ(rival_take(&one, mfs_rank_make(0, now_ns + 4 * MS), 4000, now_ns), 0);
    CHECK_EQ(mfs_guest_tell(guest, 2, 5 * MS, 0, 0, now_ns), 0);
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns), 0);
    CHECK_EQ(mfs_guest_tell(guest, 0, 5 * MS, 0, 0, now_ns), 0);
    CHECK_EQ(mfs_guest_tell(guest, MFS_FAR_NO_LEVEL, 0, 0, 0, now_ns), 0);
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns), 0);
    tear_down();
}

/* However urgent: what this host has held for as long as it may goes in front of it. */
static void tell__not_before_what_is_in_front_of_all(void)
{
    set_up();
    CHECK_EQ(mfs_guest_tell(guest, 0, INT64_MIN, 0, 0, now_ns), 0);
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns), -EBUSY);
    CHECK_EQ(rival_take(&one, 0, 4000, now_ns), 0);
    tear_down();
}

static void tell__half_of_the_window_at_most(void)
{
    set_up();
    CHECK_EQ(mfs_guest_tell(guest, MFS_FAR_NO_LEVEL, 0, UINT64_MAX, 0, now_ns), 0);
    CHECK_EQ(mfs_port_inflight(port, now_ns), 50000);
    CHECK_EQ(rival_take(&one, MINE, 50000, now_ns), 0);
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns), -ENOBUFS);
    CHECK_EQ(mfs_guest_tell(guest, MFS_FAR_NO_LEVEL, 0, 0, 0, now_ns), 0);
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns), 0);
    tear_down();
}

static void tell__one_that_is_silent_is_not_waited_for(void)
{
    set_up();
    CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 0, now_ns), 0);
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns + LEASE + 1), 0);
    tear_down();
}

/* Told anew each millisecond, with no byte that moves. */
static void tell__one_whose_bytes_do_not_move(void)
{
    const int64_t since_ns = (set_up(), now_ns);

    for (;; now_ns += MS) {
        CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 7, now_ns), 0);
        if (rival_take(&one, MINE, 4000, now_ns) == 0)
            break;
        CHECK(now_ns - since_ns < 2 * LEASE);
    }
    CHECK(now_ns - since_ns >= LEASE);
    CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 8, now_ns), 0); /* they move */
    CHECK_EQ(rival_take(&one, MINE, 4000, now_ns), -EBUSY);
    tear_down();
}

/* One that always says that something more urgent waits, and that it moves: half of the time. */
static void tell__a_liar_gains_half(void)
{
    unsigned went = 0;

    set_up();
    for (uint64_t i = 0; i < 2000; i++, now_ns += MS) {
        CHECK_EQ(mfs_guest_tell(guest, 0, -MS, 0, i, now_ns), 0);
        if (rival_take(&one, MINE, 100, now_ns) == 0) {
            rival_done(&one, 100, now_ns);
            went++;
        }
    }
    CHECK(went > 900 && went < 1100);
    tear_down();
}

/* The port's rate is learned from all that leaves it. */
static void tell__done_bytes_only_grow(void)
{
    struct mfs_sender_cell *cell;

    set_up();
    cell = &host->segment->ports[0].senders[1];
    CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 5000, now_ns), 0);
    CHECK_EQ(cell->done_bytes, 0);
    CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 7000, now_ns), 0);
    CHECK_EQ(cell->done_bytes, 2000);
    CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 100, now_ns), 0); /* it has begun anew */
    CHECK_EQ(cell->done_bytes, 2000);
    CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 200, now_ns), 0);
    CHECK_EQ(cell->done_bytes, 2100);
    tear_down();
}

static void tell__its_place_is_lost(void)
{
    set_up();
    mfs_set(&host->segment->ports[0].senders[1].owner, 99);
    CHECK_EQ(mfs_guest_tell(guest, 0, 0, 0, 0, now_ns), -ENOENT);
    tear_down();
}

static void a_guest(const char *path)
{
    struct mfs_port *own;
    struct mfs_guest *there;

    child_host = host_open(path);
    CHECK_EQ(mfs_port_open(child_host, "nic", MFS_EGRESS, &own), 0);
    CHECK_EQ(mfs_guest_join(own, &there), 0);
    CHECK_EQ(mfs_guest_tell(there, 0, 0, 5000, 0, mfs_now_ns()), 0);
}

static void reap__its_agent_was_killed(void)
{
    const char *path = segment_path();
    struct mfs_host *mine = host_open(path);
    const pid_t child = child_start(a_guest, path);
    struct mfs_claim claims[2];
    struct rival two;

    rival_join(&two, mine, "nic");
    CHECK_EQ(rival_take(&two, MINE, 4000, mfs_now_ns()), -EBUSY);
    child_kill(child);
    mfs_process_reap(mine);
    CHECK_EQ(rival_take(&two, MINE, 4000, mfs_now_ns()), 0);
    CHECK_EQ(mfs_port_find(mine, "nic", MFS_EGRESS, &port), 0);
    CHECK(!mfs_port_claim(port, NULL, mfs_now_ns(), claims));
    mfs_port_close(port);
    rival_leave(&two);
    mfs_host_close(mine);
}

static const struct test tests[] = {
    TEST(tell__the_better_one_goes_first),   TEST(tell__not_before_what_is_in_front_of_all),
    TEST(tell__half_of_the_window_at_most),  TEST(tell__one_that_is_silent_is_not_waited_for),
    TEST(tell__one_whose_bytes_do_not_move), TEST(tell__a_liar_gains_half),
    TEST(tell__done_bytes_only_grow),        TEST(tell__its_place_is_lost),
    TEST(reap__its_agent_was_killed),
};
TEST_MAIN(tests)
