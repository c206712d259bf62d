/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "host.h"

static void hold_the_mutex(const char *path)
{
    if (mfs_segment_lock(host_open(path)) != 0)
        _exit(1);
}

static void lock__holder_is_killed(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pid_t child = child_start(hold_the_mutex, path);

    CHECK_EQ(mfs_segment_lock(host), -EAGAIN);
    child_kill(child);
    CHECK_EQ(mfs_segment_lock(host), 0);
    mfs_segment_unlock(host);
    CHECK_EQ(mfs_segment_lock(host), 0);
    mfs_segment_unlock(host);
    mfs_host_close(host);
    unlink(path);
}

/* Somebody is stopped with the mutex: looking for the dead does not wait for it. */
static void reap__does_not_wait(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pid_t dead = child_start(take_part, path), holder = child_start(hold_the_mutex, path);
    int64_t before_ns;

    child_kill(dead);
    before_ns = mfs_now_ns();
    for (int i = 0; i < 20; i++)
        mfs_process_reap(host);
    CHECK(mfs_now_ns() - before_ns < INT64_C(1000000000)); /* 20 waits would be 2 s */
    CHECK_EQ(mfs_request_count(host), 1);
    child_kill(holder);
    mfs_process_reap(host);
    CHECK_EQ(mfs_request_count(host), 0);
    mfs_host_close(host);
    unlink(path);
}

static struct mfs_host *host_here;

static void lock_often(void)
{
    for (int i = 0; i < 500; i++)
        CHECK_EQ(mfs_segment_lock(host_here), -EAGAIN);
}

/* Only the first wait, and one now and then, is as long as it may be; the holder is named once. */
static void lock__a_stopped_holder_is_waited_for_once(void)
{
    const char *path = segment_path(), *text;
    pid_t child;
    const int64_t before_ns = mfs_now_ns();
    char name[32];

    host_here = host_open(path);
    child = child_start(hold_the_mutex, path);
    text = stderr_of(lock_often);
    CHECK(mfs_now_ns() - before_ns < INT64_C(20000000000)); /* 500 waits would be 50 s */
    snprintf(name, sizeof(name), "process %d holds", (int)child);
    CHECK(strstr(text, name) != NULL);
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK(host_here->patience_ns > 0);
    child_kill(child);
    CHECK_EQ(mfs_segment_lock(host_here), 0); /* at once, whatever its patience */
    CHECK_EQ(host_here->patience_ns, 0);
    mfs_segment_unlock(host_here);
    mfs_host_close(host_here);
    unlink(path);
}

/* Nothing that is written to the memory locks it, or opens it. */
static void lock__whatever_the_memory_says(void)
{
    static const uint32_t words[] = {1, 2, MFS_PROCESSES_MAX, UINT32_MAX, 0};
    const char *path = segment_path();
    struct mfs_host *host = host_open(path), *other = host_open(path);

    for (size_t i = 0; i < COUNT(words); i++) {
        host->segment->writer = words[i];
        CHECK_EQ_AT(mfs_segment_lock(host), 0, i);
        CHECK_EQ_AT(mfs_segment_trylock(other), -EAGAIN, i);
        host->segment->writer = words[i];
        CHECK_EQ_AT(mfs_segment_trylock(other), -EAGAIN, i);
        mfs_segment_unlock(host);
        CHECK_EQ_AT(mfs_segment_trylock(other), 0, i);
        mfs_segment_unlock(other);
    }
    mfs_host_close(other);
    mfs_host_close(host);
    unlink(path);
}

static uint64_t counted; /* by who holds the lock */

static void *count_up(void *host)
{
    for (int i = 0; i < 2000; i++) {
        while (mfs_segment_lock(host) != 0)
            ;
        counted++;
        mfs_segment_unlock(host);
    }
    return NULL;
}

static void lock__one_thread_at_a_time(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    pthread_t threads[3];

    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, count_up, host), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(counted, COUNT(threads) * 2000);
    mfs_host_close(host);
    unlink(path);
}

/* --- the descriptor is the program's to close --- */

/* As a daemon does; another file then gets the number. */
static int close_and_reuse(struct mfs_host *host)
{
    const int fd = host->fd;
    char path[300];
    int other;

    snprintf(path, sizeof(path), "%s-other", segment_path());
    CHECK_EQ(close(fd), 0);
    other = open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);
    CHECK_EQ(other, fd);
    unlink(path);
    return other;
}

/* No lock is held on the file that is somebody else's. */
static void check_innocent(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char again[40];
    int same;

    snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
    same = open(again, O_RDWR);
    CHECK(same >= 0);
    CHECK_EQ(fcntl(same, F_OFD_GETLK, &lock), 0);
    CHECK_EQ(lock.l_type, F_UNLCK);
    close(same);
}

