/* SPDX-License-Identifier: Apache-2.0 */
#include "core/waits.h"

#include "test.h"

#include "rivals.h"

#define MS INT64_C(1000000)
#define CHUNK UINT64_C(25600)
#define FLOWS 8

static struct rivals all;
static struct mfs_sender *sender; /* of the first */
static struct mfs_destination to[FLOWS];
static struct mfs_op ops[FLOWS];
static struct mfs_wait waits[FLOWS];
static int64_t now_ns;

/* A port on which 10 chunks leave in 2 ms, the time of its window. */
static void set_up(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.params.rate_Bps = 5000 * CHUNK;
    config.rate_known = true;
    config.window.window_bytes = 10 * CHUNK;
    config.window.chunk_min_bytes = config.window.chunk_max_bytes = CHUNK;
    rivals_create(&all, 2, &config);
    sender = all.of[0].sender;
    for (int i = 0; i < FLOWS; i++)
        CHECK_EQ(mfs_sender_open(sender, &to[i], NULL), 0);
    memset(ops, 0, sizeof(ops));
    now_ns = 1000 * MS;
}

static void tear_down(void)
{
    for (int i = 0; i < FLOWS; i++) {
        if (ops[i].flow)
            CHECK_EQ(mfs_sender_remove(sender, &ops[i], now_ns), 0);
        mfs_sender_close(sender, &to[i]);
    }
    rivals_destroy(&all);
}

/* A flow of its own: the smaller, the more urgent. */
static void push(int i, uint64_t chunks)
{
    const struct mfs_tag tag = rival_tag((mfs_rank_t)i + 1, MFS_TAGGED);

    ops[i] = (struct mfs_op){.length = chunks * CHUNK};
    CHECK_EQ(mfs_sender_push(sender, &ops[i], &to[i], &tag, now_ns), 0);
}

static void waits__the_oldest_first(void)
{
    static const int order[FLOWS] = {5, 2, 7, 0, 3, 6, 1, 4};

    set_up();
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 0);
    for (int i = 0; i < FLOWS; i++, now_ns += MS)
        push(order[i], 1);
    for (int looked = 0; looked < 2; looked++) { /* before and after they have a place */
        CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), FLOWS);
        for (int i = 0; i < FLOWS; i++) {
            CHECK_EQ_AT(waits[i].tag.layer, order[i] + 1, i);
            CHECK_EQ_AT(waits[i].posted_ns, 1000 * MS + i * MS, i);
            CHECK(waits[i].destination == &to[order[i]]);
            CHECK_EQ_AT(waits[i].level, looked ? 0 : MFS_LEVELS_MAX, i);
        }
        CHECK_EQ(mfs_sender_waits(sender, NULL, waits, 3), 3);
        CHECK_EQ(waits[2].tag.layer, order[2] + 1);
        CHECK_EQ(mfs_sender_waits(sender, &to[1], waits, 3), 1);
        CHECK_EQ(waits[0].tag.layer, 2);
        CHECK_EQ(mfs_sender_waits(sender, NULL, waits, 0), 0);
        mfs_sender_publish(sender, now_ns);
    }
    tear_down();
}

static void waits__for_room_for_a_turn_for_others(void)
{
    struct mfs_chunk chunk;

    set_up();
    push(0, 30);
    push(1, 1);
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 2);
    while (mfs_sender_next(sender, 0, now_ns, &chunk) == 0)
        ;
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 2);
    CHECK_EQ(waits[0].why, MFS_WAIT_WINDOW);
    CHECK_EQ(waits[0].bytes_left, 20 * CHUNK);
    CHECK_EQ(waits[0].bytes_sent, 10 * CHUNK);
    CHECK_EQ(waits[1].why, MFS_WAIT_TURN);
    CHECK(waits[0].flow != waits[1].flow);
    rival_waits(&all.of[1], 0, CHUNK, now_ns);
    CHECK_EQ(mfs_sender_next(sender, 0, now_ns, &chunk), -EBUSY);
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 2);
    CHECK_EQ(waits[0].why, MFS_WAIT_OTHERS);
    rival_rest(&all.of[1], now_ns);
    tear_down();
}

static void waits__for_a_peer(void)
{
    struct mfs_chunk chunk;

    set_up();
    push(0, 30);
    push(1, 1);
    while (mfs_sender_next(sender, 0, now_ns, &chunk) == 0)
        ;
    /* slow: three times what is due */
    do
        now_ns += MS;
    while (mfs_sender_next(sender, 0, now_ns, &chunk) == -ENOBUFS && now_ns < 1100 * MS);
    CHECK(chunk.op == &ops[1]);
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 1);
    CHECK_EQ(waits[0].why, MFS_WAIT_SLOW);
    for (int i = 0; i < 100; i++, now_ns += MS)
        CHECK(mfs_sender_next(sender, 0, now_ns, &chunk) < 0);
    /* of the second all is in flight; the first waits behind what is */
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 2);
    CHECK_EQ(waits[0].why, MFS_WAIT_STALLED);
    CHECK(waits[0].destination == &to[0]);
    CHECK_EQ(waits[1].why, MFS_WAIT_FLIGHT);
    CHECK(waits[1].destination == &to[1]);
    CHECK_EQ(waits[1].flow, 0);
    mfs_sender_done(sender, &to[0], CHUNK, now_ns);
    CHECK_EQ(mfs_sender_waits(sender, &to[0], waits, FLOWS), 1);
    CHECK_EQ(waits[0].why, MFS_WAIT_SLOW);
    tear_down();
}

