/* SPDX-License-Identifier: Apache-2.0 */
/* Senders of one port of a host, in one process and in several. */
#include "host/sender.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "host.h"
#include "rival.h"

#define MS INT64_C(1000000)
#define KB UINT64_C(1000)

/* A port with a window of 100,000 bytes, and two senders on it. */
static struct mfs_host *host;
static struct mfs_port *port;
static struct rival one, two;
static int64_t start_ns;

static void set_up(void)
{
    setenv("MFS_WINDOW", "100000", 0);
    setenv("MFS_LEASE", "20ms", 0);
    host = host_private();
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    rival_join(&one, host, "nic");
    rival_join(&two, host, "nic");
    start_ns = mfs_now_ns();
}

static void tear_down(void)
{
    rival_leave(&one);
    rival_leave(&two);
    mfs_port_close(port);
    mfs_host_close(host);
}

/* --- order and window --- */

static void join__as_many_as_there_are(void)
{
    struct mfs_sender *senders[MFS_SENDERS_MAX - 2], *last;

    set_up();
    for (size_t i = 0; i < COUNT(senders); i++)
        CHECK_EQ_AT(mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &senders[i]), 0, i);
    CHECK_EQ(mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &last), -ENOSPC);
    mfs_sender_leave(senders[50]);
    CHECK_EQ(mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &senders[50]), 0);
    for (size_t i = 0; i < COUNT(senders); i++)
        mfs_sender_leave(senders[i]);
    CHECK_EQ(mfs_sender_join(host, "", MFS_EGRESS, NULL, &last), -EINVAL);
    mfs_sender_leave(NULL);
    tear_down();
}

static void join__that_fails_holds_no_port(void)
{
    const char *path = segment_path();
    struct mfs_host *mine = host_open(path), *theirs = host_open(path);
    struct mfs_sender *senders[MFS_SENDERS_MAX], *last;
    struct mfs_port *ports[MFS_PORTS_MAX];

    for (size_t i = 0; i < COUNT(senders); i++)
        CHECK_EQ_AT(mfs_sender_join(theirs, "nic", MFS_EGRESS, NULL, &senders[i]), 0, i);
    CHECK_EQ(mfs_sender_join(mine, "nic", MFS_EGRESS, NULL, &last), -ENOSPC);
    for (size_t i = 0; i < COUNT(senders); i++)
        mfs_sender_leave(senders[i]);
    for (size_t i = 0; i < COUNT(ports); i++) {
        char name[16];

        snprintf(name, sizeof(name), "nic%zu", i);
        CHECK_EQ_AT(mfs_port_open(mine, name, MFS_EGRESS, &ports[i]), 0, i);
    }
    for (size_t i = 0; i < COUNT(ports); i++)
        mfs_port_close(ports[i]);
    mfs_host_close(theirs);
    mfs_host_close(mine);
    unlink(path);
}

static void next__window_is_shared(void)
{
    set_up();
    CHECK_EQ(mfs_port_window(port), 100000);
    CHECK_EQ(rival_take(&one, 5, 60 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&two, 5, 60 * KB, start_ns), -ENOBUFS);
    CHECK_EQ(rival_take(&two, 5, 40 * KB, start_ns), 0);
    CHECK_EQ(mfs_port_inflight(port, start_ns), 100 * KB);
    rival_done(&one, 60 * KB, start_ns);
    CHECK_EQ(rival_take(&two, 5, 60 * KB, start_ns), 0);
    rival_done(&two, 100 * KB, start_ns);
    CHECK_EQ(mfs_port_inflight(port, start_ns), 0);
    rival_done(&two, 100 * KB, start_ns); /* never below nothing */
    CHECK_EQ(mfs_port_inflight(port, start_ns), 0);
    /* a chunk larger than the window goes alone */
    CHECK_EQ(rival_take(&two, 5, 200 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&one, 5, 128, start_ns), -ENOBUFS);
    tear_down();
}

static void next__better_of_another_goes_first(void)
{
    set_up();
    rival_waits(&two, 3, KB, start_ns);
    CHECK_EQ(rival_take(&one, 4, KB, start_ns), -EBUSY);
    CHECK_EQ(rival_take(&one, 3, KB, start_ns), 0); /* as good */
    rival_waits(&one, 2, 2 * KB, start_ns);
    CHECK_EQ(rival_next(&one, KB, start_ns), 0);
    CHECK_EQ(rival_next(&two, KB, start_ns), -EBUSY); /* the rest of it still waits */
    rival_rest(&one, start_ns);
    CHECK_EQ(rival_next(&two, KB, start_ns), 0);
    tear_down();
}

