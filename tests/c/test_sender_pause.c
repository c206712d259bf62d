/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port that stands still for a while, as after a pause frame, and goes on: to each of its senders
 * all destinations were slow then, and it was the port. Up to eight senders, a destination each,
 * 125 MB/s.
 */
#include "core/sender.h"

#include <errno.h>

#include "test.h"

#include "rivals.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)
#define STEP_NS (MS / 10)
#define STEP_BYTES UINT64_C(12500)
#define CHUNK (64 * KB)
#define QUEUE_MAX 4096

static struct rivals all;

/* The port's queue: chunks as they were posted. */
static struct {
    uint64_t bytes[QUEUE_MAX], left[QUEUE_MAX];
    unsigned from[QUEUE_MAX];
    unsigned first, last;
    uint64_t inside;
} queue;

static void set_up(unsigned count)
{
    struct mfs_sender_config config;

    memset(&queue, 0, sizeof(queue));
    mfs_sender_config_init(&config);
    config.window.window_bytes = 0;
    config.queue.params.rate_Bps = 125 * MB;
    config.rate_known = true;
    rivals_create(&all, count, &config);
    for (unsigned i = 0; i < count; i++)
        rival_waits(&all.of[i], 10, UINT64_C(1) << 50, SECOND);
}

static void post(unsigned i)
{
    struct rival *rival = &all.of[i];

    while (rival_next(rival, CHUNK, all.now_ns) == 0) {
        const unsigned at = queue.last++ % QUEUE_MAX;

        CHECK(queue.last - queue.first < QUEUE_MAX);
        queue.bytes[at] = queue.left[at] = rival->chunk.length;
        queue.from[at] = i;
        queue.inside += rival->chunk.length;
    }
}

static void carry(uint64_t port_bytes)
{
    while (port_bytes > 0 && queue.first != queue.last) {
        const unsigned at = queue.first % QUEUE_MAX;
        const uint64_t left = queue.left[at] < port_bytes ? queue.left[at] : port_bytes;

        queue.left[at] -= left;
        port_bytes -= left;
        if (queue.left[at] > 0)
            break;
        queue.first++;
        queue.inside -= queue.bytes[at];
        rival_done(&all.of[queue.from[at]], queue.bytes[at], all.now_ns);
    }
}

/* The most that lay in the port's queue. */
static uint64_t go(int64_t span_ns, uint64_t step_bytes)
{
    const int64_t until_ns = all.now_ns + span_ns;
    uint64_t most = 0;

    for (; all.now_ns < until_ns; all.now_ns += STEP_NS) {
        carry(step_bytes);
        for (unsigned i = 0; i < all.count; i++)
            post(i);
        most = queue.inside > most ? queue.inside : most;
    }
    return most;
}

/* The first of them looks each millisecond. */
static void watch(unsigned count)
{
    while (count-- > 0) {
        all.now_ns += MS;
        mfs_sender_watch(all.of[0].sender, all.now_ns);
    }
}

/* Whatever was in flight when it stood still. */
static void pause__the_order_is_back_soon(void)
{
    for (unsigned count = 1; count <= RIVALS_MAX; count++) {
        for (int64_t pause_ns = 5 * MS; pause_ns <= 80 * MS; pause_ns *= 2) {
            set_up(count);
            all.now_ns = SECOND;
            (void)go(SECOND, STEP_BYTES);
            (void)go(pause_ns, 0);
            (void)go(SECOND / 5, STEP_BYTES);
            CHECK(go(SECOND / 2, STEP_BYTES) <= 255 * KB);
            for (unsigned i = 0; i < count; i++)
                CHECK_EQ_AT(all.of[i].to.state, MFS_DESTINATION_OPEN, pause_ns);
            rivals_destroy(&all);
        }
    }
}

/* All of it still may be on the port. */
static void pause__what_others_have_in_flight_to_slow_ones_takes_room(void)
{
    set_up(2);
    all.now_ns = SECOND;
    CHECK_EQ(rival_next(&all.of[0], CHUNK, all.now_ns), 0);
    watch(7);
    for (int i = 0; i < 12; i++) {
        post(1);
        watch(1);
    }
    CHECK_EQ(all.of[0].to.state, MFS_DESTINATION_SLOW);
    CHECK_EQ(all.of[1].to.state, MFS_DESTINATION_SLOW);
    CHECK(queue.inside > 150 * KB);
    CHECK_EQ(rival_next(&all.of[0], CHUNK, all.now_ns), -EAGAIN);
    rivals_destroy(&all);
}

/* They are in front of ours for 8 ms. Three times a window's time are 6. */
static void pause__who_is_behind_what_is_slow_is_not_slow(void)
{
    for (int wrong = 0; wrong < 2; wrong++) {
        set_up(2);
        all.now_ns = SECOND;
        all.seats[1].told = (struct mfs_told){.rank = MFS_RANK_NONE,
                                              .untagged_rank = MFS_RANK_NONE,
                                              .slow_bytes = wrong ? UINT64_MAX / 2 : MB};
        post(0);
        watch(8);
        CHECK_EQ(all.of[0].to.state, MFS_DESTINATION_OPEN);
        watch(60); /* a lease three times: nobody is waited for longer */
        CHECK(all.of[0].to.state != MFS_DESTINATION_OPEN);
        rivals_destroy(&all);
    }
}

static const struct test tests[] = {
    TEST(pause__the_order_is_back_soon),
    TEST(pause__what_others_have_in_flight_to_slow_ones_takes_room),
    TEST(pause__who_is_behind_what_is_slow_is_not_slow),
};

TEST_MAIN(tests)
