/* SPDX-License-Identifier: Apache-2.0 */
/* Destinations of a sender that take no bytes, or few: what is left to the others. */
#include "core/sender.h"

#include "test.h"

#include "rivals.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MUCH (UINT64_C(1) << 40)
#define CHUNK UINT64_C(25600)
#define PARTIES 3

static struct rivals all;
static struct mfs_sender *sender; /* of the first */
static struct mfs_destination to[PARTIES];
static struct mfs_op waits[PARTIES];
static int64_t now_ns;

/* A port on which 10 chunks leave in 2 ms, the time of its window, and a sender with several
 * destinations, to the first of which the most urgent bytes go. */
static void set_up_with(uint64_t rate_Bps, bool known, uint64_t window_bytes)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.params.rate_Bps = rate_Bps;
    config.rate_known = known;
    config.window.window_bytes = window_bytes;
    config.window.chunk_min_bytes = config.window.chunk_max_bytes = CHUNK;
    rivals_create(&all, 2, &config);
    sender = all.of[0].sender;
    for (int i = 0; i < PARTIES; i++)
        CHECK_EQ(mfs_sender_open(sender, &to[i], &to[i]), 0);
    now_ns = SECOND;
}

static void set_up_at(uint64_t rate_Bps, bool known)
{
    set_up_with(rate_Bps, known, 10 * CHUNK);
}

static void set_up(void)
{
    set_up_at(5000 * CHUNK, true);
}

static void push(int i, uint64_t bytes)
{
    const struct mfs_tag tag = rival_tag((mfs_rank_t)i + 1, MFS_TAGGED);

    waits[i] = (struct mfs_op){.length = bytes};
    CHECK_EQ(mfs_sender_push(sender, &waits[i], &to[i], &tag, now_ns), 0);
}

static void tear_down(void)
{
    for (int i = 0; i < PARTIES; i++) {
        if (waits[i].flow)
            CHECK_EQ(mfs_sender_remove(sender, &waits[i], now_ns), 0);
        mfs_sender_close(sender, &to[i]);
    }
    CHECK_EQ(mfs_sender_inflight(sender), 0);
    rivals_destroy(&all);
}

/* The destination of the next chunk, or -errno. */
static int next(void)
{
    struct mfs_chunk chunk;
    const int error = mfs_sender_next(sender, CHUNK, now_ns, &chunk);

    return error ? error : (int)((struct mfs_destination *)(void *)chunk.voq - to);
}

static void done(int i, uint64_t chunks)
{
    mfs_sender_done(sender, &to[i], chunks * CHUNK, now_ns);
}

/* The first one takes the whole window, and then no bytes any more. */
static void stop_the_first(void)
{
    push(0, MUCH);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(next(), 0);
    CHECK_EQ(next(), -ENOBUFS);
}

/* Looks at the port in time, as long as nothing can be sent. */
static void pass(int64_t span_ns)
{
    for (const int64_t end_ns = now_ns + span_ns; now_ns < end_ns; now_ns += MS / 10)
        CHECK(next() < 0);
}

static void slow__leaves_the_window_to_the_others(void)
{
    set_up();
    stop_the_first();
    push(1, MUCH);
    CHECK_EQ(next(), -ENOBUFS);
    pass(6 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_OPEN);
    CHECK_EQ(all.seats[0].told.inflight_bytes, 10 * CHUNK);
    pass(MS / 5);
    CHECK_EQ(next(), 1);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    CHECK_EQ(all.seats[0].told.inflight_bytes, CHUNK);
    CHECK_EQ(all.seats[0].told.rank, 2); /* nobody waits for what cannot be sent */
    for (int i = 0; i < 9; i++)
        CHECK_EQ(next(), 1);
    CHECK_EQ(next(), -ENOBUFS);
    for (int i = 0; i < 1000; i++) { /* as if the first were not there */
        now_ns += MS / 5;
        done(1, 1);
        CHECK_EQ_AT(next(), 1, i);
        CHECK_EQ(next(), -ENOBUFS);
    }
    CHECK_EQ(to[0].state, MFS_DESTINATION_STALLED);
    CHECK_EQ(to[1].state, MFS_DESTINATION_OPEN);
    CHECK_EQ(mfs_sender_inflight(sender), 20 * CHUNK);
    tear_down();
}

