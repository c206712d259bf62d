/* SPDX-License-Identifier: Apache-2.0 */
#include "host/place.h"
#include "mounts.h"

static char first[64], second[64];

static void set_up(void)
{
    own_mounts();
    own_tmpfs("/dev/shm", "size=32m,mode=1777");
    own_tmpfs("/tmp", "size=32m,mode=1777");
    unsetenv("MFS_SEGMENT");
    unsetenv("NVIDIA_DRA_LOCAL_IPC_DIR");
    snprintf(first, sizeof(first), "/dev/shm/mfs-%u", (unsigned)geteuid());
    snprintf(second, sizeof(second), "/tmp/mfs-%u", (unsigned)geteuid());
}

/* Where the segment is, as mfs_host_place and mfs_host_open say it. */
static void check_place(const char *folder)
{
    char expected[80], place[256];
    struct mfs_host *host = host_open("");

    snprintf(expected, sizeof(expected), "%s/host", folder);
    CHECK(strcmp(mfs_host_path(host), expected) == 0);
    CHECK_EQ(mfs_host_place(NULL, place, sizeof(place)), 0);
    CHECK(strcmp(place, expected) == 0);
    mfs_host_close(host);
}

static void find__a_folder_of_our_own(void)
{
    char place[256];
    struct stat status;

    set_up();
    CHECK_EQ(mfs_host_place("", place, sizeof(place)), 0);
    CHECK(strncmp(place, first, strlen(first)) == 0);
    CHECK_EQ(stat(first, &status), -1); /* looking makes nothing */
    check_place(first);
    CHECK_EQ(stat(first, &status), 0);
    CHECK_EQ(status.st_mode & 0777, 0700);
}

static void others_owner(void)
{
    CHECK_EQ(mkdir(first, 0700), 0);
    if (chown(first, 4711, 4711) != 0)
        SKIP("only root can give a folder away");
}

static void others_can_write(void)
{
    CHECK_EQ(mkdir(first, 0700), 0);
    CHECK_EQ(chmod(first, 0777), 0);
}

static void a_link(void)
{
    CHECK_EQ(mkdir("/dev/shm/elsewhere", 0700), 0);
    CHECK_EQ(symlink("/dev/shm/elsewhere", first), 0);
}

static void a_file(void)
{
    close(open(first, O_CREAT, 0600));
}

static void get(void)
{
    CHECK(mfs_host_get() != NULL);
}

static void find__not_what_others_have_made(void)
{
    static const struct {
        void (*make)(void);
        const char *reason;
    } rows[] = {
        {others_can_write, "can be written to by others (mode 0777)"},
        {a_link, "is a link"},
        {a_file, "is no folder"},
        {others_owner, "belongs to user 4711"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            const char *text;

            set_up();
            rows[i].make();
            text = stderr_of(get);
            CHECK(strstr(text, rows[i].reason) != NULL);
            CHECK(strstr(text, second) != NULL);
            CHECK(strchr(text, '\n') == text + strlen(text) - 1);
            CHECK(strstr(mfs_host_path(mfs_host_get()), second) != NULL);
            check_place(second);
            exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
            exit(SKIPPED);
        CHECK_EQ_AT(status, 0, i);
    }
}

static void find__nowhere(void)
{
    char place[256];
    struct mfs_host *host;
    const char *text;

    set_up();
    close(open(first, O_CREAT, 0600));
    close(open(second, O_CREAT, 0600));
    CHECK_EQ(mfs_host_open(NULL, &host), -EACCES);
    CHECK_EQ(mfs_host_place(NULL, place, sizeof(place)), -EACCES);
    text = stderr_of(get);
    CHECK(strstr(text, first) != NULL && strstr(text, second) != NULL);
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK(*mfs_host_path(mfs_host_get()) == '\0');
}

/* The folder of a resource claim, which its pods share, comes first. */
static void find__of_a_claim(void)
{
    const char *shared = "/tmp/claim/mfs/host";
    char place[256], own[64];
    int fd;

    set_up();
    umask(0);
    setenv("NVIDIA_DRA_LOCAL_IPC_DIR", "/tmp/claim", 1);
    CHECK_EQ(mkdir("/tmp/claim", 01777), 0);
    snprintf(own, sizeof(own), "/tmp/claim/mfs-%u", (unsigned)geteuid());
    check_place(own);

    /* one that was made for a group goes before our own; not if others could change it */
    CHECK_EQ(mkdir("/tmp/claim/mfs", 0700), 0);
    CHECK_EQ(chmod("/tmp/claim/mfs", 03777), 0);
    fd = open(shared, O_CREAT | O_RDWR, 0660);
    check_place(own);
    CHECK_EQ(chmod("/tmp/claim/mfs", 03770), 0);
    check_place("/tmp/claim/mfs");
    CHECK_EQ(fchmod(fd, 0666), 0);
    check_place(own);
    close(fd);

    /* MFS_SEGMENT says it */
    CHECK_EQ(mfs_host_place("/a/b", place, sizeof(place)), 0);
    CHECK(strcmp(place, "/a/b") == 0);
    /* no path from the root: it is none of a driver's */
    setenv("NVIDIA_DRA_LOCAL_IPC_DIR", "claim", 1);
    check_place(first);
}

static void find__as_it_is_given(void)
{
    char place[8];

    CHECK_EQ(mfs_host_place("/a/b", place, sizeof(place)), 0);
    CHECK(strcmp(place, "/a/b") == 0);
    CHECK_EQ(mfs_host_place("/a/bcdef", place, sizeof(place)), -ENAMETOOLONG);
}

/* --- time namespaces --- */

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* Times of one are nothing to the other, so they share no file. */
static void find__another_file_in_a_time_namespace(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (unshare(CLONE_NEWTIME) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWTIME) != 0)
            SKIP("no time namespaces here");
        text_write("/proc/self/timens_offsets", "monotonic 100000 0");
        child = fork();
        if (child == 0) {
            struct mfs_host *mine = host_open(path), *same = host_open(path);

            CHECK(strncmp(mfs_host_path(mine), path, strlen(path)) == 0);
            CHECK(strcmp(mfs_host_path(mine), path) != 0);
            CHECK(strcmp(mfs_host_path(mine), mfs_host_path(same)) == 0);
            unlink(mfs_host_path(mine));
            exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        exit(status != 0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        exit(SKIPPED);
    CHECK_EQ(status, 0);
    CHECK_EQ(host->segment->processes[1].used, 0);
    mfs_host_close(host);
    unlink(path);
}

static const struct test tests[] = {
    TEST(find__a_folder_of_our_own),
    TEST(find__not_what_others_have_made),
    TEST(find__nowhere),
    TEST(find__of_a_claim),
    TEST(find__as_it_is_given),
    TEST(find__another_file_in_a_time_namespace),
};

TEST_MAIN(tests)
