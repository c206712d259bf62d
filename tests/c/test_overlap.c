/* SPDX-License-Identifier: Apache-2.0 */
/* Senders of ports that have a device in common, and of ports that have none. */
#include "host/overlap.h"

#include "core/atomic.h"
#include "host.h"
#include "host/attach.h"
#include "rival.h"

#define MS INT64_C(1000000)
#define KB UINT64_C(1000)
#define PIECE UINT64_C(1024)
#define MUCH (UINT64_C(1) << 40)

static struct mfs_host *host;
static int64_t start_ns;

/* Ports with a window of 100,000 bytes each. */
static void set_up(void)
{
    setenv("MFS_WINDOW", "100000", 1);
    setenv("MFS_LEASE", "20ms", 1);
    host = host_private();
    start_ns = mfs_now_ns();
}

static struct mfs_sender_cell *cell_of(uint32_t port)
{
    return &host->segment->ports[port].senders[0];
}

static void shared__by_the_names(void)
{
    static const struct {
        const char *name, *other;
        uint32_t devices, shared;
    } rows[] = {
        {"eth0", "eth0", 1, 1},
        {"eth0", "eth1", 1, 0},
        {"a+b", "b", 2, 2},
        {"a+b+c", "c+a", 3, 5},
        {"eth1", "eth10+eth11", 1, 0},
        {"eth10", "eth10+eth11", 1, 1},
        {"a+b", "", 2, 0},
        {"", "a", 0, 0},
        {"+", "+a", 1, 0},
        {"a+b+c+d+e+f+g+h+i", "i", 8, 0},
        {"default", "default+a", 1, 1},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK_EQ_AT(mfs_port_devices(rows[i].name), rows[i].devices, i);
        CHECK_EQ_AT(mfs_port_shared(rows[i].name, rows[i].other), rows[i].shared, i);
    }
}

/* Each byte on one device of two counts twice in the window of both, and half the other way. */
static void window__is_that_of_the_device(void)
{
    struct rival both, one, other;

    set_up();
    rival_join(&both, host, "mlx5_0+mlx5_1");
    rival_join(&one, host, "mlx5_1");
    rival_join(&other, host, "mlx5_2");
    CHECK_EQ(rival_take(&one, 5, 30 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&both, 5, 41 * KB, start_ns), -ENOBUFS); /* 60 of 100 are taken */
    CHECK_EQ(rival_take(&both, 5, 40 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&one, 5, 51 * KB, start_ns), -ENOBUFS); /* 30, and 20 of the other's 40 */
    CHECK_EQ(rival_take(&one, 5, 50 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&other, 5, 100 * KB, start_ns), 0);
    rival_done(&one, 80 * KB, start_ns);
    CHECK_EQ(rival_take(&both, 5, 60 * KB, start_ns), 0);
    rival_leave(&both);
    rival_leave(&one);
    rival_leave(&other);
    mfs_host_close(host);
}

/* Of two ports beside one, the fuller device counts and not the sum. */
static void window__of_the_fuller_device(void)
{
    struct rival both, left, right;

    set_up();
    rival_join(&left, host, "a");
    rival_join(&right, host, "b");
    rival_join(&both, host, "a+b");
    CHECK_EQ(rival_take(&left, 5, 30 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&right, 5, 20 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&both, 5, 41 * KB, start_ns), -ENOBUFS);
    CHECK_EQ(rival_take(&both, 5, 40 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&right, 5, 60 * KB, start_ns), 0); /* the left one's are none of its */
    rival_leave(&both);
    rival_leave(&left);
    rival_leave(&right);
    mfs_host_close(host);
}

/* What is better goes first, on whichever of the ports; other devices and directions do not mind.
 */
static void rank__goes_first_on_all_that_share_a_device(void)
{
    struct rival both, one, other;

    set_up();
    rival_join(&one, host, "b");
    rival_join(&both, host, "a+b");
    rival_join(&other, host, "c");
    rival_waits(&one, 3, 10 * KB, start_ns);
    CHECK_EQ(rival_take(&both, 5, KB, start_ns), -EBUSY);
    CHECK_EQ(rival_take(&other, 5, KB, start_ns), 0);
    CHECK_EQ(rival_take(&both, 2, KB, start_ns), 0);
    rival_rest(&one, start_ns);
    rival_waits(&both, 3, 10 * KB, start_ns);
    CHECK_EQ(rival_take(&one, 5, KB, start_ns), -EBUSY);
    /* for the lease */
    CHECK_EQ(rival_take(&one, 5, KB, start_ns + 30 * MS), 0);
    rival_leave(&both);
    rival_leave(&one);
    rival_leave(&other);
    mfs_host_close(host);
}

/* n bytes of untagged traffic leave before 20 n + a chunk of what is tagged beside it has. */
static void share__is_earned_on_the_other_port(void)
{
    struct rival both, one;
    uint64_t tagged = 0, untagged = 0;

    set_up();
    rival_join(&one, host, "b");
    rival_join(&both, host, "a+b");
    rival_waits(&both, 3, MUCH, start_ns);
    rival_waits_of(&one, MFS_UNTAGGED, mfs_rank_make(7, 1), MUCH, start_ns);
    for (int i = 0; i < 400; i++) {
        if (rival_next(&both, PIECE, start_ns) == 0) {
            rival_done(&both, PIECE, start_ns);
            tagged++;
        }
        if (rival_next(&one, PIECE, start_ns) == 0) {
            rival_done(&one, PIECE, start_ns);
            untagged++;
        }
    }
    CHECK(untagged >= 18 && untagged <= 22); /* 50 thousandths of 400 */
    CHECK(tagged >= 375);
    rival_leave(&both);
    rival_leave(&one);
    mfs_host_close(host);
}