/* Bytes that an other sender's open destinations may use: they see what is open alone. */
static void slow__leaves_the_window_to_other_senders(void)
{
    struct rival *other = &all.of[1];

    set_up();
    stop_the_first();
    CHECK_EQ(rival_take(other, 9, CHUNK, now_ns), -EBUSY);
    pass(7 * MS);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(rival_take(other, 9, CHUNK, now_ns), 0);
    CHECK_EQ(rival_take(other, 9, CHUNK, now_ns), -ENOBUFS);
    tear_down();
}

/* It may use room that the port really has: with all its bytes counted. */
static void slow__what_room_there_is(void)
{
    set_up();
    stop_the_first();
    pass(7 * MS);
    push(1, 4 * CHUNK);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(next(), 1);
    CHECK_EQ(next(), -EAGAIN);
    done(0, 3); /* 7 and 4 are left */
    CHECK_EQ(next(), -EAGAIN);
    done(1, 1);
    CHECK_EQ(next(), -EAGAIN); /* 7 and 3 */
    done(1, 1);
    CHECK_EQ(next(), 0); /* 7 and 2: there is room for one */
    CHECK_EQ(next(), -EAGAIN);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    /* where it fits, it goes by its rank again */
    done(1, 2);
    done(0, 7);
    push(2, MUCH);
    CHECK_EQ(next(), 0);
    tear_down();
}

/* All that was in flight has left, late: half as much, and then it must show how long that takes.
 */
static void slow__as_much_as_it_takes(void)
{
    set_up();
    stop_the_first();
    pass(7 * MS);
    push(1, MUCH);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(next(), 1);
    now_ns += 10 * MS;
    done(0, 10);
    done(1, 1);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    CHECK_EQ(next(), 0); /* it is the most urgent */
    CHECK_EQ(next(), 1); /* but only the one */
    for (int i = 0; i < 50; i++) { /* 10 ms: it has not changed */
        now_ns += MS / 5;
        done(1, 1);
        CHECK_EQ(next(), 1);
    }
    done(0, 1);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    done(1, 1);
    for (uint64_t held = 0, round = 0; to[0].state != MFS_DESTINATION_OPEN; round++) {
        CHECK(round < 20);
        while (next() == 0)
            held++;
        CHECK(held >= 1 && held <= 10);
        now_ns += MS / 5;
        for (; held > 0; held--)
            done(0, 1); /* in time */
        done(1, 1);
    }
    CHECK_EQ(to[0].state, MFS_DESTINATION_OPEN);
    tear_down();
}

/* It looks as if there were room, since the last look at the others was long ago. */
static void slow__does_not_hide_what_can_be_sent(void)
{
    struct rival *other = &all.of[1];

    set_up();
    stop_the_first();
    pass(7 * MS);
    done(0, 9);
    push(1, MUCH);
    for (int i = 0; i < 9; i++)
        CHECK_EQ(rival_take(other, 0, CHUNK, now_ns), 0);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    CHECK_EQ(next(), 1); /* 9 and the one that is slow leave no room for another of its own */
    CHECK_EQ(all.seats[0].told.rank, 2);
    tear_down();
}

static void stalled__gets_none_until_a_byte_moves(void)
{
    set_up();
    stop_the_first();
    pass(25 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_STALLED);
    CHECK_EQ(next(), -EAGAIN);
    CHECK(all.seats[0].told.rank == MFS_RANK_NONE && all.seats[0].told.inflight_bytes == 0);
    CHECK_EQ(all.seats[0].told.stalled, 1);
    CHECK_EQ(mfs_sender_stalls(sender), 1);
    CHECK_EQ(mfs_sender_stalls(sender), 0); /* since it was asked last */
    CHECK(!mfs_sender_restless(sender)); /* its destination must move first */
    now_ns += SECOND;
    CHECK_EQ(next(), -EAGAIN);
    done(0, 1);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    CHECK_EQ(next(), 0);
    CHECK_EQ(all.seats[0].told.stalled, 0);
    tear_down();
}