static char path_here[300];

static struct mfs_host *host_for_loss(void)
{
    snprintf(path_here, sizeof(path_here), "%s-lost", segment_path());
    unlink(path_here);
    return host_open(path_here);
}

static void lose__the_descriptor_and_open_anew(void)
{
    struct mfs_host *host = host_for_loss();
    pid_t child = child_start(take_part, path_here);
    const uint32_t process = host->process;
    struct mfs_facts facts = some_facts();
    int innocent;

    CHECK_EQ(mfs_request_put(host, 1, "before", &facts), 0);
    innocent = close_and_reuse(host);
    mfs_process_reap(host); /* nobody looks dead to us */
    CHECK(mfs_process_alive(host, 1));
    CHECK_EQ(mfs_request_get(host, (uint64_t)child, &facts), 0);
    CHECK_EQ(mfs_request_put(host, 2, "after", &facts), 0);
    CHECK(host->fd != innocent && host->process == process && *mfs_host_path(host));
    child_kill(child);
    mfs_process_reap(host);
    CHECK_EQ(mfs_request_get(host, (uint64_t)child, &facts), -ENOENT);
    CHECK_EQ(mfs_request_get(host, 1, &facts), 0);
    check_innocent(innocent);
    mfs_host_close(host);
    CHECK(fcntl(innocent, F_GETFD) >= 0);
    close(innocent);
    unlink(path_here);
}

static void lose__with_closing_as_the_first_use(void)
{
    struct mfs_host *host = host_for_loss();
    int innocent = close_and_reuse(host);

    CHECK(mfs_process_alive(host, 1)); /* who cannot ask takes nobody for dead */
    mfs_host_close(host);
    CHECK(fcntl(innocent, F_GETFD) >= 0);
    check_innocent(innocent);
    close(innocent);
    unlink(path_here);
}

static void reap_all(const char *path)
{
    struct mfs_host *host = host_open(path);

    CHECK_EQ(mfs_segment_lock(host), 0);
    mfs_process_reap_locked(host);
    mfs_segment_unlock(host);
}

static void put_after_loss(void)
{
    struct mfs_facts facts = some_facts();

    CHECK_EQ(mfs_request_put(host_here, 2, "after", &facts), 0);
    CHECK_EQ(mfs_request_put(host_here, 3, "after", &facts), 0);
}

static void lose__and_be_looked_at(void)
{
    struct mfs_host *host = host_for_loss();
    struct mfs_facts facts = some_facts();
    struct rival rival;
    struct mfs_port *port;
    pid_t child;
    int innocent;

    CHECK_EQ(mfs_request_put(host, 1, "before", &facts), 0);
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    rival_join(&rival, host, "nic");
    CHECK_EQ(rival_take(&rival, 0, 1000, mfs_now_ns()), 0);
    innocent = close_and_reuse(host);
    child = child_start(reap_all, path_here);
    CHECK_EQ(mfs_request_get(host, 1, &facts), 0);
    CHECK_EQ(mfs_port_inflight(port, mfs_now_ns()), 1000);
    rival_leave(&rival);
    mfs_port_close(port);
    mfs_host_close(host);
    CHECK_EQ(close(innocent), 0);
    child_kill(child);
    unlink(path_here);
}

/* Nor is the file there any more: what we have told stays told, to ourselves. */
static void lose__and_the_file_with_it(void)
{
    struct mfs_facts facts = some_facts();
    const char *text;
    int innocent;

    host_here = host_for_loss();
    CHECK_EQ(mfs_request_put(host_here, 1, "before", &facts), 0);
    innocent = close_and_reuse(host_here);
    unlink(path_here);
    mfs_host_close(host_open(path_here)); /* another one of the same name */
    text = stderr_of(put_after_loss);
    CHECK(strstr(text, "has closed our descriptor") != NULL);
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK_EQ(mfs_request_get(host_here, 1, &facts), 0);
    CHECK_EQ(mfs_request_count(host_here), 3);
    mfs_host_close(host_here);
    close(innocent);
    unlink(path_here);
}

static const struct test tests[] = {
    TEST(lock__holder_is_killed),
    TEST(reap__does_not_wait),
    TEST(lock__a_stopped_holder_is_waited_for_once),
    TEST(lock__whatever_the_memory_says),
    TEST(lock__one_thread_at_a_time),
    TEST(lose__the_descriptor_and_open_anew),
    TEST(lose__with_closing_as_the_first_use),
    TEST(lose__and_be_looked_at),
    TEST(lose__and_the_file_with_it),
};

TEST_MAIN(tests)
