/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sender whose port serves bytes of others that it does not know of: one queue, in order, at
 * 100 MB/s, in which they always have 1.5 MB, as readers of a host's memory do.
 */
#include "core/sender.h"

#include "test.h"

#include "rivals.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)
#define STEP_NS (MS / 10)
#define STEP_BYTES (10 * KB) /* that the port carries in a step */
#define SLOW_BYTES (1 * KB)  /* the same, when it has become slower */
#define OTHERS_BYTES (1500 * KB)
#define QUEUE_MAX 4096

static struct rivals all;

/* The network's queue: stretches of bytes, ours and theirs by turns as they came. */
static struct {
    uint64_t bytes[QUEUE_MAX];
    bool ours[QUEUE_MAX];
    unsigned first, count;
    uint64_t ours_inflight;
} queue;

static void enter(uint64_t bytes, bool ours)
{
    const unsigned at = (queue.first + queue.count) % QUEUE_MAX;

    CHECK(queue.count < QUEUE_MAX);
    queue.bytes[at] = bytes;
    queue.ours[at] = ours;
    queue.count++;
    queue.ours_inflight += ours ? bytes : 0;
}

/* A step of the port; what of theirs has left comes again at the end. Returns our bytes. */
static uint64_t carry(uint64_t port_bytes)
{
    uint64_t ours = 0;

    while (port_bytes > 0 && queue.count > 0) {
        const unsigned at = queue.first;
        const uint64_t left = queue.bytes[at] < port_bytes ? queue.bytes[at] : port_bytes;

        queue.bytes[at] -= left;
        port_bytes -= left;
        if (queue.ours[at])
            ours += left;
        else
            enter(left, false);
        if (queue.bytes[at] > 0)
            break;
        queue.first = (queue.first + 1) % QUEUE_MAX;
        queue.count--;
    }
    queue.ours_inflight -= ours;
    return ours;
}

/* Our share of the port in so long, in thousandths; it carries so much in a step, and the sender
 * looks every so many steps. */
static uint64_t share_of(uint64_t step_bytes, uint64_t look, int64_t *now_ns, int64_t span_ns)
{
    const int64_t until_ns = *now_ns + span_ns;
    uint64_t ours = 0, unseen = 0, steps = 0;

    for (; *now_ns < until_ns; *now_ns += STEP_NS, steps++) {
        if (steps % look == 0) {
            all.now_ns = *now_ns;
            if (unseen > 0)
                rival_done(&all.of[0], unseen, *now_ns);
            ours += unseen;
            unseen = 0;
            while (rival_next(&all.of[0], 64 * KB, *now_ns) == 0)
                enter(all.of[0].chunk.length, true);
        }
        unseen += carry(step_bytes);
    }
    rival_done(&all.of[0], unseen, *now_ns);
    return (ours + unseen) * 1000 / (steps * step_bytes);
}

static uint64_t share(int64_t *now_ns, int64_t span_ns)
{
    return share_of(STEP_BYTES, 1, now_ns, span_ns);
}

static void set_up(bool rate_known)
{
    struct mfs_sender_config config;

    memset(&queue, 0, sizeof(queue));
    mfs_sender_config_init(&config);
    config.window.window_bytes = 0;
    config.queue.params.rate_Bps = rate_known ? 100 * MB : 0;
    config.rate_known = rate_known;
    rivals_create(&all, 1, &config);
    rival_waits(&all.of[0], 10, UINT64_C(1) << 50, SECOND);
}

static void beside__others_in_the_networks_queue_leave_us_a_share(void)
{
    int64_t now_ns = SECOND;

    set_up(false);
    CHECK(share(&now_ns, SECOND) >= 950); /* alone; the rate is learned from nothing */
    CHECK(queue.ours_inflight <= 200 * KB);
    enter(OTHERS_BYTES, false);
    (void)share(&now_ns, SECOND);
    CHECK(share(&now_ns, SECOND) >= 300); /* a window of 2 ms would have 90 */
    rivals_destroy(&all);
}

/* Whether it looks every tenth of a millisecond or every three: chunks that leave together, and the
 * time that it does not look, hide how long the way is. */
static void beside__however_often_it_looks(void)
{
    for (uint64_t look = 1; look < 30; look += 2) {
        int64_t now_ns = SECOND;

        set_up(false);
        (void)share_of(STEP_BYTES, look, &now_ns, SECOND);
        enter(OTHERS_BYTES / 2, false);
        (void)share_of(STEP_BYTES, look, &now_ns, SECOND);
        CHECK(share_of(STEP_BYTES, look, &now_ns, SECOND) >= 350);
        rivals_destroy(&all);
    }
}

static void beside__as_before_when_they_have_gone(void)
{
    int64_t now_ns = SECOND;

    set_up(false);
    (void)share(&now_ns, SECOND);
    enter(OTHERS_BYTES, false);
    (void)share(&now_ns, SECOND);
    memset(&queue.bytes, 0, sizeof(queue.bytes)); /* theirs, and what ours had of it */
    rival_done(&all.of[0], queue.ours_inflight, now_ns);
    queue.ours_inflight = 0;
    (void)share(&now_ns, SECOND);
    CHECK(queue.ours_inflight <= 250 * KB);
    CHECK(share(&now_ns, SECOND) >= 950);
    rivals_destroy(&all);
}

/* It is not known whether others are there, so more is handed over; but within the bound. */
static void beside__a_port_that_has_become_slower(void)
{
    int64_t now_ns = SECOND;

    set_up(false);
    (void)share(&now_ns, SECOND);
    for (int i = 0; i < 50; i++) {
        CHECK(share_of(SLOW_BYTES, 1, &now_ns, SECOND / 10) >= 950);
        CHECK(queue.ours_inflight <= (all.port.rate_Bps + all.port.best_Bps) * 8 / 1000 + 64 * KB);
    }
    rivals_destroy(&all);
}

/* Of a port whose rate was configured the window is what was asked for. */
static void beside__not_where_the_rate_is_known(void)
{
    int64_t now_ns = SECOND;

    set_up(true);
    (void)share(&now_ns, SECOND);
    enter(OTHERS_BYTES, false);
    (void)share(&now_ns, SECOND);
    CHECK(queue.ours_inflight <= 200 * KB);
    rivals_destroy(&all);
}

/* The word of the port's best rate is one that others write. */
static void beside__a_best_rate_that_is_wrong_holds_the_port_for_seconds_only(void)
{
    int64_t now_ns = SECOND;

    set_up(false);
    (void)share(&now_ns, SECOND);
    enter(OTHERS_BYTES, false);
    for (int i = 0; i < 20; i++) {
        all.port.best_Bps = 20000 * MB; /* a bound of 160 MB instead of one of 1.6 */
        (void)share(&now_ns, SECOND / 50);
        CHECK(all.of[0].sender->patience.due_ns <= SECOND);
    }
    rivals_destroy(&all);
}

static const struct test tests[] = {
    TEST(beside__others_in_the_networks_queue_leave_us_a_share),
    TEST(beside__however_often_it_looks),
    TEST(beside__as_before_when_they_have_gone),
    TEST(beside__a_port_that_has_become_slower),
    TEST(beside__not_where_the_rate_is_known),
    TEST(beside__a_best_rate_that_is_wrong_holds_the_port_for_seconds_only),
};

TEST_MAIN(tests)