/* What is under way to a stalled one does not keep a new destination from going at once. */
static void stalled__is_no_reason_to_queue(void)
{
    set_up();
    stop_the_first();
    CHECK_EQ(mfs_sender_express(sender, &to[1], 128, 0), -EBUSY);
    pass(25 * MS);
    all.now_ns = now_ns;
    CHECK_EQ(mfs_sender_express(sender, &to[1], 128, 0), 0);
    CHECK_EQ(mfs_sender_express(sender, &to[0], 128, 0), -EBUSY);
    CHECK_EQ(mfs_sender_remove(sender, &waits[0], now_ns), 0);
    CHECK_EQ(mfs_sender_express(sender, &to[0], 128, 0), -EBUSY); /* with nothing queued, too */
    tear_down();
}

/* Many flows behind it cost the others nothing: all of them stay where they are. */
static void stalled__a_thousand_flows(void)
{
    static struct mfs_op ops[1000];

    set_up();
    stop_the_first();
    for (uint32_t i = 0; i < COUNT(ops); i++) {
        const struct mfs_tag tag = {7, i, 0};

        ops[i] = (struct mfs_op){.length = CHUNK};
        CHECK_EQ(mfs_sender_push(sender, &ops[i], &to[0], &tag, now_ns), 0);
    }
    pass(25 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_STALLED);
    push(1, MUCH);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(next(), 1);
        now_ns += MS / 5;
        done(1, 1);
    }
    for (uint32_t i = 0; i < COUNT(ops); i++)
        CHECK_EQ(mfs_sender_remove(sender, &ops[i], now_ns), 0);
    tear_down();
}

/* It is not the port that was slow: what did not leave is no sample of the rate. */
static void slow__is_no_sample_of_the_rate(void)
{
    const uint64_t rate_Bps = 5000 * CHUNK;

    set_up_at(rate_Bps, false);
    stop_the_first();
    pass(7 * MS);
    push(1, MUCH);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(next(), 1);
    for (int i = 0; i < 300; i++) {
        now_ns += MS / 5; /* a chunk in 200 us: as fast as ever */
        done(1, 1);
        CHECK_EQ(next(), 1);
        CHECK_EQ(next(), -ENOBUFS);
    }
    CHECK(all.port.rate_Bps >= rate_Bps * 98 / 100 && all.port.rate_Bps <= rate_Bps * 102 / 100);
    tear_down();
}

/*
 * The most pressing traffic goes to a receiver that takes a tenth of what the port can do, and the
 * rate is learned: it does not become that receiver's, and the others get the rest of the port.
 */
static void beside_a_tenth(uint64_t learned_Bps, int alone)
{
    const uint64_t rate_Bps = 5000 * CHUNK;
    uint64_t inflight[2] = {0, 0}, left[2] = {0, 0};
    int to_whom;

    set_up_at(learned_Bps, false);
    push(0, MUCH);
    for (int step = -alone; step < 10000; step++) { /* of 200 us: a chunk's time, 2 s in all */
        now_ns += MS / 5;
        if (step == 0) {
            push(1, MUCH);
            left[0] = 0;
        }
        if (inflight[0] > 0 && (step + alone) % 10 == 0) {
            done(0, 1);
            inflight[0]--;
            left[0]++;
        }
        if (inflight[1] > 0 && (step + alone) % 10 != 0) {
            done(1, 1);
            inflight[1]--;
            left[1]++;
        }
        while ((to_whom = next()) >= 0)
            inflight[to_whom]++;
        CHECK(to_whom == -ENOBUFS || to_whom == -EAGAIN);
    }
    CHECK(left[1] > 9000 * 90 / 100);
    CHECK(left[0] > 1000 * 80 / 100);
    CHECK(all.port.rate_Bps > rate_Bps / 2);
    done(0, inflight[0]);
    done(1, inflight[1]);
    tear_down();
}

static void slow__does_not_make_the_port_slow(void)
{
    beside_a_tenth(5000 * CHUNK, 0);
}

