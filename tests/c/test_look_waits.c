/* SPDX-License-Identifier: Apache-2.0 */
/* What a sender tells of what waits (host/waits.c), and what is seen of it from outside. */
#include "host/look_waits.h"

#include "host.h"
#include "host/waits.h"
#include "rival.h"

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

static struct mfs_look host_found;
static struct mfs_look_waits found;

static void look(const char *path)
{
    CHECK_EQ(mfs_look_waits(path, &host_found, &found), 0);
}

static void describe(void *ctx, const struct mfs_destination *destination, char *name, size_t size)
{
    (void)ctx, (void)destination;
    snprintf(name, size, "decode\n7");
}

/* What comes first in a test. */
static const char *set_up(void)
{
    setenv("MFS_WINDOW", "100000", 1);
    setenv("MFS_HOLD_MAX", "8s", 1);
    return segment_path();
}

/* Its bytes in flight do not look as if its peer were slow. */
static void moves(struct rival *rival, int64_t now_ns)
{
    rival->sender->destinations.in[MFS_DESTINATION_OPEN].first->mark_ns = now_ns;
}

/* A sender with a named peer, whose window of 100,000 bytes is full, and 50,000 bytes that wait. */
static void fill(struct rival *rival, struct mfs_host *host, int64_t now_ns)
{
    rival_join(rival, host, "nic");
    rival->sender->transport.describe = describe;
    CHECK_EQ(rival_take(rival, mfs_rank_make(0, 3), 100000, now_ns), 0);
    rival_waits(rival, mfs_rank_make(2, 5), 50000, now_ns);
    CHECK_EQ(rival_next(rival, 0, now_ns + MS), -ENOBUFS);
}

static void look__a_flow_with_all_that_is_known(void)
{
    const char *path = set_up();
    struct mfs_host *host = host_open(path);
    const int64_t now_ns = mfs_now_ns();
    struct mfs_facts facts = some_facts();
    const struct mfs_look_wait *wait = &found.queues[0].waits[0];
    struct rival rival;

    facts.deadline_ns = now_ns + 100 * SECOND;
    facts.layers = 10; /* four of them follow the one that waits */
    facts.layer_ns = SECOND;
    facts.p2d_left_bytes = 777;
    CHECK_EQ(mfs_request_put(host, 1, "cmpl-17", &facts), 0);
    fill(&rival, host, now_ns - SECOND);
    CHECK_EQ(rival_next(&rival, 0, now_ns), -ENOBUFS); /* told every 100 ms */
    look(path);
    CHECK_EQ(found.queue_count, 1);
    CHECK_EQ(host_found.processes[found.queues[0].process].pid, getpid());
    CHECK(strcmp(found.queues[0].port, "nic") == 0);
    CHECK_EQ(found.queues[0].level, 2);
    CHECK_EQ(found.queues[0].flows, 1);
    CHECK_EQ(found.queues[0].bytes, 50000);
    CHECK_EQ(found.queues[0].inflight_bytes, 100000);
    CHECK(found.queues[0].told_ns >= 0 && found.queues[0].told_ns < 100 * SECOND);
    CHECK_EQ(found.queues[0].count, 1);
    CHECK(strcmp(wait->request, "cmpl-17") == 0);
    CHECK(strcmp(wait->peer, "decode?7") == 0);
    CHECK_EQ(wait->layer, 5);
    CHECK_EQ(wait->stage, 2);
    CHECK_EQ(wait->level, 2);
    CHECK_EQ(wait->why, MFS_WAIT_WINDOW);
    CHECK_EQ(wait->bytes_left, 50000);
    CHECK_EQ(wait->inflight_bytes, 100000);
    CHECK(wait->wait_ns >= SECOND && wait->still_ns >= SECOND && wait->peer_ns >= SECOND);
    CHECK(wait->due_ns > 0 && wait->due_ns <= 100 * SECOND);
    CHECK_EQ(wait->due_ns - wait->finish_ns, 4 * SECOND);
    CHECK_EQ(wait->p2d_left_bytes, 777);
    CHECK(!wait->given_up);
    rival_leave(&rival);
    look(path);
    CHECK_EQ(found.queue_count, 0);
    mfs_host_close(host);
    unlink(path);
}

/* The sender does not look at its queue again, so what it has told stays; but all of that has been
 * completed since. */
static void look__what_has_gone_is_not_shown(void)
{
    const char *path = set_up();
    struct mfs_host *host = host_open(path);
    const int64_t now_ns = mfs_now_ns();
    struct rival rival;

    fill(&rival, host, now_ns - SECOND);
    CHECK_EQ(rival_next(&rival, 0, now_ns), -ENOBUFS);
    rival_done(&rival, 100000, now_ns);
    look(path);
    CHECK_EQ(found.queues[0].count, 1);
    CHECK_EQ(rival_next(&rival, 0, now_ns), 0);
    rival_done(&rival, 50000, now_ns);
    look(path);
    CHECK_EQ(found.queue_count, 0);
    rival_leave(&rival);
    mfs_host_close(host);
    unlink(path);
}

