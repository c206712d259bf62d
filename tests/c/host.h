/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of csrc/host: a segment's file, children that hold one, what goes to stderr. */
#ifndef MFS_TESTS_HOST_H
#define MFS_TESTS_HOST_H

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "host/attach.h"
#include "test.h"

#include "rival.h"

/* A path of this test's own; nothing is there. */
static inline const char *segment_path(void)
{
    static char path[200];
    const char *folder = getenv("TMPDIR");

    /* what others hold counts, however long the machine lets us wait; MFS_LEASE is a case's own */
    setenv("MFS_LEASE", "1000s", 0);
    snprintf(path, sizeof(path), "%s/segment-%d", folder ? folder : "/tmp", (int)getpid());
    unlink(path);
    return path;
}

static inline struct mfs_host *host_open(const char *path)
{
    struct mfs_host *host;

    CHECK_EQ(mfs_host_open(path, &host), 0);
    return host;
}

static inline struct mfs_host *host_private(void)
{
    struct mfs_host *host;

    CHECK_EQ(mfs_host_open_private(&host), 0);
    return host;
}

/* Start a child that calls run(path), then says that it is ready and waits to be killed. */
static inline pid_t child_start(void (*run)(const char *path), const char *path)
{
    int ends[2];
    char byte;
    pid_t child;

    CHECK_EQ(pipe(ends), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* not left behind by a test that fails */
        close(ends[0]);
        run(path);
        if (write(ends[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    return child;
}

static inline void child_kill(pid_t child)
{
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK(waitpid(child, NULL, 0) == child);
}

/* What run() writes to stderr. */
static inline const char *stderr_of(void (*run)(void))
{
    static char text[4096];
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t length;

    CHECK_EQ(pipe(ends), 0);
    CHECK(dup2(ends[1], STDERR_FILENO) >= 0);
    run();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    length = read(ends[0], text, sizeof(text) - 1);
    close(ends[0]);
    text[length > 0 ? length : 0] = '\0';
    return text;
}

static inline struct mfs_facts some_facts(void)
{
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.deadline_ns = 1000;
    return facts;
}

/* For child_start: a process with a request (its pid is the key), a sender that has 1000 bytes in
 * flight, and 5 calls counted. */
__attribute__((unused)) static struct mfs_host *child_host;
__attribute__((unused)) static struct rival child_rival;

static inline void take_part(const char *path)
{
    struct mfs_facts facts = some_facts();

    child_host = host_open(path);
    mfs_count(child_host, MFS_COUNT_CALLS, 3);
    mfs_count_in(mfs_count_row_get(child_host), MFS_COUNT_CALLS, 2);
    CHECK_EQ(mfs_request_put(child_host, (uint64_t)getpid(), "mine", &facts), 0);
    rival_join(&child_rival, child_host, "nic");
    CHECK_EQ(rival_take(&child_rival, 0, 1000, mfs_now_ns()), 0);
}

#endif
