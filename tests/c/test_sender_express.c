/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that go at once, without the queue. */
#include "core/sender.h"

#include "sender_port.h"

static int express(struct rival *rival, uint64_t bytes)
{
    return mfs_sender_express(rival->sender, &rival->to, bytes, 0);
}

static void express__only_when_nothing_waits(void)
{
    struct mfs_destination other = {0};
    struct mfs_op op = {.length = CHUNK};
    const struct mfs_tag tag = rival_tag(9, MFS_TAGGED);

    set_up(2, 50);
    CHECK_EQ(express(one, CHUNK), 0);
    CHECK_EQ(all.seats[0].told.inflight_bytes, CHUNK); /* the others see it */
    CHECK_EQ(all.seats[0].told.rank, MFS_RANK_NONE); /* and wait for nothing */
    CHECK_EQ(express(one, CHUNK + 1), -EMSGSIZE);
    CHECK_EQ(mfs_sender_express(one->sender, &one->to, 129, 128), -EMSGSIZE);
    CHECK_EQ(mfs_sender_express(one->sender, &one->to, 2, 1), -EMSGSIZE);
    CHECK_EQ(mfs_sender_express(one->sender, &one->to, 2 * CHUNK, 2 * CHUNK), 0);
    rival_waits(one, 9, CHUNK, now_ns); /* here */
    CHECK_EQ(express(one, 128), -EBUSY);
    rival_rest(one, now_ns);
    rival_waits(two, mfs_rank_make(8, MFS_KEY_MAX), CHUNK, now_ns); /* elsewhere, whatever it is */
    CHECK_EQ(express(one, 128), -EBUSY);
    rival_rest(two, now_ns);
    CHECK_EQ(mfs_sender_open(one->sender, &other, &other), 0); /* to another destination */
    CHECK_EQ(mfs_sender_push(one->sender, &op, &other, &tag, now_ns), 0);
    CHECK_EQ(express(one, 128), -EBUSY);
    CHECK_EQ(mfs_sender_remove(one->sender, &op, now_ns), 0);
    CHECK_EQ(express(one, 128), 0);
    CHECK_EQ(mfs_sender_inflight(one->sender), 3 * CHUNK + 128);
    mfs_sender_close(one->sender, &other);
    tear_down();
}

static void express__only_in_the_window(void)
{
    set_up(2, 50);
    for (int i = 0; i < 8; i++)
        CHECK_EQ_AT(express(&all.of[i % 2], CHUNK), 0, i);
    CHECK_EQ(express(one, 1), -ENOBUFS);
    CHECK_EQ(all.port.sample_full, 1);
    mfs_sender_done_now(two->sender, &two->to, 128, false);
    CHECK_EQ(express(one, 128), 0);
    CHECK_EQ(express(one, 1), -ENOBUFS);
    tear_down();
}

static void express__no_faster_than_the_pace(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.pace_Bps = 1000 * CHUNK;
    rivals_create(&all, 1, &config);
    all.now_ns = now_ns;
    CHECK_EQ(express(one, CHUNK), 0);
    CHECK_EQ(express(one, CHUNK), 0);
    CHECK_EQ(express(one, CHUNK), -ETIME);
    tear_down();
}

/* What is a chunk is by the port's rate of now, whoever has learned it. */
static void express__a_chunk_of_the_port(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    rivals_create(&all, 1, &config);
    all.now_ns = now_ns;
    all.port.rate_Bps = 1000000;
    CHECK_EQ(express(one, 1 << 20), -EMSGSIZE);
    all.port.rate_Bps = UINT64_C(10000000000);
    CHECK_EQ(express(one, 1 << 20), 0);
    tear_down();
}

/* The room of one that is over is as good as a new one: the pacer is asked for either. */
static void express__no_faster_than_the_pace_in_kept_room(void)
{
    struct mfs_sender_config config;
    uint64_t sent = 0;

    mfs_sender_config_init(&config);
    config.pace_Bps = 1000 * CHUNK;
    rivals_create(&all, 1, &config);
    all.now_ns = now_ns;
    CHECK_EQ(express(one, 64), 0);
    while (express(one, 64) == 0) {
        mfs_sender_done_now(one->sender, &one->to, 64, true);
        sent += 64;
        CHECK(sent <= CHUNK); /* what the millisecond that it may be late is worth */
    }
    tear_down();
}