/* Its last chunk is on its way: nobody waits for what is over. */
static void next__nothing_is_left(void)
{
    set_up();
    rival_waits(&one, 2, KB, start_ns);
    CHECK_EQ(rival_take(&two, 3, KB, start_ns), -EBUSY);
    CHECK_EQ(rival_next(&one, KB, start_ns), 0);
    CHECK_EQ(rival_take(&two, 3, KB, start_ns), 0);
    tear_down();
}

static void next__lease_runs_out(void)
{
    set_up();
    CHECK_EQ(rival_take(&two, 3, 90 * KB, start_ns), 0);
    rival_waits(&two, 3, KB, start_ns);
    CHECK_EQ(rival_take(&one, 4, KB, start_ns + 20 * MS), -EBUSY);
    CHECK_EQ(rival_take(&one, 2, 20 * KB, start_ns + 20 * MS), -ENOBUFS);
    /* it has not moved for the lease: neither its wish nor its bytes count */
    CHECK_EQ(rival_take(&one, 4, 100 * KB, start_ns + 20 * MS + 1), 0);
    rival_done(&one, 100 * KB, start_ns + 20 * MS + 1);
    /* and when it moves again they do */
    mfs_sender_publish(two.sender, start_ns + 30 * MS);
    CHECK_EQ(rival_take(&one, 4, KB, start_ns + 30 * MS), -EBUSY);
    CHECK_EQ(mfs_port_inflight(port, start_ns + 30 * MS), 90 * KB);
    tear_down();
}

static void leave__gives_all_back(void)
{
    struct rival third;

    set_up();
    rival_join(&third, host, "nic");
    CHECK_EQ(rival_take(&third, 1, 100 * KB, start_ns), 0);
    rival_waits(&third, 1, KB, start_ns);
    CHECK_EQ(rival_take(&one, 4, KB, start_ns), -EBUSY);
    rival_leave(&third);
    CHECK_EQ(rival_take(&one, 4, KB, start_ns), 0);
    tear_down();
}

/* A destination that is closed takes its bytes out of the window at once. */
static void close__gives_its_bytes_back(void)
{
    set_up();
    CHECK_EQ(rival_take(&two, 1, 100 * KB, start_ns), 0);
    CHECK_EQ(rival_take(&one, 4, KB, start_ns), -ENOBUFS);
    mfs_sender_close(two.sender, &two.to);
    CHECK_EQ(mfs_port_inflight(port, start_ns), 0);
    CHECK_EQ(rival_take(&one, 4, KB, start_ns), 0);
    CHECK_EQ(mfs_sender_open(two.sender, &two.to, &two), 0);
    tear_down();
}

/* It is seen from outside, and no longer than there is one. */
static void port__says_how_many_are_stalled(void)
{
    set_up();
    CHECK_EQ(mfs_port_stalled(port), 0);
    for (int i = 0; i < 2; i++) {
        struct rival *rival = i ? &two : &one;

        CHECK_EQ(rival_take(rival, 3, KB, start_ns), 0);
        for (int64_t now_ns = start_ns; now_ns < start_ns + 30 * MS; now_ns += MS)
            CHECK_EQ(rival_next(rival, KB, now_ns), -EAGAIN);
        CHECK_EQ(mfs_port_stalled(port), i + 1);
    }
    rival_done(&one, KB, start_ns + 30 * MS);
    CHECK_EQ(mfs_port_stalled(port), 1);
    rival_end(&two);
    CHECK_EQ(mfs_port_stalled(port), 0);
    port->cell->senders[1].stalled = 5; /* as one that dies would leave it */
    mfs_sender_leave(two.sender);
    CHECK_EQ(mfs_port_stalled(port), 0);
    rival_join(&two, host, "nic");
    tear_down();
}

/* --- the share of untagged traffic --- */

