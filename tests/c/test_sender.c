/* SPDX-License-Identifier: Apache-2.0 */
/* One sender, or several of one port, without a host: what goes next, and what does not. */
#include "core/sender.h"
#include "core/atomic.h"
#include "sender_port.h"

#define MS INT64_C(1000000)
#define MUCH (UINT64_C(1) << 40)

/* --- create --- */

static void create__refuses_bad_values(void)
{
    struct mfs_sender_config good, bad;
    struct mfs_sender *sender = NULL;

    mfs_sender_config_init(&good);
    CHECK_EQ(good.untagged_permille, 50); /* what is refused differs from it in one value */
    for (int i = 0; i < 5; i++) {
        bad = good;
        bad.untagged_permille = i == 0 ? 1001 : bad.untagged_permille;
        bad.lease_ns = i == 1 ? 0 : i == 2 ? -1 : bad.lease_ns;
        bad.queue.max_flows = i == 3 ? 0 : bad.queue.max_flows;
        bad.queue.policy = i == 4 ? NULL : bad.queue.policy;
        CHECK_EQ_AT(mfs_sender_create(&bad, &sender), -EINVAL, i);
        CHECK(!sender);
    }
    good.untagged_permille = 1000;
    good.lease_ns = 1;
    CHECK_EQ(mfs_sender_create(&good, &sender), 0);
    mfs_sender_destroy(sender);
    mfs_sender_destroy(NULL);
}

/* A word that any process of the host can write. */
static void rate__that_was_configured_stays_what_it_was(void)
{
    static const uint64_t words[] = {1, 0, UINT64_MAX};
    struct mfs_sender_config config;
    struct mfs_chunk chunk;

    mfs_sender_config_init(&config);
    config.queue.params.rate_Bps = 50000000;
    config.rate_known = true;
    config.window.window_bytes = 0;
    rivals_create(&all, 1, &config);
    all.now_ns = now_ns;
    rival_waits_of(one, MFS_TAGGED, 1000, MUCH, now_ns);
    for (size_t i = 0; i < COUNT(words); i++) {
        mfs_set(&one->sender->port->rate_Bps, words[i]);
        CHECK_EQ(mfs_sender_next(one->sender, 0, now_ns, &chunk), 0);
        CHECK_EQ(mfs_get(&one->sender->port->rate_Bps), 50000000);
        CHECK_EQ(one->sender->window.rate_Bps, 50000000);
        mfs_sender_done(one->sender, &one->to, chunk.length, now_ns);
        mfs_set(&one->sender->port->rate_Bps, words[i]);
        CHECK_EQ(mfs_sender_chunk(one->sender), mfs_window_chunk(&config.window, 50000000));
    }
    tear_down();
}

/* Whoever says that none is to be learned may also say that there is none. */
static void rate__none_is_learned_though_there_is_none(void)
{
    struct mfs_sender_config config;
    struct mfs_chunk chunk;

    for (int known = 0; known < 2; known++) {
        mfs_sender_config_init(&config);
        config.rate_known = known;
        config.window.window_bytes = CHUNK;
        config.window.chunk_max_bytes = CHUNK;
        rivals_create(&all, 1, &config);
        all.now_ns = now_ns;
        rival_waits_of(one, MFS_TAGGED, 1000, MUCH, now_ns);
        for (int i = 0; i < 100; i++) {
            CHECK_EQ(mfs_sender_next(one->sender, 0, now_ns + i * MS, &chunk), 0);
            CHECK_EQ(mfs_sender_next(one->sender, 0, now_ns + i * MS, &chunk), -ENOBUFS);
            mfs_sender_done(one->sender, &one->to, CHUNK, now_ns + (i + 1) * MS);
        }
        CHECK_EQ_AT(mfs_get(&one->sender->port->rate_Bps) == 0, known, known);
        tear_down();
    }
}

