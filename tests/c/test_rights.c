/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of a group: which files are one, and who may use them. */
#include "host/rights.h"

#include <grp.h>

#include "host/look.h"
#include "mounts.h"

#define FOLDER "/tmp/shared"
#define PATH FOLDER "/host"
#define GROUP 4711

/* A file of the group `group` in a folder of it, in a /tmp of this test's own. */
static void make(mode_t folder_mode, mode_t mode, gid_t folder_group, gid_t group)
{
    int fd;

    umask(0);
    CHECK_EQ(mkdir(FOLDER, 0700), 0);
    if (chown(FOLDER, (uid_t)-1, folder_group) != 0)
        SKIP("only root can give a folder away");
    CHECK_EQ(chmod(FOLDER, folder_mode), 0);
    fd = open(PATH, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(fchown(fd, (uid_t)-1, group), 0);
    CHECK_EQ(fchmod(fd, mode), 0);
    close(fd);
}

static void set_up(void)
{
    own_mounts();
    own_tmpfs("/tmp", "size=32m,mode=1777");
}

static void suffice__by_modes(void)
{
    const gid_t own = getegid();
    const struct {
        mode_t folder, file;
        gid_t folder_group, group;
        int error;
    } rows[] = {
        {03770, 0660, own, own, 0},         {02750, 0660, own, own, 0},
        {03775, 0660, own, own, 0},         /* others see that it is there */
        {01770, 0660, own, own, -EACCES},   /* not set-group-ID */
        {02770, 0660, own, own, -EACCES},   /* a member could put another file there */
        {03777, 0660, own, own, -EACCES},   /* others could make files in it */
        {03770, 0666, own, own, -EACCES},   /* others could write */
        {03770, 0664, own, own, -EACCES},   /* others could read */
        {03770, 0640, own, own, -EACCES},   /* members could read alone */
        {03770, 0660, GROUP, own, -EACCES}, /* two groups */
        {03770, 0600, own, own, 0},         /* ours alone, wherever it lies */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            static struct mfs_look found;
            struct mfs_host *host = NULL;

            set_up();
            make(rows[i].folder, rows[i].file, rows[i].folder_group, rows[i].group);
            CHECK_EQ_AT(mfs_host_open(PATH, &host), rows[i].error, i);
            if (host)
                CHECK_EQ_AT(mfs_look_take(PATH, &found), 0, i);
            else
                CHECK_EQ_AT(mfs_look_take(PATH, &found), -EACCES, i);
            mfs_host_close(host);
            exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED && getuid() == 0)
            exit(SKIPPED);
        CHECK(status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED));
    }
}

/* As a user without rights of its own, in these groups. */
static int open_as(uid_t uid, size_t count, const gid_t *groups)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct mfs_host *host = NULL;
        int error;

        if (setgroups(count, groups) != 0 || setgid(uid) != 0 || setuid(uid) != 0)
            exit(100);
        error = mfs_host_open(PATH, &host);
        if (!error && mfs_request_put(host, uid, "one", &(struct mfs_facts){0}) != 0)
            exit(101);
        mfs_host_close(host);
        exit(-error);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void suffice__users_of_a_group(void)
{
    static const gid_t member[] = {99, GROUP}, other[] = {99};
    struct mfs_host *host;
    struct stat status;

    if (geteuid() != 0)
        SKIP("only root can be other users");
    set_up();
    make(03770, 0660, GROUP, GROUP);
    /* whoever comes first makes it whole, and it stays the group's */
    CHECK_EQ(open_as(1001, 2, member), 0);
    CHECK_EQ(stat(PATH, &status), 0);
    CHECK_EQ(status.st_size, sizeof(struct mfs_segment));
    CHECK_EQ(status.st_mode & 07777, 0660);
    host = host_open(PATH);
    CHECK_EQ(open_as(1002, 2, member), 0);
    CHECK_EQ(open_as(1003, 1, other), -EACCES);
    CHECK_EQ(host->segment->processes[1].pid > 0, 1); /* it was in this segment */
    mfs_host_close(host);
}

/* A member of another group that lets us in all the same, as root, is not one that was meant. */
static void suffice__a_group_that_is_not_ours(void)
{
    struct mfs_host *host = NULL;

    if (geteuid() != 0)
        SKIP("only root can open what belongs to others");
    set_up();
    make(03770, 0660, GROUP, GROUP);
    CHECK_EQ(chown(FOLDER, 1001, GROUP), 0);
    CHECK_EQ(chown(PATH, 1001, GROUP), 0);
    CHECK_EQ(mfs_host_open(PATH, &host), -EACCES);
    CHECK_EQ(chown(PATH, 1002, GROUP), 0); /* somebody else has put a file into the folder */
    CHECK_EQ(setgroups(1, &(gid_t){GROUP}), 0);
    CHECK_EQ(mfs_host_open(PATH, &host), -EACCES);
    CHECK_EQ(chown(PATH, 1001, GROUP), 0);
    mfs_host_close(host_open(PATH));
}

static const struct test tests[] = {
    TEST(suffice__by_modes),
    TEST(suffice__users_of_a_group),
    TEST(suffice__a_group_that_is_not_ours),
};

TEST_MAIN(tests)