/* Nothing is known of the port when both begin; or it was alone for two seconds. */
static void slow__when_its_rate_is_all_that_is_known(void)
{
    beside_a_tenth(0, 0);
    beside_a_tenth(0, 10000);
}

/* A window that leaves the port in less than the time that windows are for: that time is due. */
static void slow__not_in_less_than_a_window_is_for(void)
{
    set_up_at(50000 * CHUNK, true);
    stop_the_first();
    pass(6 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_OPEN);
    pass(MS / 2);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    tear_down();
}

/* The word that says how fast the port is may be anything. No window takes longer than a second. */
static void slow__however_low_the_rate_is_said_to_be(void)
{
    const int64_t until_ns = SECOND + 200 * MS;

    set_up_at(5000 * CHUNK, false);
    stop_the_first();
    all.port.rate_Bps = 1;
    push(1, MUCH);
    while (next() != 1) { /* the others are tried */
        now_ns += MS / 10;
        CHECK(now_ns < until_ns);
    }
    CHECK(to[0].state != MFS_DESTINATION_OPEN);
    tear_down();
}

/* One that looks late has a larger window, and what is in it takes longer to leave. */
static void slow__not_before_a_larger_window_has_left(void)
{
    struct mfs_chunk chunk;
    int64_t from_ns;

    set_up_with(5000 * CHUNK, true, 0);
    push(0, MUCH);
    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            now_ns += 10 * MS;
            mfs_sender_done(sender, &to[0], mfs_sender_inflight(sender), now_ns);
        }
        while (mfs_sender_next(sender, 0, now_ns, &chunk) == 0)
            ;
    }
    CHECK(mfs_sender_inflight(sender) >= 20 * CHUNK);
    for (from_ns = now_ns; now_ns < from_ns + 10 * MS; now_ns += MS / 10)
        CHECK_EQ(mfs_sender_next(sender, 0, now_ns, &chunk), -ENOBUFS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_OPEN);
    tear_down();
}

/* Operations that go at once see it, too, where nothing is ever queued. */
static void slow__is_seen_by_express(void)
{
    set_up();
    all.now_ns = SECOND;
    for (int i = 0; i < 10; i++)
        CHECK_EQ(mfs_sender_express(sender, &to[0], CHUNK, 0), 0);
    for (; all.now_ns < SECOND + 6 * MS + MS / 5; all.now_ns += MS / 10)
        CHECK_EQ(mfs_sender_express(sender, &to[1], CHUNK, 0), -ENOBUFS);
    CHECK_EQ(mfs_sender_express(sender, &to[1], CHUNK, 0), 0);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    CHECK_EQ(mfs_sender_express(sender, &to[0], 128, 0), -EBUSY);
    /* when it gets better is a matter of exact times */
    all.exactly = 0;
    mfs_sender_done_now(sender, &to[1], CHUNK / 2, true);
    CHECK_EQ(all.exactly, 0);
    mfs_sender_done_now(sender, &to[0], CHUNK, true);
    CHECK_EQ(all.exactly, 1);
    tear_down();
}

/* What waits for another destination goes when the first turns out to be slow: no event says so. */
static void restless__while_another_destination_waits(void)
{
    set_up();
    stop_the_first();
    CHECK(!mfs_sender_restless(sender));
    push(1, MUCH);
    CHECK_EQ(next(), -ENOBUFS);
    CHECK(mfs_sender_restless(sender));
    CHECK_EQ(mfs_sender_remove(sender, &waits[1], now_ns), 0);
    CHECK(!mfs_sender_restless(sender));
    done(0, 1);
    CHECK_EQ(mfs_sender_express(sender, &to[1], 128, 0), -EBUSY);
    CHECK_EQ(mfs_sender_remove(sender, &waits[0], now_ns), 0);
    CHECK_EQ(mfs_sender_express(sender, &to[1], 128, 0), 0);
    push(0, MUCH);
    CHECK_EQ(next(), -ENOBUFS);
    CHECK(mfs_sender_restless(sender)); /* two are under way: either may be slow */
    tear_down();
}

