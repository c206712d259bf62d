/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "host.h"

static struct mfs_facts some_facts(void)
{
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.deadline_ns = 1000;
    return facts;
}

/* --- open --- */

static void open__file_is_ours_alone(void)
{
    const char *path = segment_path();
    struct mfs_host *host;
    struct stat status;

    umask(0);
    host = host_open(path);
    CHECK_EQ(stat(path, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0600);
    CHECK_EQ(status.st_size, sizeof(struct mfs_segment));
    CHECK(strcmp(mfs_host_path(host), path) == 0);
    mfs_host_close(host);
    unlink(path);
}

static void open__refuses_a_file_others_can_touch(void)
{
    static const mode_t modes[] = {0644, 0660, 0602};
    const char *path = segment_path();

    for (size_t i = 0; i < COUNT(modes); i++) {
        struct mfs_host *host = NULL;
        int fd = open(path, O_CREAT | O_RDWR, 0600);

        CHECK_EQ(fchmod(fd, modes[i]), 0);
        close(fd);
        CHECK_EQ_AT(mfs_host_open(path, &host), -EACCES, i);
        CHECK(host == NULL);
        unlink(path);
    }
}

static void open__refuses_a_link(void)
{
    const char *path = segment_path();
    char other[256];
    struct mfs_host *host;

    snprintf(other, sizeof(other), "%s-link", path);
    mfs_host_close(host_open(path));
    CHECK_EQ(symlink(path, other), 0);
    CHECK_EQ(mfs_host_open(other, &host), -ELOOP);
    unlink(other);
    unlink(path);
}

static void open__refuses_another_layout_in_use(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path), *second;
    uint32_t version = host->segment->version;

    host->segment->version = version + 1;
    CHECK_EQ(mfs_host_open(path, &second), -EPROTO);
    host->segment->version = version;
    host->segment->size++;
    CHECK_EQ(mfs_host_open(path, &second), -EPROTO);
    host->segment->size--;
    CHECK_EQ(truncate(path, (off_t)sizeof(struct mfs_segment) + 4096), 0);
    CHECK_EQ(mfs_host_open(path, &second), -EPROTO);
    CHECK_EQ(truncate(path, (off_t)sizeof(struct mfs_segment)), 0);
    second = host_open(path);
    mfs_host_close(second);
    mfs_host_close(host);
    unlink(path);
}

static void open__another_layout_unused_is_started_afresh(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts = some_facts();

    CHECK_EQ(mfs_request_put(host, 1, "old", &facts), 0);
    host->segment->version++;
    mfs_host_close(host);
    host = host_open(path);
    CHECK_EQ(host->segment->version, MFS_LAYOUT_VERSION);
    CHECK_EQ(mfs_request_count(host), 0);
    mfs_host_close(host);
    unlink(path);
}

/* A wrong MFS_SEGMENT must not cost anybody a file. */
static void open__leaves_other_files_alone(void)
{
    static const char text[] = "dear diary";
    const char *path = segment_path();
    struct mfs_host *host;
    char seen[sizeof(text)];
    int fd = open(path, O_CREAT | O_RDWR, 0600);

    CHECK_EQ(write(fd, text, sizeof(text)), sizeof(text));
    CHECK_EQ(mfs_host_open(path, &host), -EPROTO);
    CHECK_EQ(pread(fd, seen, sizeof(seen), 0), sizeof(text));
    CHECK(memcmp(seen, text, sizeof(text)) == 0);
    close(fd);
    unlink(path);
}

static void open__maker_died_in_between(void)
{
    const char *path = segment_path();
    int fd = open(path, O_CREAT | O_RDWR, 0600);

    CHECK_EQ(ftruncate(fd, sizeof(struct mfs_segment)), 0);
    close(fd);
    mfs_host_close(host_open(path));
    unlink(path);
}

static void open__bad_paths(void)
{
    char longest[400];
    struct mfs_host *host;

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    CHECK_EQ(mfs_host_open(longest, &host), -ENAMETOOLONG);
    CHECK_EQ(mfs_host_open("/nowhere/at/all", &host), -ENOENT);
    CHECK_EQ(mfs_host_open("/tmp", &host), -EISDIR);
}

