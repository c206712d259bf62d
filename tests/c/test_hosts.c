/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "host.h"

/* --- forks --- */

static int leash[2]; /* the grandchild goes when the test has gone */

static void take_part_and_fork(const char *path)
{
    int ends[2];
    char byte;

    close(leash[1]);
    take_part(path);
    CHECK_EQ(pipe(ends), 0);
    if (fork() == 0) { /* uses what it has inherited, and lives on */
        struct mfs_facts facts = some_facts();

        rival_waits(&child_rival, 0, 1000, 0);
        rival_leave(&child_rival);
        mfs_count(child_host, MFS_COUNT_CALLS, 100);
        (void)mfs_request_put(child_host, 4711, "grandchild", &facts);
        if (write(ends[1], "", 1) != 1)
            _exit(1);
        CHECK_EQ(read(leash[0], &byte, 1), 0);
        _exit(0);
    }
    CHECK_EQ(read(ends[0], &byte, 1), 1);
}

static void fork__child_neither_disturbs_nor_keeps_alive(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts;
    struct mfs_port *port;
    pid_t child;

    CHECK_EQ(pipe(leash), 0);
    child = child_start(take_part_and_fork, path);
    CHECK_EQ(mfs_count_total(host, MFS_COUNT_CALLS), 5);
    CHECK_EQ(mfs_request_get(host, 4711, &facts), -ENOENT);
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_inflight(port, mfs_now_ns()), 1000); /* the child has not left */
    child_kill(child);
    CHECK(!mfs_process_alive(host, 1)); /* though the grandchild runs */
    mfs_port_close(port);
    mfs_host_close(host);
    unlink(path);
}

static void *open_and_close(void *path)
{
    for (int i = 0; i < 200; i++)
        mfs_host_close(host_open(path));
    return NULL;
}

static void fork__while_another_thread_opens(void)
{
    char path[200];
    struct mfs_host *host;
    pthread_t thread;

    snprintf(path, sizeof(path), "%s", segment_path());
    host = host_open(path);
    CHECK_EQ(pthread_create(&thread, NULL, open_and_close, path), 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        int status;

        if (child == 0)
            _exit(host->fd == -1 && mfs_host_path(host)[0] == '\0' ? 0 : 1);
        CHECK(waitpid(child, &status, 0) == child);
        CHECK_EQ(status, 0);
    }
    pthread_join(thread, NULL);
    mfs_host_close(host);
    unlink(path);
}

/* The descriptor was closed by the program, and its number is another file's. */
static void fork__closes_no_innocent_file(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const int number = host->fd;
    int status;
    pid_t child;

    CHECK_EQ(close(number), 0);
    CHECK_EQ(open("/dev/null", O_RDONLY), number);
    child = fork();
    if (child == 0)
        _exit(fcntl(number, F_GETFD) >= 0 && host->fd == -1 ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    mfs_host_close(host);
    unlink(path);
}

/* --- the process-wide one --- */

static void fork__child_attaches_for_itself(void)
{
    const char *path = segment_path();
    struct mfs_facts facts = some_facts();
    struct mfs_host *host;
    int status;
    pid_t child;

    setenv("MFS_SEGMENT", path, 1);
    host = mfs_host_get();
    child = fork();
    if (child == 0) {
        CHECK(mfs_host_get() != host && mfs_host_get()->process != host->process);
        CHECK_EQ(mfs_request_put(mfs_host_get(), 7, "child's", &facts), 0);
        mfs_process_reap(mfs_host_get()); /* its parent lives */
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    CHECK_EQ(mfs_request_get(host, 7, &facts), 0);
    mfs_process_reap(host);
    CHECK_EQ(mfs_request_get(host, 7, &facts), -ENOENT); /* it has gone */
    unlink(path);
}

static void get_twice(void)
{
    CHECK(mfs_host_get() != NULL && mfs_host_get() == mfs_host_get());
}

static void get__falls_back_with_one_warning(void)
{
    const char *text;

    setenv("MFS_SEGMENT", "/nowhere/at/all", 1);
    text = stderr_of(get_twice);
    CHECK(strstr(text, "segment /nowhere/at/all: No such file") != NULL);
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK(*mfs_host_path(mfs_host_get()) == '\0');
}

static void make_it_fifo(const char *path)
{
    setenv("MFS_POLICY", "fifo", 1);
    (void)host_open(path);
}

static void get__says_that_another_policy_is_in_use(void)
{
    static const struct {
        const char *wanted;
        bool warned;
    } rows[] = {{"edf", true}, {"fifo", false}, {NULL, false}};
    const char *path = segment_path();
    pid_t maker = child_start(make_it_fifo, path);

    setenv("MFS_SEGMENT", path, 1);
    for (size_t i = 0; i < COUNT(rows); i++) {
        pid_t child = fork();
        int status;

        if (child == 0) { /* reads its configuration here, for the first time */
            const char *text;

            if (rows[i].wanted)
                setenv("MFS_POLICY", rows[i].wanted, 1);
            text = stderr_of(get_twice);
            CHECK(strcmp(mfs_host_policy(mfs_host_get())->name, "fifo") == 0);
            CHECK((strstr(text, "MFS_POLICY=edf is not used") != NULL) == rows[i].warned);
            CHECK((strstr(text, "policy fifo\n") != NULL) == rows[i].warned);
            CHECK(!rows[i].warned || strchr(text, '\n') == text + strlen(text) - 1);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK_EQ_AT(status, 0, i);
    }
    child_kill(maker);
    unlink(path);
}

static const struct test tests[] = {
    TEST(fork__child_neither_disturbs_nor_keeps_alive),
    TEST(fork__while_another_thread_opens),
    TEST(fork__closes_no_innocent_file),
    TEST(fork__child_attaches_for_itself),
    TEST(get__falls_back_with_one_warning),
    TEST(get__says_that_another_policy_is_in_use),
};

TEST_MAIN(tests)