/* Eight workers with a NIC each, whatever waits at the others and however full they are. */
static void count__no_chunk_waits_for_another_port(void)
{
    struct rival rivals[8];
    uint64_t waited = 0;

    set_up();
    for (uint32_t i = 0; i < COUNT(rivals); i++) {
        const char name[] = {'m', 'l', 'x', '5', '_', (char)('0' + i), '\0'};

        rival_join(&rivals[i], host, name);
    }
    for (int round = 0; round < 1000; round++) {
        for (uint32_t i = 0; i < COUNT(rivals); i++) { /* all but one are full, and better */
            struct rival *last = &rivals[(i + 7) % 8];

            waited += rival_take(&rivals[i], 100 + i, 100 * KB, start_ns) != 0;
            rival_waits(&rivals[i], i, 10 * KB, start_ns);
            if (last->sender->told.inflight_bytes > 0) {
                rival_done(last, 100 * KB, start_ns);
                rival_rest(last, start_ns);
            }
        }
        for (uint32_t i = 0; i < COUNT(rivals); i++) {
            rival_rest(&rivals[i], start_ns);
            if (rivals[i].sender->told.inflight_bytes > 0)
                rival_done(&rivals[i], 100 * KB, start_ns);
        }
    }
    CHECK_EQ(waited, 0);
    for (uint32_t i = 0; i < COUNT(rivals); i++) {
        CHECK_EQ(host->segment->ports[i].senders_high, 1);
        CHECK(!mfs_overlaps_any(host->segment->ports[i].beside));
        rival_leave(&rivals[i]);
    }
    mfs_host_close(host);
}

/* A port gives way to another name: it is beside others than it was. */
static void word__follows_the_names(void)
{
    struct mfs_port *port, *again, *others[MFS_PORTS_MAX];
    struct rival both;
    uint32_t opened = 0;

    set_up();
    CHECK_EQ(mfs_port_open(host, "b", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_open(host, "b", MFS_INGRESS, &again), 0);
    rival_join(&both, host, "a+b");
    CHECK(host->segment->ports[0].beside & 1u << 2);
    CHECK_EQ(host->segment->ports[1].beside, 0);
    CHECK_EQ(host->segment->ports[2].beside << 24 >> 24, 1);
    mfs_port_close(port);
    mfs_port_close(again);
    while (opened < MFS_PORTS_MAX - 1) { /* until the place is needed */
        char name[16];

        snprintf(name, sizeof(name), "nic%u", opened);
        CHECK_EQ(mfs_port_open(host, name, MFS_EGRESS, &others[opened]), 0);
        opened++;
    }
    CHECK(!mfs_overlaps_any(host->segment->ports[2].beside));
    CHECK_EQ(rival_take(&both, 5, 100 * KB, start_ns), 0);
    while (opened > 0)
        mfs_port_close(others[--opened]);
    rival_leave(&both);
    mfs_host_close(host);
}

/* Whatever stands in the words, a sender goes on: its own names say what is beside it. */
static void word__rubbish_changes_nothing(void)
{
    struct rival both, one;

    set_up();
    rival_join(&one, host, "b");
    rival_join(&both, host, "a+b");
    host->segment->ports[0].beside = UINT64_MAX;
    host->segment->ports[1].beside = UINT64_MAX;
    CHECK_EQ(rival_take(&both, 5, 40 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&one, 5, 81 * KB, start_ns), -ENOBUFS);
    CHECK_EQ(rival_take(&one, 5, 80 * KB, start_ns), 0);
    cell_of(0)->inflight_bytes = UINT64_MAX; /* nothing more goes; and in a lease it does */
    cell_of(0)->done_bytes = UINT64_MAX;
    CHECK_EQ(rival_take(&both, 5, KB, start_ns), -ENOBUFS);
    CHECK_EQ(rival_take(&both, 5, KB, start_ns + 30 * MS), 0);
    host->segment->ports[0].beside = 0; /* till somebody mends it */
    CHECK_EQ(mfs_segment_lock(host), 0);
    mfs_segment_mend(host);
    mfs_segment_unlock(host);
    CHECK(mfs_overlaps_any(host->segment->ports[0].beside));
    rival_leave(&both);
    rival_leave(&one);
    mfs_host_close(host);
}

static const struct test tests[] = {
    TEST(shared__by_the_names),
    TEST(window__is_that_of_the_device),
    TEST(window__of_the_fuller_device),
    TEST(rank__goes_first_on_all_that_share_a_device),
    TEST(share__is_earned_on_the_other_port),
    TEST(count__no_chunk_waits_for_another_port),
    TEST(word__follows_the_names),
    TEST(word__rubbish_changes_nothing),
};

TEST_MAIN(tests)
