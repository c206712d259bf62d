/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "host.h"
#include "host/link.h"

#define MS INT64_C(1000000)
#define MB UINT64_C(1000000)
#define KB UINT64_C(1000)

/* A port with a window of 100,000 bytes, and two members of it. */
static struct mfs_host *host;
static struct mfs_port *port;
static struct mfs_member *one, *two;
static int64_t start_ns;

static void set_up(void)
{
    setenv("MFS_WINDOW", "100000", 0);
    setenv("MFS_LEASE", "20ms", 0);
    host = host_private();
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_join(host, port, &one), 0);
    CHECK_EQ(mfs_port_join(host, port, &two), 0);
    start_ns = mfs_now_ns();
}

static void tear_down(void)
{
    mfs_port_leave(one);
    mfs_port_leave(two);
    mfs_port_close(port);
    mfs_host_close(host);
}

static void join__as_many_as_there_are(void)
{
    struct mfs_member *members[MFS_MEMBERS_MAX - 2], *last;

    set_up();
    for (size_t i = 0; i < COUNT(members); i++)
        CHECK_EQ_AT(mfs_port_join(host, port, &members[i]), 0, i);
    CHECK_EQ(mfs_port_join(host, port, &last), -ENOSPC);
    mfs_port_leave(members[50]);
    CHECK_EQ(mfs_port_join(host, port, &members[50]), 0);
    for (size_t i = 0; i < COUNT(members); i++)
        mfs_port_leave(members[i]);
    tear_down();
}

static void acquire__window_is_shared(void)
{
    set_up();
    CHECK_EQ(mfs_port_window(port), 100000);
    CHECK_EQ(mfs_member_acquire(one, 5, 60 * KB, start_ns), 0);
    CHECK_EQ(mfs_member_acquire(two, 5, 60 * KB, start_ns), -ENOBUFS);
    CHECK_EQ(mfs_member_acquire(two, 5, 40 * KB, start_ns), 0);
    CHECK_EQ(mfs_port_inflight(port, start_ns), 100 * KB);
    mfs_member_done(one, 60 * KB, start_ns);
    CHECK_EQ(mfs_member_acquire(two, 5, 60 * KB, start_ns), 0);
    mfs_member_done(two, 100 * KB, start_ns);
    CHECK_EQ(mfs_port_inflight(port, start_ns), 0);
    mfs_member_done(two, 100 * KB, start_ns); /* never below nothing */
    CHECK_EQ(mfs_port_inflight(port, start_ns), 0);
    /* a chunk larger than the window goes alone */
    CHECK_EQ(mfs_member_acquire(two, 5, 200 * KB, start_ns), 0);
    CHECK_EQ(mfs_member_acquire(one, 5, 128, start_ns), -ENOBUFS);
    tear_down();
}

static void acquire__better_of_another_goes_first(void)
{
    set_up();
    mfs_member_publish(two, 3, start_ns);
    CHECK_EQ(mfs_member_acquire(one, 4, KB, start_ns), -EBUSY);
    CHECK_EQ(mfs_member_acquire(one, 3, KB, start_ns), 0); /* as good */
    CHECK_EQ(mfs_member_acquire(one, 2, KB, start_ns), 0);
    CHECK_EQ(mfs_member_acquire(two, 3, KB, start_ns), -EBUSY); /* 2 is still said to wait */
    mfs_member_publish(one, MFS_RANK_NONE, start_ns);
    CHECK_EQ(mfs_member_acquire(two, 3, KB, start_ns), 0);
    tear_down();
}