static void open__more_than_there_are_slots(void)
{
    const char *path = segment_path();
    struct mfs_host *hosts[64], *one_more;

    for (size_t i = 0; i < COUNT(hosts); i++)
        hosts[i] = host_open(path);
    CHECK_EQ(mfs_host_open(path, &one_more), -EMFILE); /* 64 in a process */
    for (size_t i = 0; i < COUNT(hosts); i++)
        mfs_host_close(hosts[i]);
    mfs_host_close(host_open(path));
    unlink(path);
}

static void count__rows_are_added_up(void)
{
    struct mfs_count_row *rows[MFS_COUNT_ROWS];
    struct mfs_host *host = host_private();

    mfs_count(host, MFS_COUNT_BYTES, 1000);
    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++) {
        rows[i] = mfs_count_row_get(host);
        CHECK(rows[i] != NULL);
        mfs_count_in(rows[i], MFS_COUNT_BYTES, 1 + i);
    }
    CHECK(!mfs_count_row_get(host));
    mfs_count_row_put(NULL);
    mfs_count_row_put(rows[3]);
    CHECK(mfs_count_row_get(host) == rows[3]);
    mfs_count_in(rows[3], MFS_COUNT_BYTES, 100);
    CHECK_EQ(mfs_count_process(host, MFS_COUNT_BYTES), 1000 + 36 + 100);
    CHECK_EQ(mfs_count_total(host, MFS_COUNT_BYTES), 1000 + 36 + 100);
    mfs_host_close(host);
}

/* --- processes that come and go --- */

static struct mfs_host *child_host;
static struct mfs_member *child_member;

static void take_part(const char *path)
{
    struct mfs_facts facts = some_facts();
    struct mfs_port *port;

    child_host = host_open(path);
    mfs_count(child_host, MFS_COUNT_CALLS, 3);
    mfs_count_in(mfs_count_row_get(child_host), MFS_COUNT_CALLS, 2);
    if (mfs_request_put(child_host, (uint64_t)getpid(), "mine", &facts) != 0 ||
        mfs_port_open(child_host, "nic", MFS_EGRESS, &port) != 0 ||
        mfs_port_join(child_host, port, &child_member) != 0 ||
        mfs_member_acquire(child_member, 0, 1000, mfs_now_ns()) != 0)
        _exit(1);
}

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

        mfs_member_publish(child_member, 0, 0);
        mfs_port_leave(child_member);
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

/* --- the process-wide one --- */

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
            CHECK(strcmp(mfs_policy_name(mfs_host_policy(mfs_host_get())), "fifo") == 0);
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

static void set_policy__for_all(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);
    uint64_t version = mfs_host_settings_version(two);

    CHECK_EQ(mfs_host_set_policy(one, "srpt"), 0);
    CHECK(strcmp(mfs_policy_name(mfs_host_policy(two)), "srpt") == 0);
    CHECK(mfs_host_settings_version(two) > version);
    CHECK_EQ(mfs_host_set_policy(one, "fastest"), -EINVAL);
    CHECK(strcmp(mfs_policy_name(mfs_host_policy(two)), "srpt") == 0);
    mfs_host_close(one);
    mfs_host_close(two);
    unlink(path);
}

static void private__is_private(void)
{
    struct mfs_host *one = host_private(), *two = host_private();
    struct mfs_facts facts = some_facts();

    CHECK_EQ(mfs_request_put(one, 1, "one", &facts), 0);
    CHECK_EQ(mfs_request_get(two, 1, &facts), -ENOENT);
    mfs_process_reap(one); /* it is alive, whatever there is no lock of */
    CHECK_EQ(mfs_request_get(one, 1, &facts), 0);
    mfs_host_close(one);
    mfs_host_close(two);
}

/* --- what is read is not trusted --- */