/* A port that others write to, too, has a rate that none can have: the last one counts. */
static void rate__that_no_port_has_is_not_believed(void)
{
    struct mfs_sender_config config;
    struct mfs_chunk chunk;
    _Atomic uint64_t *rate;

    mfs_sender_config_init(&config);
    config.queue.params.rate_Bps = 100000000;
    rivals_create(&all, 1, &config);
    rate = &one->sender->port->rate_Bps;
    rival_waits_of(one, MFS_TAGGED, 1000, MUCH, now_ns);
    mfs_set(rate, UINT64_MAX);
    CHECK_EQ(mfs_sender_next(one->sender, 0, now_ns, &chunk), 0);
    CHECK_EQ(mfs_get(rate), 100000000);
    mfs_set(rate, 200000000);
    (void)mfs_sender_next(one->sender, 0, now_ns, &chunk);
    mfs_set(rate, UINT64_C(0xa5a5a5a5a5a5a5a5));
    (void)mfs_sender_next(one->sender, 0, now_ns, &chunk);
    CHECK_EQ(mfs_get(rate), 200000000);
    CHECK_EQ(one->sender->rate_Bps, 200000000);
    tear_down();
}

/* --- push --- */

static void push__a_coarser_tag_when_no_flow_is_free(void)
{
    const struct mfs_tag layer0 = {1, 0, 0}, layer3 = {1, 3, 0}, layer4 = {1, 4, 0};
    const struct mfs_tag another = {2, 7, 0}, none = {0};
    struct mfs_op ops[6] = {{.length = 128}, {.length = 128}, {.length = 128},
                            {.length = 128}, {.length = 128}, {0}};
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.max_flows = 2;
    rivals_create(&all, 1, &config);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[0], &one->to, &layer3, 1), 0);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[1], &one->to, &layer0, 1), 0);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[2], &one->to, &layer4, 1), 0); /* as layer 0 */
    CHECK(ops[2].flow == ops[1].flow);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[3], &one->to, &another, 1), -ENOSPC);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[5], &one->to, &another, 1), -EINVAL);
    CHECK(!ops[3].flow && mfs_sender_operations(one->sender) == 3);
    CHECK_EQ(mfs_sender_remove(one->sender, &ops[0], 1), 0);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[0], &one->to, &none, 1), 0);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[3], &one->to, &another, 1), 0); /* as of none */
    CHECK(ops[3].flow == ops[0].flow);
    CHECK_EQ(mfs_sender_push(one->sender, &ops[4], &one->to, &layer4, 1),
             0); /* the first that is */
    CHECK(ops[4].flow == ops[1].flow);
    for (int i = 0; i < 5; i++)
        CHECK_EQ_AT(mfs_sender_remove(one->sender, &ops[i], 1), 0, i);
    CHECK_EQ(mfs_sender_remove(one->sender, &ops[0], 1), -ENOENT);
    tear_down();
}

/* --- next --- */

static void next__why_there_is_none(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.window.window_bytes = 2 * CHUNK;
    config.pace_Bps = 1000 * CHUNK; /* a chunk in a millisecond */
    rivals_create(&all, 2, &config);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -EAGAIN);
    CHECK_EQ(one->sender->blocked, -EAGAIN);
    CHECK_EQ(rival_next(one, 127, now_ns), -EINVAL);
    rival_waits(one, 3, MUCH, now_ns);
    rival_waits(two, 2, MUCH, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -EBUSY);
    CHECK_EQ(one->sender->blocked, -EBUSY);
    rival_rest(two, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), 0);
    CHECK_EQ(one->sender->blocked, 0);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), 0); /* a millisecond is made up */
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -ENOBUFS);
    CHECK_EQ(one->sender->blocked, -ENOBUFS);
    rival_done(one, 2 * CHUNK, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -ETIME);
    CHECK_EQ(one->sender->blocked, -ETIME);
    CHECK_EQ(mfs_sender_inflight(one->sender), 0);
    now_ns += MS;
    CHECK_EQ(rival_next(one, CHUNK, now_ns), 0);
    CHECK(one->chunk.length == CHUNK && one->chunk.offset == 2 * CHUNK);
    CHECK(one->chunk.voq == &one->to.voq);
    tear_down();
}