static void acquire__lease_runs_out(void)
{
    set_up();
    CHECK_EQ(mfs_member_acquire(two, 3, 90 * KB, start_ns), 0);
    CHECK_EQ(mfs_member_acquire(one, 4, KB, start_ns + 20 * MS), -EBUSY);
    CHECK_EQ(mfs_member_acquire(one, 2, 20 * KB, start_ns + 20 * MS), -ENOBUFS);
    /* it has not moved for the lease: neither its wish nor its bytes count */
    CHECK_EQ(mfs_member_acquire(one, 4, 100 * KB, start_ns + 20 * MS + 1), 0);
    mfs_member_done(one, 100 * KB, start_ns + 20 * MS + 1);
    /* and when it moves again they do */
    mfs_member_publish(two, 3, start_ns + 30 * MS);
    CHECK_EQ(mfs_member_acquire(one, 4, KB, start_ns + 30 * MS), -EBUSY);
    CHECK_EQ(mfs_port_inflight(port, start_ns + 30 * MS), 90 * KB);
    tear_down();
}

static void leave__gives_all_back(void)
{
    struct mfs_member *third;

    set_up();
    CHECK_EQ(mfs_port_join(host, port, &third), 0);
    CHECK_EQ(mfs_member_acquire(third, 1, 100 * KB, start_ns), 0);
    CHECK_EQ(mfs_member_acquire(one, 4, KB, start_ns), -EBUSY);
    mfs_port_leave(third);
    CHECK_EQ(mfs_member_acquire(one, 4, KB, start_ns), 0);
    mfs_port_leave(NULL);
    tear_down();
}

/* --- the share of untagged traffic --- */

/* A queue with a chunk of tagged traffic (0 bytes: none) and one of untagged. */
static struct mfs_next both(mfs_rank_t rank, uint64_t bytes, mfs_rank_t untagged_rank,
                            uint64_t untagged_bytes)
{
    return (struct mfs_next){
        .rank = bytes ? rank : untagged_rank,
        .untagged_rank = untagged_bytes ? untagged_rank : MFS_RANK_NONE,
        .bytes = bytes ? bytes : untagged_bytes,
        .untagged_bytes = untagged_bytes,
        .untagged = bytes == 0,
    };
}

/* Try to send and be done at once: bytes sent of untagged traffic, of tagged, or -errno. */
struct sent {
    int error;
    uint64_t tagged, untagged;
};

static struct sent send_next(struct mfs_member *member, struct mfs_next next, int64_t now_ns)
{
    struct sent sent = {0};
    bool turn = false;
    uint64_t bytes = 0;

    sent.error = mfs_member_acquire_next(member, &next, now_ns, &turn, &bytes);
    if (sent.error)
        return sent;
    *(turn || next.untagged ? &sent.untagged : &sent.tagged) = bytes;
    mfs_member_done(member, bytes, now_ns);
    return sent;
}

/* One floods, two has untagged traffic only; both look in turn. */
static void untagged__keeps_its_share_of_the_port(void)
{
    static const struct {
        const char *share;
        uint64_t tagged, untagged; /* bytes of a chunk */
    } rows[] = {
        {"50", 10000, 10000}, {"50", 128, 65536}, {"50", 65536, 128},  {"500", 4096, 4096},
        {"999", 1000, 1000},  {"1", 65536, 1000}, {"250", 3000, 7000}, {"1000", 1000, 1000},
    };

    for (size_t row = 0; row < COUNT(rows); row++) {
        const uint64_t share = strtoull(rows[row].share, NULL, 10);
        uint64_t all = 0, untagged = 0;
        pid_t child = fork(); /* the configuration is read once a process */

        if (child > 0) {
            int status;

            CHECK(waitpid(child, &status, 0) == child);
            CHECK_EQ_AT(status, 0, row);
            continue;
        }
        setenv("MFS_UNTAGGED_SHARE", rows[row].share, 1);
        set_up();
        (void)send_next(two, both(0, 0, 1000, rows[row].untagged), start_ns); /* it is known */
        for (int i = 0; i < 200000 && untagged < 50 * rows[row].untagged; i++) {
            struct sent sent = send_next(one, both(5, rows[row].tagged, 0, 0), start_ns);

            CHECK_EQ_AT(sent.untagged, 0, row);
            all += sent.tagged;
            sent = send_next(two, both(0, 0, 1000, rows[row].untagged), start_ns);
            CHECK_EQ_AT(sent.tagged, 0, row);
            CHECK(sent.error == 0 || sent.error == -EBUSY);
            all += sent.untagged;
            untagged += sent.untagged;
            /* the bound as stated, of the bytes that have left and of the chunk that is next */
            CHECK(all * share <= (untagged + rows[row].untagged) * 1000 +
                                     (rows[row].tagged + rows[row].untagged) * share);
            /* and no more than the share, to within a chunk */
            if (share < 1000)
                CHECK(untagged * 1000 <= all * share + rows[row].untagged * 1000);
        }
        CHECK(untagged > 0);
        tear_down();
        exit(0);
    }
}

