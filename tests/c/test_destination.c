/* SPDX-License-Identifier: Apache-2.0 */
#include "core/destination.h"

#include "test.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)
#define MANY 40

/* What is in flight should leave within 2 ms; the lease is 20 ms. */
static const struct mfs_patience patience = {2 * MS, 0, 20 * MS, 1000};

static struct mfs_rmlq *queue;
static struct mfs_destinations all;
static struct mfs_destination to[MANY];

static void set_up(void)
{
    struct mfs_rmlq_config config;

    mfs_rmlq_config_init(&config);
    config.policy = mfs_policy_find("fifo");
    CHECK_EQ(mfs_rmlq_create(&config, &queue), 0);
    all = (struct mfs_destinations){.queue = queue};
    for (int i = 0; i < MANY; i++)
        CHECK_EQ(mfs_destination_open(&all, &to[i], &to[i]), 0);
}

static void tear_down(void)
{
    for (int i = 0; i < MANY; i++)
        mfs_destination_close(&all, &to[i]);
    CHECK_EQ(all.busy, 0);
    for (int state = 0; state < MFS_DESTINATION_STATES; state++)
        CHECK(all.in[state].bytes == 0 && !all.in[state].first && !all.in[state].last);
    mfs_rmlq_destroy(queue);
}

/* Everything adds up, and each is where its state says. */
static void check_sums(void)
{
    uint64_t bytes[MFS_DESTINATION_STATES] = {0};
    uint32_t busy = 0, listed = 0, stalled = 0;

    for (int i = 0; i < MANY; i++) {
        static const uint32_t classes[] = {MFS_VOQ_OPEN, MFS_VOQ_SLOW, MFS_VOQ_PARKED};
        const bool idle = to[i].inflight_bytes == 0;

        bytes[to[i].state] += to[i].inflight_bytes;
        busy += !idle;
        stalled += to[i].state == MFS_DESTINATION_STALLED;
        CHECK_EQ_AT(to[i].voq.class, idle ? MFS_VOQ_OPEN : classes[to[i].state], i);
        CHECK(!idle || to[i].state != MFS_DESTINATION_STALLED);
        CHECK(idle || (to[i].mark_bytes > 0 && to[i].mark_bytes <= to[i].inflight_bytes));
    }
    CHECK_EQ(all.busy, busy);
    CHECK_EQ(all.stalled, stalled);
    for (int state = 0; state < MFS_DESTINATION_STATES; state++) {
        const struct mfs_destination *prev = NULL;

        CHECK_EQ_AT(all.in[state].bytes, bytes[state], state);
        for (const struct mfs_destination *at = all.in[state].first; at; at = at->next) {
            CHECK(at->prev == prev && at->state == (uint32_t)state && at->inflight_bytes > 0);
            prev = at;
            listed++;
        }
        CHECK(all.in[state].last == prev);
    }
    CHECK_EQ(listed, busy);
}

