/* SPDX-License-Identifier: Apache-2.0 */
/* When the last byte of a flow has been acknowledged, as a sender tells it. */
#include "core/departed.h"

#include "test.h"

#include "rivals.h"

#define CHUNK UINT64_C(1024)
#define SEEN_MAX (2 * MFS_DEPARTED_MAX)

static struct rivals all;
static struct rival *const one = &all.of[0];
static int64_t now_ns = 1000000000;
static bool on;
static struct {
    struct mfs_tag tag;
    uint64_t bytes;
    int64_t time_ns;
} seen[SEEN_MAX];
static unsigned count;

static bool wanted(void *ctx)
{
    (void)ctx;
    return on;
}

static void told(void *ctx, const struct mfs_flow_told *event)
{
    (void)ctx;
    CHECK(on);
    if (event->event != MFS_FLOW_COMPLETED || count == SEEN_MAX)
        return;
    CHECK_EQ(event->flow->bytes_left, 0);
    CHECK_EQ(event->why.slack_ns, MFS_TIME_NEVER);
    seen[count].tag = event->flow->tag;
    seen[count].bytes = event->flow->bytes_sent;
    seen[count++].time_ns = event->now_ns;
}

static void watched(uint64_t window_bytes)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.window.window_bytes = window_bytes;
    config.window.chunk_max_bytes = CHUNK;
    config.queue.watch = (struct mfs_flow_watch){NULL, wanted, told};
    rivals_create(&all, 1, &config);
    all.now_ns = now_ns;
    on = true;
    count = 0;
}

static void take(uint64_t bytes)
{
    CHECK_EQ(rival_next(one, bytes, now_ns), 0);
    CHECK_EQ(one->chunk.length, bytes);
}

static void done__tells_when_the_last_byte_is(void)
{
    watched(8 * CHUNK);
    rival_waits(one, 7, 2 * CHUNK, now_ns);
    take(CHUNK);
    take(CHUNK);
    CHECK_EQ(count, 0);
    rival_done(one, CHUNK, now_ns + 5);
    CHECK_EQ(count, 0);
    rival_done(one, CHUNK, now_ns + 9);
    CHECK_EQ(count, 1);
    CHECK(seen[0].time_ns == now_ns + 9 && seen[0].bytes == 2 * CHUNK && seen[0].tag.layer == 7);
    rivals_destroy(&all);
}

/* What is behind it in flight does not hold it up, and it is not told in the middle of that. */
static void done__of_several_in_flight(void)
{
    watched(8 * CHUNK);
    rival_waits(one, 1, CHUNK, now_ns);
    take(CHUNK);
    rival_waits(one, 2, 3 * CHUNK, now_ns);
    take(CHUNK);
    take(CHUNK);
    take(CHUNK);
    rival_waits(one, 3, CHUNK, now_ns);
    take(CHUNK);
    rival_done(one, CHUNK / 2, now_ns + 1);
    CHECK_EQ(count, 0);
    rival_done(one, CHUNK, now_ns + 2);
    CHECK(count == 1 && seen[0].tag.layer == 1 && seen[0].time_ns == now_ns + 2);
    rival_done(one, 5 * CHUNK / 2, now_ns + 3);
    CHECK(count == 2 && seen[1].tag.layer == 2);
    rival_done(one, CHUNK, now_ns + 4);
    CHECK(count == 3 && seen[2].tag.layer == 3 && seen[2].time_ns == now_ns + 4);
    CHECK_EQ(one->to.judged, 0);
    rivals_destroy(&all);
}

/* Its bytes count for the window as if nobody looked. */
static void done__changes_nothing_else(void)
{
    uint64_t left[2];

    for (int watching = 0; watching < 2; watching++) {
        watched(8 * CHUNK);
        on = watching;
        for (mfs_rank_t rank = 1; rank <= 4; rank++) {
            rival_waits(one, rank, 2 * CHUNK, now_ns);
            take(CHUNK);
            take(CHUNK);
        }
        for (int i = 0; i < 5; i++)
            rival_done(one, CHUNK, now_ns + i);
        CHECK_EQ(count, watching ? 2 : 0);
        CHECK_EQ(one->to.state, MFS_DESTINATION_OPEN);
        CHECK_EQ(mfs_sender_inflight(one->sender), 3 * CHUNK);
        left[watching] = one->to.mark_bytes;
        rivals_destroy(&all);
    }
    CHECK_EQ(left[0], left[1]);
}

static void done__of_what_was_taken_out(void)
{
    watched(8 * CHUNK);
    rival_waits(one, 1, 3 * CHUNK, now_ns);
    take(CHUNK);
    rival_rest(one, now_ns);
    rival_done(one, CHUNK, now_ns + 1);
    CHECK_EQ(count, 0);
    rivals_destroy(&all);
}

/* Switched off meanwhile, or closed: nothing is told, and nothing is kept. */
static void done__when_nobody_looks_any_more(void)
{
    watched(8 * CHUNK);
    rival_waits(one, 1, CHUNK, now_ns);
    take(CHUNK);
    on = false;
    rival_done(one, CHUNK, now_ns + 1);
    CHECK(count == 0 && one->to.judged == 0);
    on = true;
    rival_waits(one, 1, CHUNK, now_ns);
    take(CHUNK);
    CHECK(one->to.judged != 0);
    rivals_destroy(&all);
    CHECK_EQ(count, 0);
}

/* Of more than there is room for, those that fit; and the room comes back. */
static void done__of_very_many(void)
{
    for (int round = 0; round < 2; round++) {
        if (round == 0)
            watched(UINT64_MAX / 4);
        count = 0;
        for (mfs_rank_t rank = 1; rank <= MFS_DEPARTED_MAX + 5; rank++) {
            rival_waits(one, rank, CHUNK, now_ns);
            take(CHUNK);
        }
        for (unsigned i = 0; i < MFS_DEPARTED_MAX + 5; i++)
            rival_done(one, CHUNK, now_ns + i);
        CHECK_EQ_AT(count, MFS_DEPARTED_MAX, round);
        CHECK_EQ_AT(one->to.judged, 0, round);
    }
    rivals_destroy(&all);
}

/* The clock that is some milliseconds late will not do while somebody waits to be told. */
static void done_now__has_the_time(void)
{
    watched(8 * CHUNK);
    rival_waits(one, 1, CHUNK, now_ns);
    take(CHUNK);
    CHECK_EQ(mfs_sender_express(one->sender, &one->to, 8, 0), 0);
    all.now_ns = now_ns + 77;
    mfs_sender_done_now(one->sender, &one->to, CHUNK, true);
    CHECK(count == 1 && seen[0].time_ns == now_ns + 77);
    mfs_sender_done_now(one->sender, &one->to, 8, true);
    rivals_destroy(&all);
}

static const struct test tests[] = {
    TEST(done__tells_when_the_last_byte_is),
    TEST(done__of_several_in_flight),
    TEST(done__changes_nothing_else),
    TEST(done__of_what_was_taken_out),
    TEST(done__when_nobody_looks_any_more),
    TEST(done__of_very_many),
    TEST(done_now__has_the_time),
};

TEST_MAIN(tests)