static void untagged__a_due_chunk_is_yielded_to(void)
{
    const uint64_t chunk = 1024, much = 1 << 20;

    setenv("MFS_UNTAGGED_SHARE", "500", 1);
    set_up();
    rival_waits_of(&two, MFS_UNTAGGED, 9, much, start_ns);
    CHECK_EQ(rival_next(&two, 2 * chunk, start_ns), 0);
    rival_done(&two, 2 * chunk, start_ns);
    rival_waits(&one, 5, much, start_ns);
    CHECK_EQ(rival_next(&one, chunk, start_ns), 0);
    CHECK_EQ(rival_next(&two, 2 * chunk, start_ns), -EBUSY); /* half of it */
    CHECK_EQ(rival_next(&one, chunk, start_ns), 0);
    rival_done(&one, 2 * chunk, start_ns);
    CHECK_EQ(rival_next(&one, chunk, start_ns), -EBUSY);
    rival_waits_of(&one, MFS_UNTAGGED, 10, chunk, start_ns);
    CHECK_EQ(rival_next(&one, chunk, start_ns), -EBUSY); /* and by age */
    rival_waits_of(&one, MFS_UNTAGGED, 0, 0, start_ns);
    /* not for longer than the lease */
    CHECK_EQ(rival_next(&one, chunk, start_ns + 20 * MS + 1), 0);
    rival_done(&one, chunk, start_ns + 20 * MS + 1);
    /* what it was owed is kept */
    CHECK_EQ(rival_next(&two, 2 * chunk, start_ns + 21 * MS), 0);
    CHECK_EQ(two.chunk.length, 2 * chunk);
    CHECK_EQ(rival_next(&two, 2 * chunk, start_ns + 21 * MS), -EBUSY);
    CHECK_EQ(port->cell->state.untagged_credit, 0);
    tear_down();
}

static void untagged__without_a_share_only_rank_counts(void)
{
    setenv("MFS_UNTAGGED_SHARE", "0", 1);
    set_up();
    rival_waits_of(&two, MFS_UNTAGGED, 9, 1 << 20, start_ns);
    rival_waits(&one, 5, 1 << 30, start_ns);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(rival_next(&one, 1024, start_ns), 0);
        CHECK_EQ(rival_next(&two, 1024, start_ns), -EBUSY);
        rival_done(&one, 1024, start_ns);
    }
    tear_down();
}

/* What two processes have sent. */
struct tally {
    _Atomic uint64_t tagged, untagged;
    _Atomic uint32_t ready, ended;
};

static struct tally *tally;

#define CHUNK (78 * UINT64_C(128))
#define ALL_DAY (UINT64_C(1) << 50)

/* The bytes of a chunk that it was let send, and is done with; 0: none. */
static uint64_t send_one(struct rival *rival)
{
    const int error = rival_next(rival, CHUNK, mfs_now_ns());

    CHECK(error == 0 || error == -EBUSY || error == -ENOBUFS);
    if (error)
        return 0;
    rival_done(rival, rival->chunk.length, mfs_now_ns());
    return rival->chunk.length;
}

static void flood(const char *path)
{
    struct mfs_host *mine = host_open(path);
    static struct rival rival;

    rival_join(&rival, mine, "nic");
    rival_waits(&rival, 5, ALL_DAY, mfs_now_ns());
    while (!atomic_load(&tally->ended)) {
        const uint64_t bytes = send_one(&rival);

        atomic_fetch_add(&tally->tagged, bytes);
        if (bytes > 0)
            atomic_store(&tally->ready, 1);
    }
    rival_leave(&rival);
    mfs_host_close(mine);
}

