/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/syscall.h>

#include "host.h"

#include "host/look.h"

static struct mfs_look found;

static void look(const char *path)
{
    CHECK_EQ(mfs_look_take(path, &found), 0);
}

static void take__what_is_not_there(void)
{
    const char *path = segment_path();
    struct mfs_host *host;
    struct stat status;

    CHECK_EQ(mfs_look_take(path, &found), -ENOENT);
    CHECK(stat(path, &status) != 0); /* and it was not made */
    host = host_open(path);
    CHECK_EQ(mfs_look_take(path, &found), 0);
    CHECK_EQ(chmod(path, 0644), 0);
    CHECK_EQ(mfs_look_take(path, &found), -EACCES);
    CHECK_EQ(chmod(path, 0600), 0);
    host->segment->version++;
    CHECK_EQ(mfs_look_take(path, &found), -EPROTO);
    host->segment->magic[0] = 'X';
    CHECK_EQ(mfs_look_take(path, &found), -EBADMSG);
    memcpy(host->segment->magic, MFS_SEGMENT_MAGIC, 8);
    mfs_host_close(host);
    CHECK_EQ(mfs_look_take(path, &found), -ENODATA);
    CHECK_EQ(truncate(path, 0), 0); /* as while it is made */
    CHECK_EQ(mfs_look_take(path, &found), -ENODATA);
    unlink(path);
}

/* All that is told of a process stays to be seen when it is stopped with the lock in its hand. */
static void hold_the_lock(const char *path)
{
    take_part(path);
    CHECK_EQ(mfs_segment_lock(child_host), 0);
    child_host->segment->writer = child_host->process + 1;
}

static void take__of_a_process_that_is_stopped_with_the_lock(void)
{
    const char *path = segment_path();
    pid_t child;

    setenv("MFS_LEASE", "1us", 1);
    child = child_start(hold_the_lock, path);
    CHECK_EQ(kill(child, SIGSTOP), 0);
    look(path);
    CHECK_EQ(found.process_count, 1);
    CHECK_EQ(found.processes[0].pid, child);
    CHECK_EQ(found.processes[0].counters[MFS_COUNT_CALLS], 5);
    CHECK_EQ(found.counters[MFS_COUNT_CALLS], 5);
    CHECK_EQ(found.port_count, 1);
    CHECK(strcmp(found.ports[0].name, "nic") == 0);
    CHECK_EQ(found.ports[0].direction, MFS_EGRESS);
    CHECK_EQ(found.ports[0].sender_count, 1);
    CHECK_EQ(found.ports[0].senders[0].inflight_bytes, 1000);
    CHECK_EQ(found.ports[0].senders[0].level, MFS_LOOK_NOTHING);
    CHECK(found.ports[0].senders[0].still && found.ports[0].senders[0].age_ns > 0);
    CHECK_EQ(found.requests[MFS_LOOK_LATE], 1);
    child_kill(child);
    CHECK_EQ(mfs_look_take(path, &found), -ENODATA);
    unlink(path);
}

static void take__senders_of_two_processes(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pid_t child = child_start(take_part, path);
    struct rival rival;

    rival_join(&rival, host, "nic");
    rival_waits(&rival, mfs_rank_make(3, 7), 100, mfs_now_ns());
    look(path);
    CHECK_EQ(found.port_count, 1);
    CHECK_EQ(found.ports[0].sender_count, 2);
    for (int i = 0; i < 2; i++) {
        const struct mfs_look_sender *sender = &found.ports[0].senders[i];
        const bool ours = found.processes[sender->process].pid == getpid();

        CHECK_EQ(sender->level, ours ? 3 : MFS_LOOK_NOTHING);
        CHECK_EQ(sender->inflight_bytes, ours ? 0 : 1000);
        CHECK(!sender->still);
    }
    /* what a dead process held is not told, though nobody has cleared it; what it counted is */
    child_kill(child);
    look(path);
    CHECK_EQ(found.ports[0].sender_count, 1);
    CHECK_EQ(found.process_count, 1);
    CHECK_EQ(found.counters[MFS_COUNT_CALLS], 5);
    rival_leave(&rival);
    mfs_host_close(host);
    unlink(path);
}