static void stamp__neither_old_nor_of_the_future(void)
{
    static const struct {
        int64_t stamp_ns, now_ns;
        bool fresh;
    } rows[] = {
        {1000, 1000, true},           {1000, 1020, true},
        {1000, 1021, false},          {1020, 1000, true},
        {1021, 1000, false},          {0, 1000, false},
        {INT64_MAX, 1000, false},     {INT64_MIN, 1000, false},
        {INT64_MIN, INT64_MAX, true}, {-5, 5, true},
        {INT64_MAX, 0, false},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_EQ_AT(mfs_stamp_fresh(rows[i].stamp_ns, rows[i].now_ns, 20), rows[i].fresh, i);
}

static void moment__no_further_ahead_than_anybody_sets_it(void)
{
    static const struct {
        int64_t moment_ns, now_ns, age_ns;
        bool come;
    } rows[] = {
        {1000, 1000, 0, true},
        {1000, 1001, 1, true},
        {1010, 1000, 0, false},
        {1011, 1000, 0, true},
        {INT64_MAX, 1000, 0, true},
        {INT64_MAX, -1000, 0, true},
        {INT64_MIN, 1000, INT64_MAX, true},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK_EQ_AT(mfs_moment_come(rows[i].moment_ns, rows[i].now_ns, 10), rows[i].come, i);
        CHECK_EQ_AT(mfs_moment_age(rows[i].moment_ns, rows[i].now_ns), rows[i].age_ns, i);
    }
}

/* Owners that are nobody's slot, and counts behind the end of their tables. */
static void reap__cells_without_an_owner_whatever_they_say(void)
{
    static const uint32_t owners[] = {2, MFS_PROCESSES_MAX, MFS_PROCESSES_MAX + 1, UINT32_MAX};
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts = some_facts();
    struct mfs_member *member;
    struct mfs_port *port;

    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &port), 0);
    CHECK_EQ(mfs_port_join(host, port, &member), 0);
    CHECK_EQ(mfs_request_put(host, 7, "mine", &facts), 0);
    for (size_t i = 0; i < COUNT(owners); i++) {
        struct mfs_member_cell *phantom = &port->cell->members[MFS_MEMBERS_MAX - 1 - i];

        phantom->rank = 0;
        phantom->stamp_ns = INT64_MAX;
        phantom->owner = owners[i];
        CHECK_EQ(mfs_request_put(host, 100 + i, "phantom", &facts), 0);
        for (uint32_t k = 0; k < MFS_REQUESTS_MAX; k++) {
            if (host->segment->requests[k].key == 100 + i)
                host->segment->requests[k].owner = owners[i];
        }
    }
    port->cell->members_high = MFS_MEMBERS_MAX;
    CHECK_EQ(mfs_segment_lock(host), 0);
    mfs_process_reap_locked(host);
    mfs_segment_unlock(host);
    for (size_t i = 0; i < COUNT(owners); i++) {
        CHECK_EQ_AT(port->cell->members[MFS_MEMBERS_MAX - 1 - i].owner, 0, i);
        CHECK_EQ_AT(mfs_request_get(host, 100 + i, &facts), -ENOENT, i);
    }
    CHECK_EQ(port->cell->members[0].owner, host->process + 1);
    CHECK_EQ(mfs_request_get(host, 7, &facts), 0);
    mfs_port_leave(member);
    mfs_port_close(port);
    mfs_host_close(host);
    unlink(path);
}

static const struct test tests[] = {
    TEST(stamp__neither_old_nor_of_the_future),
    TEST(moment__no_further_ahead_than_anybody_sets_it),
    TEST(reap__cells_without_an_owner_whatever_they_say),
    TEST(open__file_is_ours_alone),
    TEST(open__refuses_a_file_others_can_touch),
    TEST(open__refuses_a_link),
    TEST(open__refuses_another_layout_in_use),
    TEST(open__another_layout_unused_is_started_afresh),
    TEST(open__leaves_other_files_alone),
    TEST(open__maker_died_in_between),
    TEST(open__bad_paths),
    TEST(open__more_than_there_are_slots),
    TEST(count__rows_are_added_up),
    TEST(attach__several_processes),
    TEST(reap__the_dead_of_many_and_no_other),
    TEST(attach__takes_the_slot_of_the_dead),
    TEST(lock__holder_is_killed),
    TEST(reap__does_not_wait),
    TEST(fork__child_neither_disturbs_nor_keeps_alive),
    TEST(fork__while_another_thread_opens),
    TEST(get__falls_back_with_one_warning),
    TEST(get__says_that_another_policy_is_in_use),
    TEST(set_policy__for_all),
    TEST(private__is_private),
};

TEST_MAIN(tests)
