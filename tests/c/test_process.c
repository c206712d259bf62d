/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <sys/mman.h>

static void attach__several_processes(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pid_t children[3];
    struct mfs_facts facts;
    struct mfs_port *port;

    for (int i = 0; i < 3; i++)
        children[i] = child_start(take_part, path);
    CHECK_EQ(mfs_request_count(host), 3);
    CHECK_EQ(mfs_count_total(host, MFS_COUNT_CALLS), 15);
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_inflight(port, mfs_now_ns()), 3000);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ_AT(mfs_request_get(host, (uint64_t)children[i], &facts), 0, i);
        CHECK_EQ_AT(mfs_process_alive(host, (uint32_t)i + 1), true, i);
    }
    for (int i = 0; i < 3; i++)
        child_kill(children[i]);
    CHECK(!mfs_process_alive(host, 1) && mfs_process_alive(host, 0));
    mfs_process_reap(host);
    CHECK_EQ(mfs_request_count(host), 0);
    CHECK_EQ(mfs_port_inflight(port, 0), 0);
    CHECK_EQ(mfs_count_total(host, MFS_COUNT_CALLS), 15); /* what they counted stays counted */
    mfs_port_close(port);
    mfs_host_close(host);
    unlink(path);
}

/* Whichever of the locks the kernel tells of first. */
static void reap__the_dead_of_many_and_no_other(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts;
    pid_t children[8];

    for (size_t i = 0; i < COUNT(children); i++)
        children[i] = child_start(take_part, path);
    for (size_t i = 0; i < COUNT(children);
         i += 3) { /* their slots go to others, that came later */
        child_kill(children[i]);
        mfs_process_reap(host);
        children[i] = child_start(take_part, path);
    }
    for (size_t dead = 1; dead < COUNT(children); dead += 2) {
        child_kill(children[dead]);
        mfs_process_reap(host);
        for (size_t i = 0; i < COUNT(children); i++)
            CHECK_EQ_AT(mfs_request_get(host, (uint64_t)children[i], &facts) == 0,
                        i % 2 == 0 || i > dead, i);
    }
    for (size_t i = 0; i < COUNT(children); i += 2)
        child_kill(children[i]);
    mfs_host_close(host);
    unlink(path);
}

/* The slot of one that was killed goes to the next, without what the dead one held. */
static void attach__takes_the_slot_of_the_dead(void)
{
    const char *path = segment_path();

    for (int first = 1; first >= 0; first--) { /* slot 1, then slot 0 */
        struct mfs_host *host = NULL, *next;
        pid_t child, keeper = 0;
        struct mfs_port *port;

        if (first == 1) {
            host = host_open(path);
            child = child_start(take_part, path);
        } else {
            child = child_start(take_part, path);
            keeper = child_start(take_part, path); /* so that the file is not started afresh */
        }
        child_kill(child);
        next = host_open(path);
        CHECK_EQ_AT(next->process, first, first);
        CHECK_EQ_AT(mfs_request_count(next), first ? 0 : 1, first);
        CHECK_EQ_AT(mfs_count_process(next, MFS_COUNT_CALLS), 0, first);
        CHECK_EQ_AT(mfs_count_total(next, MFS_COUNT_CALLS), first ? 5 : 10, first);
        CHECK_EQ(mfs_port_open(next, "nic", MFS_EGRESS, &port), 0);
        CHECK_EQ_AT(mfs_port_inflight(port, mfs_now_ns()), first ? 0 : 1000, first);
        mfs_port_close(port);
        mfs_host_close(next);
        mfs_host_close(host);
        if (keeper)
            child_kill(keeper);
        unlink(path);
    }
}

static struct mfs_host *reaper;

static void reap_now(int number)
{
    (void)number;
    mfs_process_reap(reaper);
}

/* For child_start: reaps when it is told to, and dies by its first write to a port. */
static void reap_and_die(const char *path)
{
    char *ports;

    reaper = host_open(path);
    ports = (char *)reaper->segment->ports;
    ports -= (uintptr_t)ports % (uintptr_t)sysconf(_SC_PAGESIZE);
    CHECK_EQ(mprotect(ports, sizeof(reaper->segment->ports), PROT_READ), 0);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGUSR1, reap_now);
}

/* What a dead process held stays its own until it is given back, even if who does so dies. */
static void reap__by_one_that_dies_meanwhile(void)
{
    const char *path = segment_path();
    struct mfs_host *keeper = host_open(path), *next;
    const pid_t dead = child_start(take_part, path), other = child_start(reap_and_die, path);
    struct mfs_port *port;
    int status;

    child_kill(dead);
    CHECK_EQ(kill(other, SIGUSR1), 0);
    CHECK(waitpid(other, &status, 0) == other && WTERMSIG(status) == SIGSEGV);
    next = host_open(path);
    CHECK_EQ(next->process, 1);
    CHECK_EQ(mfs_port_open(next, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_inflight(port, mfs_now_ns()), 0);
    CHECK_EQ(mfs_request_count(next), 0);
    CHECK_EQ(mfs_count_total(next, MFS_COUNT_CALLS), 5);
    mfs_port_close(port);
    mfs_host_close(next);
    mfs_host_close(keeper);
    unlink(path);
}

/* Owners that are nobody's slot, and counts behind the end of their tables. */
static void reap__cells_without_an_owner_whatever_they_say(void)
{
    static const uint32_t owners[] = {2, MFS_PROCESSES_MAX, MFS_PROCESSES_MAX + 1, UINT32_MAX};
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts = some_facts();
    struct mfs_sender *sender;
    struct mfs_port *port;

    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &sender), 0);
    CHECK_EQ(mfs_request_put(host, 7, "mine", &facts), 0);
    for (size_t i = 0; i < COUNT(owners); i++) {
        struct mfs_sender_cell *phantom = &port->cell->senders[MFS_SENDERS_MAX - 1 - i];

        phantom->rank = 0;
        phantom->stamp_ns = INT64_MAX;
        phantom->owner = owners[i];
        CHECK_EQ(mfs_request_put(host, 100 + i, "phantom", &facts), 0);
        for (uint32_t k = 0; k < MFS_REQUEST_CELLS; k++) {
            if (host->segment->requests[k].key == 100 + i)
                host->segment->requests[k].owner = owners[i];
        }
    }
    port->cell->senders_high = MFS_SENDERS_MAX;
    CHECK_EQ(mfs_segment_lock(host), 0);
    mfs_process_reap_locked(host);
    mfs_segment_unlock(host);
    for (size_t i = 0; i < COUNT(owners); i++) {
        CHECK_EQ_AT(port->cell->senders[MFS_SENDERS_MAX - 1 - i].owner, 0, i);
        CHECK_EQ_AT(mfs_request_get(host, 100 + i, &facts), -ENOENT, i);
    }
    CHECK_EQ(port->cell->senders[0].owner, host->process + 1);
    CHECK_EQ(mfs_request_get(host, 7, &facts), 0);
    mfs_sender_leave(sender);
    mfs_port_close(port);
    mfs_host_close(host);
    unlink(path);
}

static const struct test tests[] = {
    TEST(attach__several_processes),
    TEST(reap__the_dead_of_many_and_no_other),
    TEST(attach__takes_the_slot_of_the_dead),
    TEST(reap__by_one_that_dies_meanwhile),
    TEST(reap__cells_without_an_owner_whatever_they_say),
};

TEST_MAIN(tests)