static void look__whose_chunk_is_better(void)
{
    const char *path = set_up();
    struct mfs_host *host = host_open(path);
    const int64_t now_ns = mfs_now_ns();
    struct rival one, two;

    fill(&one, host, now_ns - SECOND);
    rival_join(&two, host, "nic");
    rival_waits(&two, mfs_rank_make(1, 0), 1000, now_ns);
    CHECK_EQ(rival_next(&one, 0, now_ns), -EBUSY);
    moves(&one, now_ns + SECOND);
    CHECK_EQ(rival_next(&one, 0, now_ns + SECOND), -EBUSY);
    look(path);
    CHECK_EQ(found.queue_count, 2);
    CHECK_EQ(found.queues[0].waits[0].why, MFS_WAIT_OTHERS);
    CHECK_EQ(host_found.processes[found.queues[0].better_process].pid, getpid());
    CHECK_EQ(found.queues[0].better_level, 1);
    CHECK_EQ(found.queues[1].better_process, MFS_LOOK_NOBODY);
    rival_leave(&one);
    rival_leave(&two);
    mfs_host_close(host);
    unlink(path);
}

/* --- a process that is stopped, and one that is dead --- */

static void wait_in_vain(const char *path)
{
    struct mfs_facts facts = some_facts();

    child_host = host_open(path);
    CHECK_EQ(mfs_request_put(child_host, 1, "cmpl-18", &facts), 0);
    fill(&child_rival, child_host, mfs_now_ns() - SECOND);
    CHECK_EQ(rival_next(&child_rival, 0, mfs_now_ns()), -ENOBUFS);
    /* stopped with the lock in its hand */
    CHECK_EQ(mfs_segment_lock(child_host), 0);
}

static void look__a_process_that_is_stopped_or_dead(void)
{
    const char *path = set_up();
    struct mfs_host *host = host_open(path);
    pid_t child = child_start(wait_in_vain, path);
    struct rival rival;

    CHECK_EQ(kill(child, SIGSTOP), 0);
    look(path);
    CHECK_EQ(found.queue_count, 1);
    CHECK_EQ(host_found.processes[found.queues[0].process].pid, child);
    CHECK(strcmp(found.queues[0].waits[0].request, "cmpl-18") == 0);
    child_kill(child);
    look(path);
    CHECK_EQ(found.queue_count, 0);
    /* and its table serves the next */
    rival_join(&rival, host, "nic2");
    mfs_process_reap(host);
    for (uint32_t i = 0, used = 0; i < MFS_WAIT_TABLES; i++) {
        used += host->segment->waits[i].owner != 0;
        CHECK(used <= 1);
    }
    rival_leave(&rival);
    mfs_host_close(host);
    unlink(path);
}

static void look__whatever_the_words_are(void)
{
    const char *path = set_up();
    struct mfs_host *host = host_open(path);
    const size_t from = offsetof(struct mfs_segment, writer);
    uint64_t random = 42;

    for (int round = 0; round < 5; round++) {
        unsigned char *bytes = (unsigned char *)host->segment;

        for (size_t at = from; at < sizeof(*host->segment); at++)
            bytes[at] = round == 0 ? 0xff : (unsigned char)test_random(&random);
        for (uint32_t i = 0; round > 0 && i < MFS_WAIT_TABLES; i++) { /* of this process's */
            host->segment->waits[i].owner = host->process + 1;
            host->segment->waits[i].port = i % MFS_PORTS_MAX;
            host->segment->waits[i].sender = i / MFS_PORTS_MAX;
            host->segment->waits[i].sequence &= ~1u;
            host->segment->ports[i % MFS_PORTS_MAX].direction = 0;
            host->segment->ports[i % MFS_PORTS_MAX].senders[i / MFS_PORTS_MAX].owner =
                host->process + 1;
        }
        look(path);
        CHECK(found.queue_count <= MFS_LOOK_QUEUES_MAX);
        for (uint32_t i = 0; i < found.queue_count; i++) {
            CHECK(found.queues[i].count <= MFS_LOOK_WAITS_MAX);
            CHECK(found.queues[i].age_ns >= 0);
            CHECK(found.queues[i].process < host_found.process_count);
            for (uint32_t k = 0; k < found.queues[i].count; k++) {
                const struct mfs_look_wait *wait = &found.queues[i].waits[k];

                CHECK(wait->why < MFS_WAITS_LAST && wait->stage <= MFS_STAGE_P2D);
                CHECK(memchr(wait->peer, 0, sizeof(wait->peer)));
                CHECK(memchr(wait->request, 0, sizeof(wait->request)));
            }
        }
    }
    unlink(path);
}