/* Both have both kinds, and one's tagged are always better: two's untagged leave all the same. */
static void untagged__behind_own_tagged_traffic(void)
{
    uint64_t untagged[2] = {0, 0}, tagged[2] = {0, 0};

    setenv("MFS_UNTAGGED_SHARE", "100", 1);
    set_up();
    for (uint64_t i = 0; i < 20000; i++) {
        struct mfs_member *members[2] = {one, two};

        for (uint64_t j = 0; j < 2; j++) { /* untagged by age */
            const mfs_rank_t age = 1000 + untagged[j] / KB * 2 + j;
            struct sent sent = send_next(members[j], both(5 + j, KB, age, KB), start_ns);

            untagged[j] += sent.untagged;
            tagged[j] += sent.tagged;
        }
    }
    CHECK(tagged[0] > 10000 * KB && tagged[1] == 0);
    CHECK((untagged[0] + untagged[1]) * 10 <= tagged[0] + untagged[0] + untagged[1] + 10 * KB);
    CHECK((untagged[0] + untagged[1]) * 10 + 20 * KB >= tagged[0]);
    CHECK(untagged[0] <= untagged[1] + KB && untagged[1] <= untagged[0] + KB);
    tear_down();
}

static void untagged__a_due_chunk_is_yielded_to(void)
{
    setenv("MFS_UNTAGGED_SHARE", "500", 1);
    set_up();
    CHECK_EQ(send_next(two, both(0, 0, 9, 2 * KB), start_ns).untagged, 2 * KB);
    CHECK_EQ(send_next(one, both(5, KB, 0, 0), start_ns).tagged, KB);
    CHECK_EQ(send_next(two, both(0, 0, 9, 2 * KB), start_ns).error, -EBUSY); /* half of it */
    CHECK_EQ(send_next(one, both(5, KB, 0, 0), start_ns).tagged, KB);
    CHECK_EQ(send_next(one, both(5, KB, 0, 0), start_ns).error, -EBUSY);
    CHECK_EQ(send_next(one, both(5, KB, 10, KB), start_ns).error, -EBUSY); /* and by age */
    /* not for longer than the lease */
    CHECK_EQ(send_next(one, both(5, KB, 0, 0), start_ns + 20 * MS + 1).tagged, KB);
    /* what it was owed is kept */
    CHECK_EQ(send_next(two, both(0, 0, 9, 2 * KB), start_ns + 21 * MS).untagged, 2 * KB);
    CHECK_EQ(send_next(two, both(0, 0, 9, 2 * KB), start_ns + 21 * MS).error, -EBUSY);
    CHECK_EQ(port->cell->untagged_credit, 0);
    tear_down();
}

static void untagged__nothing_changes_when_none_waits(void)
{
    struct mfs_member *members[2];
    uint64_t state = 1;

    setenv("MFS_UNTAGGED_SHARE", "500", 1);
    set_up();
    members[0] = one;
    members[1] = two;
    for (int i = 0; i < 1000; i++) {
        const mfs_rank_t ranks[2] = {test_random(&state) % 8, test_random(&state) % 8};
        const size_t turn = test_random(&state) % 2;

        mfs_member_publish(members[!turn], ranks[!turn], start_ns);
        CHECK_EQ_AT(send_next(members[turn], both(ranks[turn], KB, 0, 0), start_ns).error,
                    ranks[!turn] < ranks[turn] ? -EBUSY : 0, i);
    }
    CHECK_EQ(port->cell->untagged_credit, 0);
    tear_down();
}