static void take__states_of_requests(void)
{
    static const struct {
        int64_t deadline_ns, start_ns; /* from now; NEVER */
        uint32_t flags;
        enum mfs_look_request state;
    } rows[] = {
        {MFS_TIME_NEVER, MFS_TIME_NEVER, 0, MFS_LOOK_WAITING},
        {60000000000, 60000000000, 0, MFS_LOOK_WAITING},
        {60000000000, -1, 0, MFS_LOOK_COMPUTING},
        {60000000000, -1, MFS_REQUEST_COMPUTED, MFS_LOOK_COMPUTED},
        {-1, -1, MFS_REQUEST_COMPUTED, MFS_LOOK_LATE},
        {-1, -1, MFS_REQUEST_HOPELESS, MFS_LOOK_GIVEN_UP},
        {60000000000, -1, MFS_REQUEST_SHED, MFS_LOOK_GIVEN_UP},
    };
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const int64_t now_ns = mfs_now_ns();

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mfs_facts facts = some_facts();
        uint32_t before;

        look(path);
        before = found.requests[rows[i].state];
        facts.deadline_ns =
            rows[i].deadline_ns == MFS_TIME_NEVER ? MFS_TIME_NEVER : now_ns + rows[i].deadline_ns;
        facts.start_ns =
            rows[i].start_ns == MFS_TIME_NEVER ? MFS_TIME_NEVER : now_ns + rows[i].start_ns;
        facts.flags = rows[i].flags;
        CHECK_EQ(mfs_request_put(host, 1 + i, "r", &facts), 0);
        look(path);
        CHECK_EQ_AT(found.requests[rows[i].state], before + 1, i);
    }
    CHECK_EQ(mfs_request_drop(host, 1), 0);
    look(path);
    CHECK_EQ(found.requests[MFS_LOOK_WAITING], 1);
    mfs_host_close(host);
    unlink(path);
}

/* --- a process that leaves while the tables are copied --- */

static void (*in_the_middle)(void); /* of the next copy: after the past, before the processes */
static struct mfs_host *leaving;

/* The library's calls come here. */
ssize_t pread(int fd, void *to, size_t length, off_t from)
{
    const size_t first = offsetof(struct mfs_segment, processes);
    void (*happens)(void) = in_the_middle;

    if (!happens || from > 0 || length <= first)
        return syscall(SYS_pread64, fd, to, length, from);
    in_the_middle = NULL;
    CHECK_EQ(syscall(SYS_pread64, fd, to, first, 0), first);
    happens();
    CHECK_EQ(syscall(SYS_pread64, fd, (char *)to + first, length - first, first), length - first);
    return (ssize_t)length;
}

static void leave(void)
{
    mfs_host_close(leaving);
}

static void lock_and_take(void)
{
    leaving->segment->writer = 1;
    CHECK_EQ(atomic_exchange(&leaving->segment->processes[leaving->process].counters[0], 0), 9);
}

static void take__counters_never_go_back(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);

    leaving = host_open(path);
    mfs_count(leaving, MFS_COUNT_CALLS, 7);
    in_the_middle = leave;
    look(path);
    CHECK(!in_the_middle);
    CHECK_EQ(found.counters[MFS_COUNT_CALLS], 7);
    /* one that is stopped half-way is not waited for */
    leaving = host_open(path);
    mfs_count(leaving, MFS_COUNT_CALLS, 9);
    in_the_middle = lock_and_take;
    look(path);
    CHECK_EQ(found.counters[MFS_COUNT_CALLS], 7);
    mfs_host_close(host);
    unlink(path);
}

static void take__whatever_the_words_are(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const size_t from = offsetof(struct mfs_segment, writer);
    uint64_t random = 42;

    for (int round = 0; round < 5; round++) {
        unsigned char *bytes = (unsigned char *)host->segment;

        for (size_t at = from; at < sizeof(*host->segment); at++)
            bytes[at] = round == 0 ? 0xff : (unsigned char)test_random(&random);
        look(path);
        CHECK_EQ(found.process_count, 1); /* the kernel says who lives */
        CHECK(found.port_count <= MFS_PORTS_MAX);
        CHECK(found.policy && *found.policy);
        for (uint32_t i = 0; i < found.port_count; i++) {
            CHECK(memchr(found.ports[i].name, 0, sizeof(found.ports[i].name)));
            CHECK(found.ports[i].direction <= MFS_INGRESS);
            CHECK(found.ports[i].sender_count <= MFS_LOOK_SENDERS_MAX);
            for (uint32_t k = 0; k < found.ports[i].sender_count; k++) {
                CHECK_EQ(found.ports[i].senders[k].process, 0);
                CHECK(found.ports[i].senders[k].level <= MFS_LOOK_NOTHING);
                CHECK(found.ports[i].senders[k].age_ns >= 0);
            }
        }
    }
    unlink(path);
}

static const struct test tests[] = {
    TEST(take__what_is_not_there),        TEST(take__of_a_process_that_is_stopped_with_the_lock),
    TEST(take__senders_of_two_processes), TEST(take__states_of_requests),
    TEST(take__counters_never_go_back),   TEST(take__whatever_the_words_are),
};

TEST_MAIN(tests)