/* The one that is under way is slow, and others of the port fill the window. */
static void restless__while_others_fill_the_window(void)
{
    set_up();
    stop_the_first();
    pass(7 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    CHECK_EQ(rival_take(&all.of[1], 0, 10 * CHUNK, now_ns), 0);
    push(1, MUCH);
    CHECK_EQ(next(), -ENOBUFS);
    CHECK(mfs_sender_restless(sender));
    tear_down();
}

/* One holds the window again after a long time: the others are not tried at once. */
static void trial__not_before_it_has_held_the_window_for_a_while(void)
{
    set_up_at(5000 * CHUNK, false);
    stop_the_first();
    push(1, MUCH);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(next(), -ENOBUFS);
        CHECK_EQ_AT(to[0].state, MFS_DESTINATION_OPEN, i);
        now_ns += MS;
        done(0, 10);
        now_ns += 10 * SECOND;
        for (int k = 0; k < 10; k++)
            CHECK_EQ(next(), 0);
    }
    tear_down();
}

/* What has left of the first, or of the others that were let in; and the window is filled again. */
static void a_millisecond(void)
{
    now_ns += MS;
    for (int i = PARTIES - 1; i >= 0; i--) {
        if (to[i].inflight_bytes > 0)
            done(i, to[i].inflight_bytes / CHUNK);
    }
    while (next() >= 0)
        ;
}

/* A port that one destination fills all the time, and takes what it is given: the others are tried
 * ever more rarely, but at least every six seconds. */
static void trial__comes_later_each_time_and_never_ends(void)
{
    int64_t last_ns = 0, gap_ns = 0;
    bool open = true;

    set_up_at(5000 * CHUNK, false);
    stop_the_first();
    push(1, MUCH);
    for (int i = 0; i < 30000; i++) {
        a_millisecond();
        if (open && to[0].state != MFS_DESTINATION_OPEN) {
            if (gap_ns > 0 && gap_ns < 3 * SECOND) /* each is twice as late as the one before */
                CHECK_EQ_AT(now_ns - last_ns > gap_ns + gap_ns / 2, true, i);
            gap_ns = last_ns > 0 ? now_ns - last_ns : 0;
            last_ns = now_ns;
            CHECK_EQ_AT(gap_ns < 6 * SECOND, true, i);
        }
        open = to[0].state == MFS_DESTINATION_OPEN;
    }
    CHECK(gap_ns > 3 * SECOND);
    CHECK(now_ns - last_ns < 6 * SECOND);
    tear_down();
}

static unsigned told;
static int64_t told_age_ns;

static void stalled(void *ctx, const struct mfs_destination *destination, int64_t age_ns)
{
    CHECK(ctx == &told && destination->user == &to[0]);
    told++;
    told_age_ns = age_ns;
}

/* Of one that takes no bytes for a second it is told, once a stall. */
static void stalled__is_told_once(void)
{
    set_up();
    sender->transport.stalled = stalled;
    sender->transport.ctx = &told;
    stop_the_first();
    pass(900 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_STALLED);
    CHECK_EQ(told, 0);
    now_ns += 200 * MS;
    pass(10 * MS);
    CHECK(told == 1 && told_age_ns > SECOND);
    now_ns += 10 * SECOND;
    pass(10 * MS);
    CHECK_EQ(told, 1);
    done(0, 1);
    CHECK_EQ(next(), 0);
    now_ns += 2 * SECOND;
    pass(30 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_STALLED);
    pass(MS);
    CHECK_EQ(told, 2);
    tear_down();
}

/* All is in flight, so next() is not asked: the watch sees it. */
static void watch__sees_what_does_not_leave(void)
{
    struct mfs_chunk chunk;

    set_up();
    told = 0;
    sender->transport.stalled = stalled;
    sender->transport.ctx = &told;
    push(0, CHUNK);
    CHECK_EQ(mfs_sender_next(sender, 0, now_ns, &chunk), 0);
    CHECK_EQ(all.seats[0].told.inflight_bytes, CHUNK);
    for (int i = 0; i < 20; i++)
        mfs_sender_watch(sender, now_ns += 10 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_STALLED);
    CHECK_EQ(mfs_sender_stalls(sender), 1);
    CHECK_EQ(all.seats[0].told.stalled, 1);
    CHECK_EQ(all.seats[0].told.inflight_bytes, 0); /* the port is the others' */
    CHECK_EQ(told, 0);
    for (int i = 0; i < 100; i++)
        mfs_sender_watch(sender, now_ns += 10 * MS);
    CHECK_EQ(told, 1);
    done(0, 1);
    mfs_sender_watch(sender, now_ns);
    CHECK_EQ(all.seats[0].told.stalled, 0);
    tear_down();
}

