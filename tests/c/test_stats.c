/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

/* Lines of the file. */
static int lines_of(const char *path, char *last, size_t size)
{
    FILE *file = fopen(path, "r");
    int lines = 0;

    while (file && fgets(last, (int)size, file))
        lines++;
    if (file)
        fclose(file);
    return lines;
}

static const char *stats_path(void)
{
    static char path[220];

    snprintf(path, sizeof(path), "%s-stats", segment_path());
    unlink(path);
    setenv("MFS_STATS", path, 1);
    return path;
}

static void write__appends_a_line(void)
{
    const char *path = stats_path();
    struct mfs_host *host = host_private();
    char line[1024], begin[64];

    mfs_count(host, MFS_COUNT_BYTES, 77);
    mfs_stats_write(host);
    mfs_count(host, MFS_COUNT_BYTES, 23);
    mfs_stats_write(host);
    CHECK_EQ(lines_of(path, line, sizeof(line)), 2);
    snprintf(begin, sizeof(begin), "{\"pid\": %d, \"calls\": 0, ", (int)getpid());
    CHECK(strncmp(line, begin, strlen(begin)) == 0);
    CHECK(strstr(line, "\"bytes\": 100,"));
    CHECK(strcmp(line + strlen(line) - 2, "}\n") == 0);
    mfs_host_close(host);
    unlink(path);
}

static void at_exit__of_the_process_that_asked(void)
{
    const char *path = stats_path();
    char line[1024];
    int status;
    pid_t child = fork();

    if (child == 0) {
        pid_t grandchild;

        mfs_stats_at_exit();
        mfs_stats_at_exit(); /* once is enough */
        mfs_count(mfs_host_get(), MFS_COUNT_CALLS, 5);
        grandchild = fork(); /* has not asked */
        if (grandchild == 0)
            exit(0);
        CHECK_EQ(waitpid(grandchild, &status, 0), grandchild);
        exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(lines_of(path, line, sizeof(line)), 1);
    CHECK(strstr(line, "\"calls\": 5,"));
    unlink(path);
}

static void write_thrice(void)
{
    struct mfs_host *host = host_private();

    for (int i = 0; i < 3; i++)
        mfs_stats_write(host);
    mfs_host_close(host);
}

/* It neither waits for a reader nor says more than once that there is none. */
static void write__to_a_pipe(void)
{
    const char *path = stats_path();
    char line[4096];
    const char *text;
    int fd;

    CHECK_EQ(mkfifo(path, 0600), 0);
    text = stderr_of(write_thrice);
    CHECK(strstr(text, "nobody reads from it") != NULL);
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    fd = open(path, O_RDONLY | O_NONBLOCK);
    CHECK(*stderr_of(write_thrice) == '\0');
    CHECK(read(fd, line, sizeof(line)) > 0 && strncmp(line, "{\"pid\"", 6) == 0);
    close(fd);
    unlink(path);
}

static const struct test tests[] = {
    TEST(write__appends_a_line),
    TEST(write__to_a_pipe),
    TEST(at_exit__of_the_process_that_asked),
};

TEST_MAIN(tests)
