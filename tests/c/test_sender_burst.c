/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destinations whose programs look around now and then, and tell what has come to them all at once:
 * a put of UCX over TCP is complete when the receiving process has answered. The port carries
 * 125 MB/s in order.
 */
#include "core/sender.h"

#include "test.h"

#include "rivals.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)
#define STEP_NS (MS / 10)
#define STEP_BYTES UINT64_C(12500) /* that the port carries in a step */
#define CHUNK (64 * KB)
#define TO_MAX 3
#define QUEUE_MAX 65536

static struct rivals all;

/* The port's queue: chunks as they were posted. */
static struct {
    uint64_t bytes[QUEUE_MAX], left[QUEUE_MAX];
    unsigned to[QUEUE_MAX];
    unsigned first, last;
} queue;

static struct {
    struct mfs_destination *at;
    struct mfs_destination own; /* of all but the first */
    struct mfs_op op;
    uint64_t chunks[QUEUE_MAX]; /* that have come to it and are not told */
    unsigned count;
    int64_t look_ns, next_ns;
} to[TO_MAX];

static unsigned count;
static uint64_t most; /* in flight */

static void set_up(bool known, unsigned destinations, int64_t look_ns)
{
    struct mfs_sender_config config;

    memset(&queue, 0, sizeof(queue));
    memset(to, 0, sizeof(to));
    mfs_sender_config_init(&config);
    config.window.window_bytes = 0;
    config.window.window_min_bytes = known ? 0 : 2 * CHUNK;
    config.queue.params.rate_Bps = known ? 125 * MB : 0;
    config.rate_known = known;
    rivals_create(&all, 1, &config);
    count = destinations;
    most = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct mfs_tag tag = rival_tag(10, MFS_TAGGED);

        to[i].at = i == 0 ? &all.of[0].to : &to[i].own;
        if (i > 0)
            CHECK_EQ(mfs_sender_open(all.of[0].sender, to[i].at, NULL), 0);
        to[i].op.length = UINT64_C(1) << 50;
        CHECK_EQ(mfs_sender_push(all.of[0].sender, &to[i].op, to[i].at, &tag, SECOND), 0);
        to[i].look_ns = look_ns;
        to[i].next_ns = SECOND + look_ns * (i + 1) / count;
    }
}

static void clear_up(void)
{
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQ(mfs_sender_remove(all.of[0].sender, &to[i].op, all.now_ns), 0);
        if (i > 0)
            mfs_sender_close(all.of[0].sender, to[i].at);
    }
    rivals_destroy(&all);
}

static void post(void)
{
    struct mfs_sender *sender = all.of[0].sender;
    struct mfs_chunk chunk;

    while (mfs_sender_next(sender, CHUNK, all.now_ns, &chunk) == 0) {
        const unsigned at = queue.last++ % QUEUE_MAX;

        CHECK(queue.last - queue.first < QUEUE_MAX);
        queue.bytes[at] = queue.left[at] = chunk.length;
        for (unsigned i = 0; i < count; i++) {
            if (&to[i].op == chunk.op)
                queue.to[at] = i;
        }
    }
    if (mfs_sender_inflight(sender) > most)
        most = mfs_sender_inflight(sender);
}

static void carry(uint64_t port_bytes)
{
    while (port_bytes > 0 && queue.first != queue.last) {
        const unsigned at = queue.first % QUEUE_MAX, i = queue.to[at];
        const uint64_t left = queue.left[at] < port_bytes ? queue.left[at] : port_bytes;

        queue.left[at] -= left;
        port_bytes -= left;
        if (queue.left[at] > 0)
            break;
        to[i].chunks[to[i].count++] = queue.bytes[at];
        queue.first++;
    }
}

/* What the port has carried of what it could, in thousandths. */
static uint64_t share_of(uint64_t step_bytes, int64_t *now_ns, int64_t span_ns)
{
    const int64_t until_ns = *now_ns + span_ns;
    uint64_t told = 0, steps = 0;

    for (; *now_ns < until_ns; *now_ns += STEP_NS, steps++) {
        all.now_ns = *now_ns;
        carry(step_bytes);
        for (unsigned i = 0; i < count; i++) {
            if (to[i].next_ns > *now_ns)
                continue;
            to[i].next_ns = *now_ns + to[i].look_ns;
            for (unsigned k = 0; k < to[i].count; k++) {
                mfs_sender_done(all.of[0].sender, to[i].at, to[i].chunks[k], *now_ns);
                told += to[i].chunks[k];
            }
            to[i].count = 0;
        }
        post();
    }
    return told * 1000 / (steps * step_bytes);
}

static uint64_t share(int64_t *now_ns, int64_t span_ns)
{
    return share_of(STEP_BYTES, now_ns, span_ns);
}

static void burst__the_port_does_not_stand_idle(void)
{
    for (int known = 0; known < 2; known++) {
        for (int64_t look_ns = 2 * MS; look_ns <= 16 * MS; look_ns += MS) {
            int64_t now_ns = SECOND;

            set_up(known, 1, look_ns);
            (void)share(&now_ns, 3 * SECOND);
            most = 0;
            CHECK(share(&now_ns, SECOND) >= 950);
            /* what it needs, and no more than that again */
            CHECK(most <= 2 * (uint64_t)look_ns * 125 / 1000 + 500 * KB);
            clear_up();
        }
    }
}

/* Each at a time of its own: what is told never is all that is in flight on the port. */
static void burst__of_several_destinations(void)
{
    for (int known = 0; known < 2; known++) {
        for (int64_t look_ns = 2 * MS; look_ns <= 16 * MS; look_ns += MS) {
            int64_t now_ns = SECOND;

            set_up(known, 3, look_ns);
            (void)share(&now_ns, 3 * SECOND);
            CHECK(share(&now_ns, SECOND) >= 950);
            clear_up();
        }
    }
}

/* In time again: as small as it was, soon. */
static void burst__as_before_when_they_look_in_time(void)
{
    int64_t now_ns = SECOND;

    set_up(true, 1, 10 * MS);
    (void)share(&now_ns, SECOND);
    CHECK(most > 1 * MB);
    to[0].look_ns = STEP_NS;
    (void)share(&now_ns, 3 * SECOND);
    most = 0;
    CHECK(share(&now_ns, SECOND) >= 990);
    CHECK(most <= 255 * KB);
    clear_up();
}

/* The rate was configured, and is a tenth of that: a chunk is told each five milliseconds. */
static void burst__not_a_port_that_is_slower_than_was_said(void)
{
    int64_t now_ns = SECOND;

    set_up(true, 1, STEP_NS);
    CHECK(share_of(STEP_BYTES / 10, &now_ns, 2 * SECOND) >= 950);
    CHECK(most <= 255 * KB);
    clear_up();
}

/* It looks around, and takes little: what it tells at once is not all that is in flight to it. */
static void burst__not_a_receiver_that_takes_little(void)
{
    int64_t now_ns = SECOND;

    set_up(true, 1, 10 * MS);
    (void)share_of(STEP_BYTES / 10, &now_ns, 2 * SECOND); /* two chunks each time, of three */
    CHECK(most <= 255 * KB);
    clear_up();
}

static const struct test tests[] = {
    TEST(burst__the_port_does_not_stand_idle),
    TEST(burst__of_several_destinations),
    TEST(burst__as_before_when_they_look_in_time),
    TEST(burst__not_a_port_that_is_slower_than_was_said),
    TEST(burst__not_a_receiver_that_takes_little),
};

TEST_MAIN(tests)