/* One process floods the port with better ranks; another has untagged traffic only. */
static void untagged__keeps_its_share_between_processes(void)
{
    const char *path = segment_path();
    const uint64_t share = 100, chunks = 200;
    struct mfs_host *mine;
    struct rival rival;
    uint64_t before;
    pid_t child;
    int status;

    setenv("MFS_UNTAGGED_SHARE", "100", 1);
    setenv("MFS_WINDOW", "100000", 1);
    setenv("MFS_LEASE", "100s", 1); /* a machine that does other things changes nothing */
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(tally != MAP_FAILED);
    mine = host_open(path);
    rival_join(&rival, mine, "nic");
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        flood(path);
        _exit(0);
    }
    while (!atomic_load(&tally->ready))
        usleep(1000);
    rival_waits_of(&rival, MFS_UNTAGGED, 1000, ALL_DAY, mfs_now_ns());
    before = UINT64_MAX;
    while (atomic_load(&tally->untagged) < chunks * CHUNK) {
        const uint64_t sent = send_one(&rival);

        if (before == UINT64_MAX) /* from here on it is known that untagged traffic waits */
            before = atomic_load(&tally->tagged);
        atomic_fetch_add(&tally->untagged, sent);
        /* as stated, for the chunk that is next, and a chunk of each sender */
        CHECK((atomic_load(&tally->tagged) - before + atomic_load(&tally->untagged)) * share <=
              (atomic_load(&tally->untagged) + CHUNK) * 1000 + 3 * CHUNK * share);
        if (sent == 0)
            sched_yield();
    }
    /* nor has it had more */
    CHECK(chunks * CHUNK * 1000 <=
          (atomic_load(&tally->tagged) + chunks * CHUNK) * share + 3 * CHUNK * 1000);
    atomic_store(&tally->ended, 1);
    rival_leave(&rival);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    mfs_host_close(mine);
    unlink(path);
}

/* --- the dead --- */

static void want_much(const char *path)
{
    struct mfs_host *mine = host_open(path);
    static struct rival rival;

    setenv("MFS_WINDOW", "100000", 1);
    rival_join(&rival, mine, "nic");
    CHECK_EQ(rival_take(&rival, 0, 100 * KB, mfs_now_ns()), 0);
    rival_waits(&rival, 0, KB, mfs_now_ns());
}

static void next__the_dead_are_reaped(void)
{
    const char *path = segment_path();
    struct mfs_host *mine;
    struct rival rival;
    pid_t child;
    int64_t now_ns;

    setenv("MFS_WINDOW", "100000", 1);
    mine = host_open(path);
    CHECK_EQ(mfs_port_open(mine, "nic", MFS_EGRESS, &port), 0);
    rival_join(&rival, mine, "nic");
    child = child_start(want_much, path);
    now_ns = mfs_now_ns();
    CHECK_EQ(rival_take(&rival, 4, KB, now_ns), -EBUSY);
    child_kill(child);
    now_ns += 1001 * INT64_C(1000000000); /* its lease has run out */
    CHECK_EQ(rival_take(&rival, 4, KB, now_ns), 0);
    CHECK_EQ(port->cell->senders[1].owner, 0);
    CHECK_EQ(mfs_port_inflight(port, now_ns), KB);
    rival_leave(&rival);
    mfs_port_close(port);
    mfs_host_close(mine);
    unlink(path);
}

static void join_all(const char *path)
{
    struct mfs_host *mine = host_open(path);
    struct mfs_sender *sender;
    unsigned joined = 0;

    while (mfs_sender_join(mine, "nic", MFS_EGRESS, NULL, &sender) == 0)
        joined++;
    CHECK_EQ(joined, MFS_SENDERS_MAX);
}

static void join__takes_the_place_of_the_dead(void)
{
    const char *path = segment_path();
    struct mfs_host *mine = host_open(path);
    struct mfs_sender *sender;
    pid_t child = child_start(join_all, path);

    CHECK_EQ(mfs_sender_join(mine, "nic", MFS_EGRESS, NULL, &sender), -ENOSPC);
    child_kill(child);
    CHECK_EQ(mfs_sender_join(mine, "nic", MFS_EGRESS, NULL, &sender), 0);
    mfs_sender_leave(sender);
    mfs_host_close(mine);
    unlink(path);
}

/* Any process may have written anything: it holds nobody up, and sums have an end. */
static void next__what_a_cell_says_is_not_trusted(void)
{
    struct mfs_sender_cell *phantoms;

    set_up();
    phantoms = &port->cell->senders[MFS_SENDERS_MAX - 3];
    port->cell->senders_high = UINT32_MAX;
    for (int i = 0; i < 3; i++) {
        phantoms[i].rank = 0;
        phantoms[i].inflight_bytes = UINT64_MAX / 2 + 1;
        phantoms[i].stamp_ns = i == 0 ? INT64_MAX : i == 1 ? INT64_MIN : start_ns + 21 * MS;
        phantoms[i].owner = UINT32_MAX - (uint32_t)i;
    }
    CHECK_EQ(rival_take(&one, 4, KB, start_ns), 0);
    rival_done(&one, KB, start_ns);
    for (int i = 0; i < 3; i++) {
        phantoms[i].owner = host->process + 1;
        phantoms[i].rank = 9;
        phantoms[i].inflight_bytes = UINT64_MAX / 2 + 1;
        phantoms[i].stamp_ns = start_ns;
    }
    CHECK_EQ(rival_take(&one, 4, KB, start_ns), -ENOBUFS); /* not: the sum is nothing */
    CHECK(mfs_port_inflight(port, start_ns) < UINT64_C(1) << 60);
    tear_down();
}

