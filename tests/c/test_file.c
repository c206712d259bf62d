/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>

#include "mounts.h"

static off_t allocated(const char *path)
{
    struct stat status;

    CHECK_EQ(stat(path, &status), 0);
    return status.st_blocks * 512;
}

static void make__all_of_it_is_there(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);

    CHECK(allocated(path) >= (off_t)sizeof(struct mfs_segment));
    mfs_host_close(host);
    unlink(path);
}

static const char *small_path(const char *options)
{
    own_mounts();
    own_tmpfs("/dev/shm", options);
    setenv("MFS_SEGMENT", "/dev/shm/segment", 1);
    return "/dev/shm/segment";
}

static void get_and_register(void)
{
    struct mfs_facts facts = some_facts();

    CHECK_EQ(mfs_request_put(mfs_host_get(), 1, "one", &facts), 0);
}

/* Before, the first page without room was a SIGBUS. What was allocated is given back. */
static void make__no_room(void)
{
    static const char *const sizes[] = {"size=64k,mode=0700", "size=4m,mode=0700"};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            const char *path = small_path(sizes[i]), *text;
            struct mfs_host *host;

            CHECK_EQ(mfs_host_open(path, &host), -ENOSPC);
            CHECK_EQ(allocated(path), 0);
            text = stderr_of(get_and_register);
            CHECK(strstr(text, "segment /dev/shm/segment: no room for its ") != NULL);
            CHECK(strchr(text, '\n') == text + strlen(text) - 1);
            CHECK(*mfs_host_path(mfs_host_get()) == '\0');
            CHECK(strstr(mfs_host_reason(mfs_host_get()), "No space left on device") != NULL);
            exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
            exit(SKIPPED);
        CHECK_EQ_AT(status, 0, i);
    }
}

/* It becomes full while the segment is in use. */
static void make__room_is_taken_later(void)
{
    const char *path = small_path("size=32m,mode=0700");
    struct mfs_host *host = host_open(path);
    struct mfs_facts facts = some_facts();
    static char junk[1 << 20];
    int fd = open("/dev/shm/others", O_CREAT | O_WRONLY, 0600);

    while (write(fd, junk, sizeof(junk)) > 0)
        ;
    for (uint64_t i = 1; i <= MFS_REQUESTS_MAX; i++)
        CHECK_EQ_AT(mfs_request_put(host, i, "one", &facts), 0, i);
    mfs_host_close(host_open(path));
    mfs_host_close(host);
}

/* A limit on the size of files (ulimit -f) would be a signal as well. */
static void make__files_are_limited(void)
{
    const char *path = segment_path();
    const struct rlimit limit = {4096, 4096};
    struct mfs_host *host;

    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_EQ(mfs_host_open(path, &host), -EFBIG);
    unlink(path);
}

/* Somebody has made holes in it, or cut it. */
static void whole__in_use(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path), *second;
    const off_t size = sizeof(struct mfs_segment);
    const off_t end = size & ~(off_t)4095, begin = end - 4096 * 100;

    if (fallocate(host->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, end - begin) != 0)
        SKIP("no holes can be made in files here");
    CHECK(allocated(path) < size);
    mfs_host_close(host_open(path));
    CHECK(allocated(path) >= size);
    CHECK_EQ(ftruncate(host->fd, size - 4096), 0);
    CHECK_EQ(mfs_host_open(path, &second), -EPROTO);
    CHECK_EQ(ftruncate(host->fd, size), 0);
    mfs_host_close(host);
    unlink(path);
}

static const struct test tests[] = {
    TEST(make__all_of_it_is_there), TEST(make__no_room), TEST(make__room_is_taken_later),
    TEST(make__files_are_limited),  TEST(whole__in_use),
};

TEST_MAIN(tests)