/* A window leaves in 3 ms, some more than it should. The cheap clock moves every 4 ms: by it, what
 * is over so soon may seem to have taken twice that. */
static void slow__not_by_a_clock_that_is_late(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.params.rate_Bps = 5000 * CHUNK;
    config.rate_known = true;
    config.window.window_bytes = 10 * CHUNK;
    config.window.chunk_min_bytes = config.window.chunk_max_bytes = CHUNK;
    rivals_create_ticking(&all, 1, &config, 4 * MS);
    sender = all.of[0].sender;
    for (int i = 0; i < PARTIES; i++)
        CHECK_EQ(mfs_sender_open(sender, &to[i], &to[i]), 0);
    now_ns = SECOND;
    push(0, MUCH);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(next(), 0);
    for (int i = 0; i < 4000; i++) {
        all.now_ns = now_ns += 3 * MS / 10;
        CHECK_EQ_AT(next(), -ENOBUFS, i);
        mfs_sample_begin(&all.port, 0, now_ns); /* none is due, so the cheap clock would do */
        mfs_sender_done_now(sender, &to[0], CHUNK, true);
        CHECK_EQ_AT(next(), 0, i);
        CHECK_EQ_AT(to[0].state, MFS_DESTINATION_OPEN, i);
    }
    tear_down();
}

/* What another sender has in flight beyond the window, since it looked late, is in front of ours.
 */
static void slow__not_behind_what_others_have_sent(void)
{
    set_up();
    CHECK_EQ(next(), -EAGAIN);
    all.seats[1].told.inflight_bytes = 60 * CHUNK; /* 12 ms */
    push(0, MUCH);
    CHECK_EQ(next(), -ENOBUFS);
    all.seats[1].told.inflight_bytes = 9 * CHUNK; /* most is over, and ours is the last of all */
    CHECK_EQ(next(), 0);
    pass(12 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_OPEN);
    done(0, 1);
    CHECK_EQ(next(), 0); /* and from here on it is what it was */
    pass(25 * MS);
    done(0, 1);
    CHECK_EQ(next(), 0);
    pass(7 * MS);
    CHECK_EQ(to[0].state, MFS_DESTINATION_SLOW);
    tear_down();
}

static const struct test tests[] = {
    TEST(slow__not_by_a_clock_that_is_late),
    TEST(slow__not_behind_what_others_have_sent),
    TEST(slow__leaves_the_window_to_the_others),
    TEST(slow__leaves_the_window_to_other_senders),
    TEST(slow__what_room_there_is),
    TEST(slow__as_much_as_it_takes),
    TEST(slow__does_not_hide_what_can_be_sent),
    TEST(slow__is_no_sample_of_the_rate),
    TEST(slow__does_not_make_the_port_slow),
    TEST(slow__when_its_rate_is_all_that_is_known),
    TEST(slow__not_in_less_than_a_window_is_for),
    TEST(slow__however_low_the_rate_is_said_to_be),
    TEST(slow__not_before_a_larger_window_has_left),
    TEST(slow__is_seen_by_express),
    TEST(stalled__gets_none_until_a_byte_moves),
    TEST(stalled__is_no_reason_to_queue),
    TEST(stalled__a_thousand_flows),
    TEST(restless__while_another_destination_waits),
    TEST(restless__while_others_fill_the_window),
    TEST(trial__not_before_it_has_held_the_window_for_a_while),
    TEST(trial__comes_later_each_time_and_never_ends),
    TEST(stalled__is_told_once),
    TEST(watch__sees_what_does_not_leave),
};

TEST_MAIN(tests)