static void untagged__without_a_share_only_rank_counts(void)
{
    setenv("MFS_UNTAGGED_SHARE", "0", 1);
    set_up();
    CHECK_EQ(send_next(two, both(0, 0, 9, KB), start_ns).untagged, KB);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(send_next(one, both(5, KB, 0, 0), start_ns).tagged, KB);
        CHECK_EQ(send_next(two, both(0, 0, 9, KB), start_ns).error, -EBUSY);
    }
    tear_down();
}

/* What two processes have sent. */
struct tally {
    _Atomic uint64_t tagged, untagged;
    _Atomic uint32_t ready, ended;
};

static struct tally *tally;

static void flood(const char *path)
{
    struct mfs_host *mine = host_open(path);
    struct mfs_member *member;
    struct mfs_port *its_port;

    if (mfs_port_open(mine, "nic", MFS_EGRESS, &its_port) != 0 ||
        mfs_port_join(mine, its_port, &member) != 0)
        _exit(1);
    while (!atomic_load(&tally->ended)) {
        uint64_t bytes = send_next(member, both(5, 10 * KB, 0, 0), mfs_now_ns()).tagged;

        atomic_fetch_add(&tally->tagged, bytes);
        if (bytes > 0)
            atomic_store(&tally->ready, 1);
    }
    mfs_port_leave(member);
    mfs_port_close(its_port);
    mfs_host_close(mine);
}