/* max_bytes 0: as large as suits the port's rate. */
static void next__a_chunk_of_the_port(void)
{
    set_up(1, 0);
    rival_waits(one, 3, MUCH, now_ns);
    CHECK_EQ(rival_next(one, 0, now_ns), 0);
    CHECK_EQ(one->chunk.length, CHUNK);
    CHECK_EQ(mfs_sender_chunk(one->sender), CHUNK);
    tear_down();
}

/* Whatever they hold and want: if something waits and nothing is in flight, somebody may send. */
static void next__somebody_may_send(void)
{
    uint64_t state = 3;

    set_up(4, 50);
    for (int round = 0; round < 2000; round++) {
        unsigned sent = 0, waiting = 0;

        for (int i = 0; i < 4; i++) {
            const uint64_t bytes = (test_random(&state) % 3) * 100 * CHUNK;
            const enum mfs_kind kind = test_random(&state) % 2 ? MFS_UNTAGGED : MFS_TAGGED;

            rival_rest(&all.of[i], now_ns);
            rival_waits_of(&all.of[i], kind, test_random(&state) % 5, bytes, now_ns);
            waiting += bytes > 0;
        }
        for (int i = 0; i < 8; i++) {
            struct rival *at = &all.of[i % 4];

            if (rival_next(at, 100 * CHUNK, now_ns) == 0) {
                sent++;
                rival_done(at, at->chunk.length, now_ns);
            }
        }
        CHECK_EQ_AT(sent > 0, waiting > 0, round);
    }
    tear_down();
}

/* The chunk that fills the window: what waits behind it is told at once, without a look. */
static void next__the_last_of_the_room(void)
{
    unsigned looks;

    set_up(2, 0);
    rival_waits(one, 1, 8 * CHUNK, now_ns);
    rival_waits_of(one, MFS_UNTAGGED, 3, MUCH, now_ns);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ_AT(all.seats[0].told.rank, 1, i);
        looks = all.looks;
        CHECK_EQ_AT(rival_next(one, CHUNK, now_ns), 0, i);
        CHECK_EQ_AT(all.looks, looks + 1, i);
    }
    CHECK_EQ(all.seats[0].told.rank, 3);
    CHECK_EQ(all.seats[0].told.inflight_bytes, 8 * CHUNK);
    CHECK_EQ(all.port.sample_full, MFS_SAMPLE_FULL);
    tear_down();
}

/* --- restless --- */

static void restless__what_a_later_look_could_move(void)
{
    struct mfs_destination other = {0};
    struct mfs_op op = {.length = CHUNK};
    const struct mfs_tag better = rival_tag(1, MFS_TAGGED);

    set_up(2, 0);
    CHECK(!mfs_sender_restless(one->sender)); /* nothing waits */
    rival_waits(two, 2, MUCH, now_ns);
    rival_waits(one, 3, MUCH, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -EBUSY);
    CHECK(mfs_sender_restless(one->sender)); /* the other may go on without telling */
    for (int i = 0; i < 8; i++)
        CHECK_EQ(rival_next(two, CHUNK, now_ns), 0);
    rival_rest(two, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -ENOBUFS);
    CHECK(mfs_sender_restless(one->sender)); /* the window is full of another's bytes */
    rival_done(two, 8 * CHUNK, now_ns);
    for (int i = 0; i < 8; i++) {
        CHECK(mfs_sender_restless(one->sender)); /* it did not end for want of room */
        CHECK_EQ(rival_next(one, CHUNK, now_ns), 0);
    }
    CHECK(!mfs_sender_restless(one->sender)); /* its own bytes will tell */
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -ENOBUFS);
    CHECK(!mfs_sender_restless(one->sender));
    CHECK_EQ(mfs_sender_open(one->sender, &other, &other), 0);
    CHECK_EQ(mfs_sender_push(one->sender, &op, &other, &better, now_ns), 0);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -ENOBUFS);
    CHECK(mfs_sender_restless(one->sender)); /* unless another destination could go first */
    CHECK_EQ(mfs_sender_remove(one->sender, &op, now_ns), 0);
    mfs_sender_close(one->sender, &other);
    tear_down();
}