/* One that has not left in time is seen in the call that would send it more. */
static void express__not_to_one_that_turns_out_slow(void)
{
    set_up(1, 50);
    one->sender->port->rate_Bps = 1000 * CHUNK; /* the window leaves in 8 ms */
    CHECK_EQ(express(one, 64), 0);
    CHECK_EQ(express(one, 64), 0);
    for (int i = 0; i < 25; i++) { /* it looks all the time */
        all.now_ns += SECOND / 1000;
        CHECK_EQ_AT(rival_next(one, 0, all.now_ns), -EAGAIN, i);
    }
    CHECK_EQ(one->to.state, MFS_DESTINATION_OPEN);
    all.now_ns += SECOND / 2000;
    CHECK_EQ(express(one, 64), -EBUSY);
    CHECK(one->to.state != MFS_DESTINATION_OPEN);
    CHECK_EQ(mfs_sender_inflight(one->sender), 128);
    tear_down();
}

/* One that is over leaves its room to the next, without asking, while others are under way. */
static void express__room_is_kept(void)
{
    unsigned looks;

    set_up(2, 50);
    CHECK_EQ(express(one, 100), 0);
    CHECK_EQ(express(one, 100), 0);
    looks = all.looks;
    mfs_sender_done_now(one->sender, &one->to, 100, true);
    CHECK_EQ(all.seats[0].told.inflight_bytes, 200); /* as far as the others see */
    CHECK_EQ(mfs_sender_inflight(one->sender), 100);
    CHECK_EQ(express(one, 60), 0);
    CHECK_EQ(express(one, 40), 0);
    CHECK(all.looks == looks && all.seats[0].told.inflight_bytes == 200);
    CHECK_EQ(express(one, 1), 0); /* the room is used up: it asks */
    CHECK(all.looks == looks + 1 && all.seats[0].told.inflight_bytes == 201);
    /* no more than an eighth of a chunk is kept */
    mfs_sender_done_now(one->sender, &one->to, 100, true);
    CHECK_EQ(one->sender->room.spare, 100);
    mfs_sender_done_now(one->sender, &one->to, 40, true);
    CHECK(one->sender->room.spare == 0 && all.seats[0].told.inflight_bytes == 61);
    /* the last of all keeps nothing, nor does one that may not */
    mfs_sender_done_now(one->sender, &one->to, 1, false);
    CHECK(one->sender->room.spare == 0 && all.seats[0].told.inflight_bytes == 60);
    mfs_sender_done_now(one->sender, &one->to, 60, true);
    CHECK(one->sender->room.spare == 0 && all.seats[0].told.inflight_bytes == 0);
    CHECK_EQ(all.seats[0].told.done_bytes, 301);
    tear_down();
}

/* Once in a chunk it asks all the same, and then the other goes first. */
static void express__asks_once_in_a_chunk(void)
{
    uint64_t sent = 0;

    set_up(2, 50);
    CHECK_EQ(express(one, 64), 0);
    CHECK_EQ(express(one, 64), 0);
    rival_waits(two, 3, CHUNK, now_ns);
    for (;;) {
        mfs_sender_done_now(one->sender, &one->to, 64, true);
        if (express(one, 64) != 0)
            break;
        sent += 64;
        CHECK(sent <= CHUNK);
    }
    CHECK_EQ(sent, CHUNK);
    tear_down();
}

/* When something waits, what is over gives its room back. */
static void express__keeps_no_room_from_what_waits(void)
{
    set_up(1, 50);
    CHECK_EQ(express(one, 64), 0);
    CHECK_EQ(express(one, 64), 0);
    mfs_sender_done_now(one->sender, &one->to, 64, true);
    CHECK_EQ(one->sender->room.spare, 64);
    rival_waits(one, 3, CHUNK, now_ns);
    CHECK_EQ(express(one, 64), -EBUSY); /* not even in the room that was kept */
    mfs_sender_done_now(one->sender, &one->to, 64, true);
    CHECK_EQ(one->sender->room.spare, 0);
    tear_down();
}

/* The exact time is asked for only where a sample of the rate begins or ends. */
static void express__the_cheap_clock_will_do(void)
{
    set_up(1, 50);
    CHECK_EQ(express(one, 64), 0); /* the port was idle */
    CHECK_EQ(all.exactly, 1);
    CHECK_EQ(express(one, 64), 0);
    CHECK_EQ(all.exactly, 1);
    all.now_ns += MFS_RATE_SAMPLE_NS;
    mfs_sender_done_now(one->sender, &one->to, 64, false);
    CHECK_EQ(all.exactly, 2);
    tear_down();
}

static const struct test tests[] = {
    TEST(express__only_when_nothing_waits),
    TEST(express__only_in_the_window),
    TEST(express__a_chunk_of_the_port),
    TEST(express__no_faster_than_the_pace),
    TEST(express__no_faster_than_the_pace_in_kept_room),
    TEST(express__not_to_one_that_turns_out_slow),
    TEST(express__room_is_kept),
    TEST(express__asks_once_in_a_chunk),
    TEST(express__keeps_no_room_from_what_waits),
    TEST(express__the_cheap_clock_will_do),
};

TEST_MAIN(tests)