/* One process floods the port with better ranks; another has untagged traffic only. */
static void untagged__keeps_its_share_between_processes(void)
{
    const char *path = segment_path();
    const uint64_t chunk = 10 * KB, share = 100, chunks = 200;
    struct mfs_member *member;
    struct mfs_host *mine;
    uint64_t before;
    pid_t child;
    int status;

    setenv("MFS_UNTAGGED_SHARE", "100", 1);
    setenv("MFS_WINDOW", "100000", 1);
    setenv("MFS_LEASE", "100s", 1); /* a machine that does other things changes nothing */
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(tally != MAP_FAILED);
    mine = host_open(path);
    CHECK_EQ(mfs_port_open(mine, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_join(mine, port, &member), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        flood(path);
        _exit(0);
    }
    while (!atomic_load(&tally->ready))
        usleep(1000);
    before = UINT64_MAX;
    while (atomic_load(&tally->untagged) < chunks * chunk) {
        struct sent sent = send_next(member, both(0, 0, 1000, chunk), mfs_now_ns());

        CHECK(sent.error == 0 || sent.error == -EBUSY);
        if (before == UINT64_MAX) /* from here on it is known that untagged traffic waits */
            before = atomic_load(&tally->tagged);
        atomic_fetch_add(&tally->untagged, sent.untagged);
        /* as stated, for the chunk that is next, and a chunk of each member */
        CHECK((atomic_load(&tally->tagged) - before + atomic_load(&tally->untagged)) * share <=
              (atomic_load(&tally->untagged) + chunk) * 1000 + 3 * chunk * share);
        if (sent.untagged == 0)
            sched_yield();
    }
    /* nor has it had more */
    CHECK(chunks * chunk * 1000 <=
          (atomic_load(&tally->tagged) + chunks * chunk) * share + 3 * chunk * 1000);
    atomic_store(&tally->ended, 1);
    mfs_port_leave(member);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    mfs_port_close(port);
    mfs_host_close(mine);
    unlink(path);
}

/* --- the dead --- */

static void want_much(const char *path)
{
    struct mfs_host *mine = host_open(path);
    struct mfs_port *its_port;
    struct mfs_member *member;

    setenv("MFS_WINDOW", "100000", 1);
    if (mfs_port_open(mine, "nic", MFS_EGRESS, &its_port) != 0 ||
        mfs_port_join(mine, its_port, &member) != 0 ||
        mfs_member_acquire(member, 0, 100 * KB, mfs_now_ns()) != 0)
        _exit(1);
}

static void acquire__the_dead_are_reaped(void)
{
    const char *path = segment_path();
    struct mfs_member *member;
    struct mfs_host *mine;
    pid_t child;
    int64_t now_ns;

    setenv("MFS_WINDOW", "100000", 1);
    mine = host_open(path);
    CHECK_EQ(mfs_port_open(mine, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_join(mine, port, &member), 0);
    child = child_start(want_much, path);
    now_ns = mfs_now_ns();
    CHECK_EQ(mfs_member_acquire(member, 4, KB, now_ns), -EBUSY);
    child_kill(child);
    now_ns += 1001 * INT64_C(1000000000); /* its lease has run out */
    CHECK_EQ(mfs_member_acquire(member, 4, KB, now_ns), 0);
    CHECK_EQ(port->cell->members[1].owner, 0);
    CHECK_EQ(mfs_port_inflight(port, 0), KB);
    mfs_port_leave(member);
    mfs_port_close(port);
    mfs_host_close(mine);
    unlink(path);
}

static void join_all(const char *path)
{
    struct mfs_host *mine = host_open(path);
    struct mfs_port *its_port;
    struct mfs_member *member;

    if (mfs_port_open(mine, "nic", MFS_EGRESS, &its_port) != 0)
        _exit(1);
    while (mfs_port_join(mine, its_port, &member) == 0)
        ;
}

static void join__takes_the_place_of_the_dead(void)
{
    const char *path = segment_path();
    struct mfs_host *mine = host_open(path);
    struct mfs_member *member;
    pid_t child = child_start(join_all, path);

    CHECK_EQ(mfs_port_open(mine, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_join(mine, port, &member), -ENOSPC);
    child_kill(child);
    CHECK_EQ(mfs_port_join(mine, port, &member), 0);
    mfs_port_leave(member);
    mfs_port_close(port);
    mfs_host_close(mine);
    unlink(path);
}

/* --- rate --- */

/* One member that keeps the window full on a port of rate_Bps, for span_ns. */
static void keep_busy(uint64_t rate_Bps, int64_t span_ns)
{
    const uint64_t chunk = 50 * KB;
    int64_t now_ns = start_ns;

    CHECK_EQ(mfs_member_acquire(one, 0, chunk, now_ns), 0);
    CHECK_EQ(mfs_member_acquire(one, 0, chunk, now_ns), 0);
    while (now_ns < start_ns + span_ns) {
        CHECK_EQ(mfs_member_acquire(one, 0, chunk, now_ns), -ENOBUFS);
        now_ns += (int64_t)(chunk * 1000000000 / rate_Bps);
        mfs_member_done(one, chunk, now_ns);
        CHECK_EQ(mfs_member_acquire(one, 0, chunk, now_ns), 0);
    }
    mfs_member_publish(one, MFS_RANK_NONE, now_ns);
    mfs_member_done(one, chunk, now_ns);
    mfs_member_done(one, chunk, now_ns);
    start_ns = now_ns;
}

static void rate__is_learned_and_followed(void)
{
    set_up();
    CHECK_EQ(mfs_port_rate_Bps(port), 0);
    keep_busy(100 * MB, 50 * MS);
    CHECK(mfs_port_rate_Bps(port) >= 99 * MB && mfs_port_rate_Bps(port) <= 101 * MB);
    keep_busy(50 * MB, 600 * MS);
    CHECK(mfs_port_rate_Bps(port) >= 49 * MB && mfs_port_rate_Bps(port) <= 52 * MB);
    tear_down();
}

/* A socket's buffer takes a whole window at once: the port is empty each time we look, but not
 * idle. Now and then we look late. */
static void rate__bursts_that_empty_the_window(void)
{
    const uint64_t chunk = 50 * KB;

    set_up();
    for (int burst = 0; burst < 400; burst++) {
        const int64_t now_ns = start_ns;

        CHECK_EQ(mfs_member_acquire(one, 0, chunk, now_ns), 0);
        CHECK_EQ(mfs_member_acquire(one, 0, chunk, now_ns), 0);
        CHECK_EQ(mfs_member_acquire(one, 0, chunk, now_ns), -ENOBUFS);
        start_ns += burst % 40 == 39 ? 40 * MS : MS; /* on average 100 KB in 1.975 ms */
        mfs_member_done(one, chunk, start_ns);
        mfs_member_done(one, chunk, start_ns);
    }
    CHECK(mfs_port_rate_Bps(port) >= 30 * MB && mfs_port_rate_Bps(port) <= 100 * MB);
    tear_down();
}

/* Little traffic, one chunk before the last is done: it shows what was asked for. */
static void rate__is_not_learned_from_little_traffic(void)
{
    uint64_t rate_Bps;

    set_up();
    keep_busy(100 * MB, 100 * MS);
    rate_Bps = mfs_port_rate_Bps(port);
    CHECK_EQ(mfs_member_acquire(one, 0, KB, start_ns), 0);
    for (int i = 0; i < 300; i++) {
        start_ns += MS;
        CHECK_EQ(mfs_member_acquire(one, 0, KB, start_ns), 0);
        mfs_member_done(one, KB, start_ns);
    }
    CHECK_EQ(mfs_port_rate_Bps(port), rate_Bps);
    tear_down();
}

static void rate__idle_time_does_not_count(void)
{
    uint64_t rate_Bps;

    set_up();
    keep_busy(100 * MB, 100 * MS);
    rate_Bps = mfs_port_rate_Bps(port);
    start_ns += 10000 * MS;
    keep_busy(100 * MB, 100 * MS);
    CHECK_EQ(mfs_port_rate_Bps(port) / MB, rate_Bps / MB);
    tear_down();
}

static void rate__configured_is_kept(void)
{
    setenv("MFS_PORT_RATE", "8mbit", 1);
    set_up();
    CHECK_EQ(mfs_port_rate_Bps(port), 1000000);
    keep_busy(100 * MB, 100 * MS);
    CHECK_EQ(mfs_port_rate_Bps(port), 1000000);
    CHECK_EQ(mfs_port_chunk(port), 65536);
    tear_down();
}

/* Of a port that bears the name of a device; and it is no more than a first estimate. */
static void rate__is_seeded_by_the_link(void)
{
    char name[MFS_PORT_NAME_MAX + 1] = "";
    DIR *devices = opendir("/sys/class/net");
    struct dirent *entry;
    uint64_t link_Bps = 0;

    while (devices && link_Bps == 0 && (entry = readdir(devices)) != NULL) {
        if (strlen(entry->d_name) < sizeof(name)) {
            strcpy(name, entry->d_name);
            link_Bps = mfs_link_rate_Bps("/sys", name);
        }
    }
    if (devices)
        closedir(devices);
    if (link_Bps == 0) /* none that knows here: test_link.c has the rest */
        return;
    set_up();
    mfs_port_leave(one);
    mfs_port_close(port);
    CHECK_EQ(mfs_port_open(host, name, MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_join(host, port, &one), 0);
    CHECK_EQ(mfs_port_rate_Bps(port), link_Bps);
    keep_busy(link_Bps / 2, 1000 * MS);
    CHECK(mfs_port_rate_Bps(port) < link_Bps * 55 / 100);
    CHECK(mfs_port_rate_Bps(port) > link_Bps * 45 / 100);
    tear_down();
}

/* --- pacer --- */

static void pace__several_members_share_it(void)
{
    uint64_t sent[2] = {0, 0};
    int64_t now_ns;

    setenv("MFS_PACE", "100000000", 1); /* 100 kB a millisecond */
    setenv("MFS_WINDOW", "1g", 1);
    set_up();
    CHECK_EQ(mfs_port_rate_Bps(port), 100 * MB);
    for (now_ns = start_ns; now_ns < start_ns + 100 * MS; now_ns += 100000) {
        struct mfs_member *members[2] = {one, two};

        for (int i = 0; i < 2; i++) {
            int turn = (int)(now_ns / 100000 + i) % 2;
            int result = mfs_member_acquire(members[turn], 0, 10 * KB, now_ns);

            CHECK(result == 0 || result == -EAGAIN);
            if (result == 0) {
                sent[turn] += 10 * KB;
                mfs_member_done(members[turn], 10 * KB, now_ns);
            } else {
                CHECK(port->cell->pace_next_ns > now_ns);
            }
        }
    }
    /* 10 MB, and up to a millisecond that it makes up for */
    CHECK(sent[0] + sent[1] >= 10 * MB && sent[0] + sent[1] <= 10 * MB + 120 * KB);
    CHECK(sent[0] >= 3 * MB && sent[1] >= 3 * MB);
    tear_down();
}

static void pace__huge_chunk_at_a_low_pace(void)
{
    setenv("MFS_PACE", "1", 1);
    set_up();
    CHECK_EQ(mfs_member_acquire(one, 0, UINT64_C(1) << 50, start_ns), 0);
    mfs_member_done(one, UINT64_C(1) << 50, start_ns);
    CHECK_EQ(mfs_member_acquire(one, 0, KB, start_ns + 1000 * MS), -EAGAIN);
    CHECK(port->cell->pace_next_ns > start_ns);
    tear_down();
}

/* --- at once --- */

static void *send_many(void *seed)
{
    struct mfs_member *member;
    uint64_t state = *(const uint64_t *)seed;
    int64_t now_ns = start_ns;
    int sent = 0;

    if (mfs_port_join(host, port, &member) != 0)
        return host;
    while (sent < 500) {
        mfs_rank_t rank = test_random(&state) % 4;

        now_ns += 1000;
        if (mfs_member_acquire(member, rank, 10 * KB, now_ns) == 0) {
            mfs_member_done(member, 10 * KB, now_ns);
            sent++;
        }
        mfs_member_publish(member, MFS_RANK_NONE, now_ns);
    }
    mfs_port_leave(member);
    return NULL;
}

static void acquire__from_many_threads(void)
{
    static uint64_t seeds[4] = {1, 2, 3, 4};
    pthread_t threads[4];
    void *failed;

    set_up();
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, send_many, &seeds[i]), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], &failed);
        CHECK(failed == NULL);
    }
    CHECK_EQ(mfs_port_inflight(port, 0), 0);
    tear_down();
}

static const struct test tests[] = {
    TEST(acquire__from_many_threads),
    TEST(join__as_many_as_there_are),
    TEST(acquire__window_is_shared),
    TEST(acquire__better_of_another_goes_first),
    TEST(acquire__lease_runs_out),
    TEST(leave__gives_all_back),
    TEST(untagged__keeps_its_share_of_the_port),
    TEST(untagged__behind_own_tagged_traffic),
    TEST(untagged__a_due_chunk_is_yielded_to),
    TEST(untagged__nothing_changes_when_none_waits),
    TEST(untagged__without_a_share_only_rank_counts),
    TEST(untagged__keeps_its_share_between_processes),
    TEST(acquire__the_dead_are_reaped),
    TEST(join__takes_the_place_of_the_dead),
    TEST(rate__is_learned_and_followed),
    TEST(rate__bursts_that_empty_the_window),
    TEST(rate__is_not_learned_from_little_traffic),
    TEST(rate__idle_time_does_not_count),
    TEST(rate__configured_is_kept),
    TEST(rate__is_seeded_by_the_link),
    TEST(pace__several_members_share_it),
    TEST(pace__huge_chunk_at_a_low_pace),
};

TEST_MAIN(tests)