/* --- the log --- */

static struct mfs_host *log_host;

/* Looks of a sender that has sent something of it after `moved_s`; 0: never. */
static void look_for_10_s(int moved_s)
{
    const int64_t start_ns = mfs_now_ns();
    struct rival rival;

    fill(&rival, log_host, start_ns);
    for (int i = 1; i <= 100; i++) {
        const int64_t now_ns = start_ns + i * SECOND / 10;

        if (moved_s > 0 && i == 10 * moved_s) {
            rival_done(&rival, 2000, now_ns);
            CHECK_EQ(rival_next(&rival, 1000, now_ns), 0);
            rival_done(&rival, 1000, now_ns);
            CHECK_EQ(rival_next(&rival, 1000, now_ns), 0);
        }
        moves(&rival, now_ns);
        CHECK_EQ(rival_next(&rival, 0, now_ns), -ENOBUFS);
    }
    rival_leave(&rival);
}

/* Four flows wait beside the first, and from second 5 on another. */
static void look_with_others(void)
{
    const int64_t start_ns = mfs_now_ns();
    struct mfs_op ops[5] = {{0}};
    struct rival rival;

    fill(&rival, log_host, start_ns);
    for (int i = 1; i <= 100; i++) {
        const int64_t now_ns = start_ns + i * SECOND / 10;
        const int count = i == 1 ? 4 : i == 50 ? 1 : 0, from = i == 50 ? 4 : 0;

        for (int at = from; at < from + count; at++) {
            const struct mfs_tag tag = rival_tag(mfs_rank_make(2, 10 + at), MFS_TAGGED);

            ops[at].length = 1000;
            CHECK_EQ(mfs_sender_push(rival.sender, &ops[at], &rival.to, &tag, now_ns), 0);
        }
        moves(&rival, now_ns);
        CHECK_EQ(rival_next(&rival, 0, now_ns), -ENOBUFS);
    }
    for (int at = 0; at < 5; at++)
        rival_drop(&rival, &ops[at], start_ns + 11 * SECOND);
    rival_leave(&rival);
}

static void look_in_vain(void)
{
    look_for_10_s(0);
}

static void look_with_a_chunk_in_between(void)
{
    look_for_10_s(9);
}

static unsigned lines(const char *text)
{
    unsigned count = 0;

    for (; *text; text++)
        count += *text == '\n';
    return count;
}

/* MFS_HOLD_MAX is 8 s, so the limit is 2 s. */
static void tell__what_has_not_moved_is_said_once(void)
{
    struct mfs_facts facts = some_facts();
    const char *said;

    (void)set_up();
    log_host = host_private();
    CHECK_EQ(mfs_request_put(log_host, 1, "cmpl-19", &facts), 0);
    said = stderr_of(look_in_vain);
    CHECK_EQ(lines(said), 1);
    CHECK(strstr(said, "nothing of request cmpl-19, stage collective, layer 5 to decode?7 has been"
                       " sent since 2.") != NULL);
    CHECK(strstr(said, "50000 bytes wait for room in the port's window") != NULL);
    said = stderr_of(look_with_a_chunk_in_between);
    CHECK_EQ(lines(said), 1);
    mfs_host_close(log_host);
}

/* A line a limit at most, and only where another is due since. */
static void tell__the_oldest_and_how_many_beside_it(void)
{
    const char *said;

    (void)set_up();
    log_host = host_private();
    said = stderr_of(look_with_others);
    CHECK_EQ(lines(said), 2);
    CHECK(strstr(said, "layer 5 to decode?7 has been sent since 2.") != NULL);
    CHECK(strstr(said, "room in the port's window, and so do 4 others; `mfs dump`") != NULL);
    CHECK(strstr(said, "layer 5 to decode?7 has been sent since 7.") != NULL);
    CHECK(strstr(said, "room in the port's window, and so do 5 others; `mfs dump`") != NULL);
    mfs_host_close(log_host);
}

static const struct test tests[] = {
    TEST(look__a_flow_with_all_that_is_known),   TEST(look__what_has_gone_is_not_shown),
    TEST(look__whose_chunk_is_better),           TEST(look__a_process_that_is_stopped_or_dead),
    TEST(tell__what_has_not_moved_is_said_once), TEST(tell__the_oldest_and_how_many_beside_it),
    TEST(look__whatever_the_words_are),
};

TEST_MAIN(tests)