/* What says where a sender is to be found is put right when it looks: the order is back. */
static void next__rubbish_costs_the_order_for_one_look(void)
{
    static const int rubbish[] = {0, 0xff, 0xa5};

    for (size_t i = 0; i < COUNT(rubbish); i++) {
        set_up();
        rival_waits(&one, 2, KB, start_ns);
        memset(port->cell->senders, rubbish[i], sizeof(port->cell->senders));
        port->cell->senders_high = rubbish[i] ? UINT32_MAX : 0;
        mfs_senders_reap(host->segment, &(struct mfs_living){{1}}); /* none is a slot's number */
        start_ns += 21 * MS;
        CHECK_EQ_AT(rival_take(&two, 3, KB, start_ns), 0, i); /* nobody is seen */
        rival_done(&two, KB, start_ns);
        CHECK_EQ_AT(mfs_port_inflight(port, start_ns), 0, i);
        CHECK_EQ_AT(rival_take(&one, 1, 60 * KB, start_ns), 0, i); /* it has looked */
        CHECK_EQ_AT(rival_take(&two, 3, KB, start_ns), -EBUSY, i);
        CHECK_EQ_AT(rival_take(&two, 1, 60 * KB, start_ns), -ENOBUFS, i);
        tear_down();
    }
}

/* What a cell has completed stays: a sample that began before counts on it. */
static void join__completed_bytes_are_kept(void)
{
    struct rival third;

    set_up();
    rival_join(&third, host, "nic");
    CHECK_EQ(rival_take(&third, 1, KB, start_ns), 0);
    rival_done(&third, KB, start_ns);
    rival_leave(&third);
    CHECK_EQ(port->cell->senders[2].done_bytes, KB);
    rival_join(&third, host, "nic");
    CHECK_EQ(rival_take(&third, 1, KB, start_ns), 0);
    rival_done(&third, KB, start_ns);
    CHECK_EQ(port->cell->senders[2].done_bytes, 2 * KB);
    rival_leave(&third);
    tear_down();
}

/* --- at once --- */

static void *send_many(void *seed)
{
    uint64_t state = *(const uint64_t *)seed;
    int64_t now_ns = start_ns;
    struct rival rival;
    int sent = 0;

    rival_join(&rival, host, "nic");
    while (sent < 500) {
        const mfs_rank_t rank = test_random(&state) % 4;

        now_ns += 1000;
        if (rival_take(&rival, rank, 10 * KB, now_ns) == 0) {
            rival_done(&rival, 10 * KB, now_ns);
            sent++;
        }
    }
    rival_leave(&rival);
    return NULL;
}

static void next__from_many_threads(void)
{
    static uint64_t seeds[4] = {1, 2, 3, 4};
    pthread_t threads[4];

    set_up();
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, send_many, &seeds[i]), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(mfs_port_inflight(port, start_ns), 0);
    tear_down();
}

static const struct test tests[] = {
    TEST(next__from_many_threads),
    TEST(join__as_many_as_there_are),
    TEST(join__that_fails_holds_no_port),
    TEST(next__window_is_shared),
    TEST(next__better_of_another_goes_first),
    TEST(next__nothing_is_left),
    TEST(next__lease_runs_out),
    TEST(leave__gives_all_back),
    TEST(close__gives_its_bytes_back),
    TEST(port__says_how_many_are_stalled),
    TEST(untagged__a_due_chunk_is_yielded_to),
    TEST(untagged__without_a_share_only_rank_counts),
    TEST(untagged__keeps_its_share_between_processes),
    TEST(next__the_dead_are_reaped),
    TEST(join__takes_the_place_of_the_dead),
    TEST(next__what_a_cell_says_is_not_trusted),
    TEST(next__rubbish_costs_the_order_for_one_look),
    TEST(join__completed_bytes_are_kept),
};

TEST_MAIN(tests)