#define STATE_IS(destination, expected)                                                            \
    do {                                                                                           \
        CHECK_EQ((destination)->state, MFS_DESTINATION_##expected);                                \
        check_sums();                                                                              \
    } while (0)

static void sent(int i, uint64_t bytes, int64_t now_ns)
{
    mfs_destination_sent(&all, &to[i], bytes, now_ns);
}

static void left(int i, uint64_t bytes, int64_t now_ns)
{
    mfs_destination_left(&all, &to[i], bytes, &patience, now_ns);
}

static bool look(int64_t now_ns)
{
    return mfs_destination_look(&all, &patience, now_ns);
}

/* --- the states --- */

static void state__open_slow_stalled_and_back(void)
{
    int64_t now_ns = SECOND;

    set_up();
    sent(0, 1000, now_ns);
    STATE_IS(&to[0], OPEN);
    CHECK(!look(now_ns + 6 * MS)); /* three times what is due, and no longer */
    CHECK(look(now_ns + 6 * MS + 1));
    STATE_IS(&to[0], SLOW);
    CHECK(!look(now_ns + 20 * MS));
    CHECK(look(now_ns + 20 * MS + 1)); /* no byte has left for the lease */
    STATE_IS(&to[0], STALLED);
    CHECK_EQ(all.stalls, 1);
    now_ns += 500 * MS;
    CHECK(!look(now_ns)); /* however long */
    left(0, 100, now_ns); /* a byte moves */
    STATE_IS(&to[0], SLOW);
    CHECK(!look(now_ns + 20 * MS));
    now_ns += 20 * MS;
    left(0, 900, now_ns); /* its mark, much too late */
    STATE_IS(&to[0], SLOW);
    sent(0, 1000, now_ns);
    STATE_IS(&to[0], SLOW);
    left(0, 1000, now_ns + 4 * MS + 1);
    STATE_IS(&to[0], SLOW);
    sent(0, 1000, now_ns);
    left(0, 1000, now_ns + 4 * MS); /* twice what is due: as it should be */
    STATE_IS(&to[0], OPEN);
    CHECK_EQ(all.stalls, 1);
    tear_down();
}

/* One that was slow may have twice as much each time that it was in time, up to the window; half of
 * what was late. */
static void state__as_much_as_it_has_shown_that_it_takes(void)
{
    int64_t now_ns = SECOND + 7 * MS;

    set_up();
    sent(0, 400, SECOND);
    CHECK(look(now_ns));
    CHECK_EQ(to[0].allowed_bytes, 0);
    left(0, 400, now_ns);
    CHECK_EQ(to[0].allowed_bytes, 200); /* it has not been in time */
    sent(0, 100, now_ns);
    left(0, 100, now_ns += 4 * MS);
    CHECK_EQ(to[0].allowed_bytes, 400);
    sent(0, 100, now_ns);
    left(0, 100, now_ns += 4 * MS);
    CHECK_EQ(to[0].allowed_bytes, 800);
    sent(0, 100, now_ns);
    left(0, 100, now_ns += 4 * MS);
    CHECK_EQ(to[0].allowed_bytes, 1000); /* the window */
    sent(0, 400, now_ns);
    left(0, 400, now_ns += 4 * MS + 1);
    CHECK_EQ(to[0].allowed_bytes, 200);
    STATE_IS(&to[0], SLOW);
    sent(0, 499, now_ns);
    left(0, 499, now_ns += 4 * MS);
    STATE_IS(&to[0], SLOW); /* a window is 1000 */
    sent(0, 500, now_ns);
    left(0, 500, now_ns += 4 * MS);
    STATE_IS(&to[0], OPEN);
    tear_down();
}

/* It is looked at too late to be seen slow, but its mark says so. */
static void state__slow_by_its_mark(void)
{
    set_up();
    sent(0, 1000, SECOND);
    left(0, 1000, SECOND + 6 * MS);
    STATE_IS(&to[0], OPEN);
    sent(0, 1000, SECOND);
    left(0, 999, SECOND + 7 * MS); /* not reached */
    STATE_IS(&to[0], OPEN);
    left(0, 1, SECOND + 7 * MS);
    STATE_IS(&to[0], SLOW);
    tear_down();
}

/* From stalled to open: all that was in flight has left in time since the last mark. */
static void state__stalled_to_open(void)
{
    set_up();
    sent(0, 1000, SECOND);
    CHECK(look(SECOND + 100 * MS));
    STATE_IS(&to[0], STALLED); /* both steps at one look */
    left(0, 1000, SECOND + 101 * MS);
    STATE_IS(&to[0], SLOW);
    sent(0, 1000, SECOND + 101 * MS);
    left(0, 1000, SECOND + 102 * MS);
    STATE_IS(&to[0], OPEN);
    tear_down();
}

static void state__the_sender_was_away(void)
{
    const struct mfs_patience away = {2 * MS, 10 * MS, 20 * MS, 1000};

    set_up();
    sent(0, 1000, SECOND);
    CHECK(!mfs_destination_look(&all, &away, SECOND + 16 * MS));
    CHECK(mfs_destination_look(&all, &away, SECOND + 16 * MS + 1));
    STATE_IS(&to[0], SLOW);
    CHECK(!mfs_destination_look(&all, &away, SECOND + 30 * MS));
    CHECK(mfs_destination_look(&all, &away, SECOND + 30 * MS + 1));
    STATE_IS(&to[0], STALLED);
    mfs_destination_left(&all, &to[0], 1000, &away, SECOND + 14 * MS + 1);
    STATE_IS(&to[0], SLOW);
    sent(0, 1000, SECOND);
    mfs_destination_left(&all, &to[0], 1000, &away, SECOND + 14 * MS);
    STATE_IS(&to[0], OPEN);
    sent(0, 1000, SECOND);
    mfs_destination_left(&all, &to[0], 1000, &away, SECOND + 16 * MS);
    STATE_IS(&to[0], OPEN);
    sent(0, 1000, SECOND);
    mfs_destination_left(&all, &to[0], 1000, &away, SECOND + 16 * MS + 1);
    STATE_IS(&to[0], SLOW);
    tear_down();
}

/* No rate, no time that is due: only who does not move at all for the lease is not open. */
static void state__nothing_is_known_of_the_port(void)
{
    const struct mfs_patience unknown = {0, 0, 20 * MS, 1000};

    set_up();
    sent(0, 1000, SECOND);
    CHECK(!mfs_destination_look(&all, &unknown, SECOND + 20 * MS));
    mfs_destination_left(&all, &to[0], 999, &unknown, SECOND + 20 * MS);
    STATE_IS(&to[0], OPEN);
    mfs_destination_left(&all, &to[0], 1, &unknown, SECOND + 500 * MS);
    STATE_IS(&to[0], OPEN);
    sent(0, 1000, SECOND);
    CHECK(mfs_destination_look(&all, &unknown, SECOND + 20 * MS + 1));
    CHECK(to[0].state != MFS_DESTINATION_OPEN);
    mfs_destination_left(&all, &to[0], 1000, &unknown, SECOND + 500 * MS);
    STATE_IS(&to[0], OPEN);
    tear_down();
}

/* --- marks --- */

/* A mark stands for what was in flight when it was set; what is sent later does not move it. */
static void mark__of_what_was_in_flight(void)
{
    int64_t now_ns = SECOND;

    set_up();
    sent(0, 100, now_ns);
    sent(0, 100, now_ns + MS);
    sent(0, 100, now_ns + 2 * MS);
    CHECK_EQ(to[0].mark_bytes, 100);
    left(0, 40, now_ns + 3 * MS);
    CHECK(to[0].mark_bytes == 60 && to[0].mark_ns == now_ns);
    left(0, 60, now_ns + 3 * MS);
    CHECK(to[0].mark_bytes == 200 && to[0].mark_ns == now_ns + 3 * MS);
    sent(0, 1000, now_ns + 4 * MS);
    left(0, 300, now_ns + 5 * MS); /* more than the mark */
    CHECK(to[0].mark_bytes == 900 && to[0].mark_ns == now_ns + 5 * MS);
    check_sums();
    left(0, 5000, now_ns + 6 * MS); /* more than there is: of a life before */
    CHECK_EQ(to[0].inflight_bytes, 0);
    left(0, 5, now_ns + 7 * MS);
    CHECK_EQ(to[0].inflight_bytes, 0);
    STATE_IS(&to[0], OPEN);
    tear_down();
}

/* A steady flow of bytes that each take long: the marks see it, though bytes leave all the time. */
static void mark__sees_a_trickle(void)
{
    int64_t now_ns = SECOND;

    set_up();
    sent(0, 1000, now_ns);
    for (int i = 0; i < 8; i++) {
        now_ns += MS;
        left(0, 100, now_ns);
        sent(0, 100, now_ns);
        (void)look(now_ns);
    }
    STATE_IS(&to[0], SLOW);
    for (int i = 0; i < 100; i++) {
        now_ns += MS;
        left(0, 100, now_ns);
        sent(0, 100, now_ns);
        (void)look(now_ns);
    }
    STATE_IS(&to[0], SLOW); /* it moves: not stalled */
    tear_down();
}

/* --- times that are not known --- */

static void time__unknown_is_that_of_the_next_look(void)
{
    set_up();
    sent(0, 1000, 0);
    sent(1, 1000, 0);
    CHECK(!look(SECOND));
    CHECK(to[0].mark_ns == SECOND && to[1].mark_ns == SECOND);
    CHECK(!look(SECOND + 6 * MS));
    CHECK(look(SECOND + 6 * MS + 1));
    STATE_IS(&to[0], SLOW);
    STATE_IS(&to[1], SLOW);
    tear_down();
}

/* Others that were sent to before and after it do not hide that its time is unknown. */
static void time__unknown_between_known_ones(void)
{
    set_up();
    sent(0, 1000, SECOND);
    sent(1, 1000, 0);
    left(0, 1000, SECOND + 3 * MS);
    sent(0, 1000, SECOND + 3 * MS); /* behind it now */
    sent(2, 1000, SECOND + 3 * MS);
    CHECK(!look(SECOND + 3 * MS + 1));
    STATE_IS(&to[1], OPEN);
    CHECK(!look(SECOND + 8 * MS));
    STATE_IS(&to[1], OPEN);
    CHECK(look(SECOND + 9 * MS + 2)); /* but it is seen in the end */
    STATE_IS(&to[1], SLOW);
    tear_down();
}

/* Its bytes leave at times that are not known, as those of express operations: its mark stays. */
static void time__unknown_of_bytes_before_the_mark(void)
{
    set_up();
    sent(0, 1000, SECOND);
    sent(1, 1000, SECOND + MS);
    for (int i = 0; i < 5; i++) {
        left(0, 100, 0);
        CHECK(!look(SECOND + MS + i));
    }
    CHECK(look(SECOND + 6 * MS + 1));
    STATE_IS(&to[0], SLOW);
    STATE_IS(&to[1], OPEN);
    CHECK(look(SECOND + 7 * MS + 1)); /* 1 is late; 0 has moved just now, as far as anybody knows */
    STATE_IS(&to[0], SLOW);
    CHECK(!look(SECOND + 20 * MS + 1));
    tear_down();
}

/* Slow ones, of which one has moved at a time that is not known: it is not stalled. */
static void time__unknown_between_slow_ones(void)
{
    set_up();
    for (int i = 0; i < 3; i++)
        sent(i, 1000, SECOND);
    (void)look(SECOND + 7 * MS);
    left(1, 100, 0);
    left(0, 100, SECOND + 6 * MS);
    CHECK(look(SECOND + 20 * MS + 1)); /* 2 is stalled */
    STATE_IS(&to[0], SLOW);
    STATE_IS(&to[1], SLOW);
    STATE_IS(&to[2], STALLED);
    CHECK(look(SECOND + 26 * MS + 1)); /* and so is 0 */
    STATE_IS(&to[0], STALLED);
    STATE_IS(&to[1], SLOW);
    CHECK(look(SECOND + 41 * MS));
    STATE_IS(&to[1], STALLED);
    tear_down();
}

/* A mark that was reached at a time that is not known. */
static void time__unknown_when_it_left(void)
{
    set_up();
    sent(0, 1000, SECOND);
    sent(0, 1000, SECOND);
    left(0, 1000, 0); /* it may have been in time */
    STATE_IS(&to[0], OPEN);
    CHECK(!look(SECOND + 100 * MS));
    STATE_IS(&to[0], OPEN);
    CHECK(look(SECOND + 107 * MS));
    STATE_IS(&to[0], SLOW);
    sent(0, 1000, SECOND + 107 * MS);
    left(0, 1000, 0);
    STATE_IS(&to[0], SLOW); /* nothing says that it is better */
    sent(1, 1000, SECOND + 107 * MS);
    CHECK(look(SECOND + 114 * MS)); /* 1 is slow; 0 has moved, though nobody knows when */
    STATE_IS(&to[0], SLOW);
    STATE_IS(&to[1], SLOW);
    CHECK(!look(SECOND + 120 * MS));
    STATE_IS(&to[0], SLOW);
    tear_down();
}

/* --- what a state means for what waits --- */

static struct mfs_op ops[1000];

static void push(int i, size_t op, uint32_t layer)
{
    const struct mfs_tag tag = {1, layer, MFS_STAGE_P2D};

    ops[op] = (struct mfs_op){.length = 128};
    CHECK_EQ(mfs_rmlq_push(queue, &ops[op], &to[i].voq, &tag, (int64_t)op + 1), 0);
}

static struct mfs_destination *best_of(enum mfs_voq_class class)
{
    struct mfs_head head;

    mfs_rmlq_place_due(queue, SECOND);
    mfs_rmlq_head(queue, class, MFS_TAGGED, 128, &head);
    return (struct mfs_destination *)(void *)head.voq;
}

static void queue__goes_with_the_state(void)
{
    set_up();
    push(0, 0, 0);
    push(1, 1, 0);
    CHECK(best_of(MFS_VOQ_OPEN) == &to[0] && !best_of(MFS_VOQ_SLOW));
    sent(0, 1000, SECOND);
    (void)look(SECOND + 7 * MS);
    CHECK(best_of(MFS_VOQ_OPEN) == &to[1] && best_of(MFS_VOQ_SLOW) == &to[0]);
    (void)look(SECOND + 30 * MS);
    CHECK(best_of(MFS_VOQ_OPEN) == &to[1] && !best_of(MFS_VOQ_SLOW));
    left(0, 10, SECOND + 30 * MS);
    CHECK(best_of(MFS_VOQ_OPEN) == &to[1] && best_of(MFS_VOQ_SLOW) == &to[0]);
    left(0, 990, SECOND + 60 * MS); /* slow, and nothing in flight: one chunk in any case */
    STATE_IS(&to[0], SLOW);
    CHECK(best_of(MFS_VOQ_OPEN) == &to[0] && !best_of(MFS_VOQ_SLOW));
    sent(0, 128, SECOND + 60 * MS);
    CHECK(best_of(MFS_VOQ_OPEN) == &to[1] && best_of(MFS_VOQ_SLOW) == &to[0]);
    CHECK_EQ(mfs_rmlq_remove(queue, &ops[0]), 0);
    CHECK_EQ(mfs_rmlq_remove(queue, &ops[1]), 0);
    tear_down();
}

/* A thousand flows behind one that does not move: a step for the others costs a look at one. */
static void queue__flows_of_a_stalled_one_are_in_no_order(void)
{
    set_up();
    for (uint32_t i = 0; i < COUNT(ops) - 1; i++)
        push(0, i, i);
    sent(0, 1000, SECOND);
    (void)look(SECOND + 30 * MS);
    STATE_IS(&to[0], STALLED);
    CHECK(!best_of(MFS_VOQ_OPEN) && !best_of(MFS_VOQ_SLOW));
    push(1, COUNT(ops) - 1, 0);
    CHECK(best_of(MFS_VOQ_OPEN) == &to[1] && !best_of(MFS_VOQ_SLOW));
    CHECK_EQ(mfs_rmlq_operations(queue), COUNT(ops));
    /* when it moves again, all are there in their order, and behind one entry */
    left(0, 1, SECOND + 31 * MS);
    CHECK(best_of(MFS_VOQ_SLOW) == &to[0]);
    for (uint32_t i = 0; i < COUNT(ops) - 1; i++) {
        struct mfs_chunk chunk;

        CHECK(best_of(MFS_VOQ_SLOW) == &to[0]);
        mfs_rmlq_take(queue, &to[0].voq, MFS_TAGGED, 128, &chunk);
        CHECK(chunk.op == &ops[i] && chunk.last);
    }
    CHECK(!best_of(MFS_VOQ_SLOW));
    CHECK_EQ(mfs_rmlq_remove(queue, &ops[COUNT(ops) - 1]), 0);
    tear_down();
}

/* --- what is told of a stall --- */

static int unsaid(int64_t time_ns)
{
    struct mfs_destination *at = mfs_destination_unsaid(&all, 100 * MS, time_ns);

    return at ? (int)(at - to) : -1;
}

static void unsaid__each_once_a_stall(void)
{
    set_up();
    for (int i = 0; i < 4; i++)
        sent(i, 1000, SECOND);
    CHECK_EQ(unsaid(2 * SECOND), -1); /* none is stalled */
    CHECK(look(SECOND + 50 * MS));
    CHECK(all.stalled == 4 && all.stalls == 4);
    CHECK_EQ(unsaid(SECOND + 100 * MS), -1); /* not for as long as that */
    left(0, 10, SECOND + 90 * MS); /* it moves before it was told of */
    CHECK_EQ(all.stalled, 3);
    CHECK_EQ(unsaid(SECOND + 101 * MS), 1);
    left(1, 10, SECOND + 101 * MS); /* it moves, and one that was not told of yet */
    mfs_destination_close(&all, &to[2]);
    CHECK_EQ(unsaid(SECOND + 101 * MS), 3);
    CHECK_EQ(unsaid(SECOND + 101 * MS), -1);
    CHECK(look(SECOND + 150 * MS)); /* both once more, and 0 has waited longer */
    CHECK(all.stalled == 3 && all.stalls == 6);
    CHECK_EQ(unsaid(SECOND + 191 * MS), 0);
    CHECK_EQ(unsaid(SECOND + 191 * MS), -1);
    CHECK_EQ(unsaid(SECOND + 202 * MS), 1);
    CHECK_EQ(unsaid(SECOND + 202 * MS), -1);
    CHECK_EQ(mfs_destination_open(&all, &to[2], NULL), 0);
    check_sums();
    tear_down();
}

/* --- closing, and everything at random --- */

static void close__forgets_what_is_in_flight(void)
{
    for (int state = 0; state < MFS_DESTINATION_STATES; state++) {
        static const int64_t waits_ns[] = {0, 7 * MS, 30 * MS};

        set_up();
        sent(0, 1000, SECOND);
        sent(1, 1000, SECOND);
        (void)look(SECOND + waits_ns[state]);
        CHECK_EQ(to[0].state, state);
        mfs_destination_close(&all, &to[0]);
        CHECK(to[0].inflight_bytes == 0 && all.busy == 1);
        CHECK_EQ(all.in[state].bytes, 1000);
        left(1, 1000, SECOND + waits_ns[state]);
        CHECK_EQ(mfs_destination_open(&all, &to[0], NULL), 0);
        STATE_IS(&to[0], OPEN);
        tear_down();
    }
}

static void sums__whatever_happens(void)
{
    uint64_t seen[MFS_DESTINATION_STATES] = {0};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t state = seed, inflight[MANY] = {0};
        int64_t now_ns = SECOND;

        set_up();
        for (int step = 0; step < 5000; step++) {
            const int i = (int)(test_random(&state) % MANY);
            const uint64_t bytes = 1 + test_random(&state) % 1000;
            const int64_t then_ns = test_random(&state) % 8 == 0 ? 0 : now_ns;
            const struct mfs_patience any = {(int64_t)(test_random(&state) % 3) * MS,
                                             (int64_t)(test_random(&state) % 3) * MS, 20 * MS,
                                             1000};

            switch (test_random(&state) % 8) {
            case 0:
            case 1:
            case 2:
                sent(i, bytes, then_ns);
                inflight[i] += bytes;
                break;
            case 3:
            case 4:
                mfs_destination_left(&all, &to[i], bytes, &any, then_ns);
                inflight[i] -= bytes < inflight[i] ? bytes : inflight[i];
                break;
            case 5:
                if (test_random(&state) % 8 == 0) {
                    mfs_destination_close(&all, &to[i]);
                    CHECK_EQ(mfs_destination_open(&all, &to[i], NULL), 0);
                    inflight[i] = 0;
                }
                break;
            case 6:
                (void)mfs_destination_look(&all, &any, now_ns);
                break;
            default:
                now_ns += (int64_t)(test_random(&state) % (3 * (uint64_t)MS));
            }
            check_sums();
            CHECK_EQ_AT(to[i].inflight_bytes, inflight[i], step);
            seen[to[i].state]++;
        }
        tear_down();
    }
    for (int state = 0; state < MFS_DESTINATION_STATES; state++)
        CHECK(seen[state] > 1000); /* it was about something */
}

static const struct test tests[] = {
    TEST(state__open_slow_stalled_and_back),
    TEST(state__as_much_as_it_has_shown_that_it_takes),
    TEST(state__slow_by_its_mark),
    TEST(state__stalled_to_open),
    TEST(state__the_sender_was_away),
    TEST(state__nothing_is_known_of_the_port),
    TEST(mark__of_what_was_in_flight),
    TEST(mark__sees_a_trickle),
    TEST(time__unknown_is_that_of_the_next_look),
    TEST(time__unknown_between_known_ones),
    TEST(time__unknown_of_bytes_before_the_mark),
    TEST(time__unknown_between_slow_ones),
    TEST(time__unknown_when_it_left),
    TEST(queue__goes_with_the_state),
    TEST(queue__flows_of_a_stalled_one_are_in_no_order),
    TEST(unsaid__each_once_a_stall),
    TEST(close__forgets_what_is_in_flight),
    TEST(sums__whatever_happens),
};

TEST_MAIN(tests)