/* --- other calls --- */

static void overdraw__goes_with_a_chunk(void)
{
    set_up(2, 0);
    rival_waits(one, 3, MUCH, now_ns);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(rival_next(one, CHUNK, now_ns), 0);
    mfs_sender_overdraw(one->sender, &one->to, 3 * CHUNK);
    CHECK_EQ(mfs_sender_inflight(one->sender), 11 * CHUNK);
    rival_done(one, 3 * CHUNK, now_ns);
    CHECK_EQ(all.seats[0].told.inflight_bytes, 8 * CHUNK);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -ENOBUFS);
    rival_done(one, CHUNK, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), 0);
    tear_down();
}

/* The time of what goes without a look at the clock is that of the next look. */
static void overdraw__is_not_late(void)
{
    set_up(1, 50);
    mfs_sender_overdraw(one->sender, &one->to, 100);
    CHECK_EQ(rival_next(one, 0, now_ns), -EAGAIN);
    CHECK_EQ(one->to.state, MFS_DESTINATION_OPEN);
    tear_down();
}

static void close__bytes_in_flight_are_given_back(void)
{
    struct mfs_destination other = {0};

    set_up(2, 0);
    CHECK_EQ(mfs_sender_open(one->sender, &other, &other), 0);
    CHECK_EQ(mfs_sender_express(one->sender, &other, CHUNK, 0), 0);
    CHECK_EQ(mfs_sender_express(one->sender, &one->to, CHUNK, 0), 0);
    mfs_sender_close(one->sender, &other);
    CHECK_EQ(all.seats[0].told.inflight_bytes, CHUNK);
    CHECK_EQ(mfs_sender_inflight(one->sender), CHUNK);
    mfs_sender_close(one->sender, &other); /* once more is nothing */
    CHECK_EQ(mfs_sender_inflight(one->sender), CHUNK);
    CHECK_EQ(mfs_sender_open(one->sender, &other, &other), 0);
    CHECK_EQ(mfs_sender_express(one->sender, &other, 1, 0), 0);
    mfs_sender_close(one->sender, &other); /* however few */
    CHECK_EQ(all.seats[0].told.inflight_bytes, CHUNK);
    tear_down();
}

static void remove__the_others_are_told(void)
{
    set_up(2, 0);
    rival_waits(one, 3, CHUNK, now_ns);
    CHECK_EQ(rival_take(two, 4, CHUNK, now_ns), -EBUSY);
    CHECK_EQ(mfs_sender_remove(one->sender, &one->waits[MFS_TAGGED], now_ns), 0);
    CHECK_EQ(all.seats[0].told.rank, MFS_RANK_NONE);
    CHECK_EQ(rival_take(two, 4, CHUNK, now_ns), 0);
    tear_down();
}

/* The rate is measured from where the port was idle: not over the time in which nothing waited. */
static void sample__begins_when_an_idle_port_is_used(void)
{
    set_up(2, 0);
    CHECK_EQ(rival_take(one, 3, CHUNK, now_ns), 0);
    CHECK_EQ(all.port.sample_since_ns, now_ns);
    CHECK_EQ(rival_take(one, 3, CHUNK, now_ns + 1), 0); /* it is not idle */
    rival_done(one, 2 * CHUNK, now_ns + 2);
    CHECK_EQ(rival_take(one, 3, CHUNK, now_ns + 3), 0);
    CHECK_EQ(all.port.sample_since_ns, now_ns + 3);
    CHECK_EQ(all.port.sample_base, 2 * CHUNK);
    CHECK_EQ(rival_take(two, 3, CHUNK, now_ns + 4), 0); /* another's is in flight */
    CHECK_EQ(all.port.sample_since_ns, now_ns + 3);
    tear_down();
}