/* --- in flight --- */

static struct flying {
    int to;
    struct mfs_tag tag;
    uint64_t chunks;
    int64_t posted_ns;
} flying[FLOWS];

static void under_way(void *ctx, mfs_under_way each, void *found)
{
    CHECK(ctx == flying);
    for (int i = 0; i < FLOWS; i++) {
        if (flying[i].chunks > 0)
            each(found, &to[flying[i].to], &flying[i].tag, flying[i].chunks * CHUNK,
                 flying[i].posted_ns);
    }
}

/* Posted then, and all of it in flight. */
static void fly(int i, uint64_t chunks, int64_t posted_ns)
{
    struct mfs_chunk chunk;

    push(i, chunks);
    for (uint64_t sent = 0; sent < chunks; sent++)
        CHECK_EQ(mfs_sender_next(sender, 0, now_ns, &chunk), 0);
    CHECK(chunk.op == &ops[i] && chunk.last);
    flying[i] = (struct flying){i, rival_tag((mfs_rank_t)i + 1, MFS_TAGGED), chunks, posted_ns};
}

static void set_up_flying(void)
{
    set_up();
    memset(flying, 0, sizeof(flying));
    sender->transport.under_way = under_way;
    sender->transport.ctx = flying;
}

static void waits__all_is_in_flight(void)
{
    set_up_flying();
    fly(0, 2, now_ns - 5 * MS);
    fly(1, 1, now_ns - 9 * MS);
    fly(2, 1, 0); /* it is not known when */
    flying[3] = flying[0]; /* another operation of the first flow, and an older one */
    flying[3].posted_ns = now_ns - 10 * MS;
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 3);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ_AT(waits[i].tag.layer, i + 1, i);
        CHECK(waits[i].destination == &to[i]);
        CHECK_EQ_AT(waits[i].why, MFS_WAIT_FLIGHT, i);
        CHECK_EQ_AT(waits[i].level, MFS_LEVELS_MAX, i);
        CHECK_EQ_AT(waits[i].flow + waits[i].bytes_left, 0, i);
    }
    CHECK_EQ(waits[0].bytes_sent, 4 * CHUNK);
    CHECK_EQ(waits[0].posted_ns, now_ns - 10 * MS);
    CHECK_EQ(waits[2].posted_ns, to[2].moved_ns);
    CHECK_EQ(mfs_sender_waits(sender, &to[1], waits, FLOWS), 1);
    CHECK_EQ(waits[0].tag.layer, 2);
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, 1), 1);
    CHECK_EQ(waits[0].tag.layer, 1);
    /* something waits, and their peers take bytes: they are in nobody's way */
    push(4, 30);
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 1);
    CHECK_EQ(waits[0].tag.layer, 5);
    tear_down();
}

static void waits__in_flight_to_a_peer_that_takes_none(void)
{
    struct mfs_chunk chunk;

    set_up_flying();
    fly(0, 2, now_ns);
    fly(1, 2, now_ns);
    flying[2] = (struct flying){0, rival_tag(7, MFS_TAGGED), 1, now_ns}; /* more of it is queued */
    ops[2] = (struct mfs_op){.length = 9 * CHUNK};
    CHECK_EQ(mfs_sender_push(sender, &ops[2], &to[0], &flying[2].tag, now_ns), 0);
    for (int i = 0; i < 100; i++, now_ns += MS)
        (void)mfs_sender_next(sender, 0, now_ns, &chunk);
    mfs_sender_done(sender, &to[1], 2 * CHUNK, now_ns);
    flying[1].chunks = 0;
    CHECK_EQ(to[0].state, MFS_DESTINATION_STALLED);
    CHECK_EQ(mfs_sender_waits(sender, NULL, waits, FLOWS), 2);
    CHECK_EQ(waits[0].tag.layer + waits[1].tag.layer, 1 + 7);
    CHECK_EQ(waits[0].bytes_left + waits[1].bytes_left, ops[2].length - ops[2].taken);
    CHECK(waits[0].destination == &to[0] && waits[1].destination == &to[0]);
    CHECK_EQ(mfs_sender_remove(sender, &ops[2], now_ns), 0);
    tear_down();
}

static const struct test tests[] = {
    TEST(waits__the_oldest_first),
    TEST(waits__for_room_for_a_turn_for_others),
    TEST(waits__for_a_peer),
    TEST(waits__all_is_in_flight),
    TEST(waits__in_flight_to_a_peer_that_takes_none),
};

TEST_MAIN(tests)