/* What was in its way is in nobody's any more: who asks before it sends may send again. */
static void remove__nothing_is_in_the_way(void)
{
    set_up(2, 0);
    rival_waits(one, 3, CHUNK, now_ns);
    rival_waits(two, 2, CHUNK, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -EBUSY);
    CHECK_EQ(one->sender->blocked, -EBUSY);
    CHECK_EQ(mfs_sender_remove(one->sender, &one->waits[MFS_TAGGED], now_ns), 0);
    CHECK_EQ(one->sender->blocked, 0);
    tear_down();
}

/* --- a transport --- */

static struct {
    unsigned room, posts;
    bool done_at_once;
} wire;

static bool wire_ready(void *ctx)
{
    CHECK(ctx == &wire);
    return wire.posts < wire.room;
}

static void wire_post(void *ctx, const struct mfs_chunk *chunk)
{
    CHECK(ctx == &wire && chunk->length == CHUNK);
    CHECK_EQ(chunk->offset, wire.posts * CHUNK);
    wire.posts++;
    all.now_ns++;
    if (wire.done_at_once) /* from in here */
        mfs_sender_done(one->sender, &one->to, chunk->length, all.now_ns);
}

static void send__as_many_as_there_are(void)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.window.window_bytes = 8 * CHUNK;
    config.window.chunk_max_bytes = CHUNK;
    config.transport =
        (struct mfs_transport_ops){.ready = wire_ready, .post = wire_post, .ctx = &wire};
    rivals_create(&all, 1, &config);
    CHECK_EQ(mfs_sender_send(one->sender, now_ns), 0);
    rival_waits(one, 3, 100 * CHUNK, now_ns);
    wire.room = 3;
    CHECK_EQ(mfs_sender_send(one->sender, now_ns), 3);
    wire.room = 1000;
    CHECK_EQ(mfs_sender_send(one->sender, now_ns), 5);
    CHECK_EQ(one->sender->blocked, -ENOBUFS);
    rival_done(one, 8 * CHUNK, now_ns);
    wire.done_at_once = true;
    all.exactly = 0;
    CHECK_EQ(mfs_sender_send(one->sender, now_ns), 92);
    CHECK_EQ(all.exactly, 11); /* it looks at the clock now and then */
    CHECK_EQ(mfs_sender_inflight(one->sender), 0);
    tear_down();
}

static void lone_post(void *ctx, const struct mfs_chunk *chunk)
{
    *(uint64_t *)ctx += chunk->length;
}

/* Nobody else, no clock, no ready(): all that waits goes. */
static void send__alone(void)
{
    struct mfs_sender_config config;
    struct rival lone;
    uint64_t sent = 0;

    mfs_sender_config_init(&config);
    config.window.chunk_max_bytes = CHUNK;
    config.transport.post = lone_post;
    config.transport.ctx = &sent;
    rival_create(&lone, &config);
    rival_waits(&lone, 3, 100 * CHUNK, now_ns);
    CHECK_EQ(mfs_sender_send(lone.sender, now_ns), 100);
    CHECK_EQ(sent, 100 * CHUNK);
    mfs_sender_close(lone.sender, &lone.to); /* with all of it in flight */
    mfs_sender_destroy(lone.sender);
}

static const struct test tests[] = {
    TEST(create__refuses_bad_values),
    TEST(rate__that_was_configured_stays_what_it_was),
    TEST(rate__none_is_learned_though_there_is_none),
    TEST(rate__that_no_port_has_is_not_believed),
    TEST(push__a_coarser_tag_when_no_flow_is_free),
    TEST(next__why_there_is_none),
    TEST(next__a_chunk_of_the_port),
    TEST(next__somebody_may_send),
    TEST(next__the_last_of_the_room),
    TEST(restless__what_a_later_look_could_move),
    TEST(overdraw__goes_with_a_chunk),
    TEST(overdraw__is_not_late),
    TEST(close__bytes_in_flight_are_given_back),
    TEST(remove__the_others_are_told),
    TEST(remove__nothing_is_in_the_way),
    TEST(sample__begins_when_an_idle_port_is_used),
    TEST(send__as_many_as_there_are),
    TEST(send__alone),
};

TEST_MAIN(tests)
