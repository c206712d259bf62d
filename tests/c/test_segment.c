/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

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
    struct mfs_host *hosts[MFS_PROCESSES_MAX], *one_more = NULL;

    for (size_t i = 0; i < COUNT(hosts); i++)
        hosts[i] = host_open(path);
    CHECK_EQ(mfs_host_open(path, &one_more), -EUSERS);
    CHECK(one_more == NULL);
    for (size_t i = 0; i < COUNT(hosts); i++)
        mfs_host_close(hosts[i]);
    mfs_host_close(host_open(path));
    unlink(path);
}

/* Something has written over the header: those who work with the segment put it right. */
static void mend__others_can_attach_again(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path), *second;

    memset(host->segment, 0xa5, offsetof(struct mfs_segment, writer));
    CHECK_EQ(mfs_host_open(path, &second), -EPROTO);
    mfs_process_reap(host);
    mfs_host_close(host_open(path));
    mfs_host_close(host);
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

static const struct test tests[] = {
    TEST(open__file_is_ours_alone),
    TEST(open__refuses_a_file_others_can_touch),
    TEST(open__refuses_a_link),
    TEST(open__refuses_another_layout_in_use),
    TEST(open__another_layout_unused_is_started_afresh),
    TEST(open__leaves_other_files_alone),
    TEST(open__maker_died_in_between),
    TEST(open__bad_paths),
    TEST(open__more_than_there_are_slots),
    TEST(mend__others_can_attach_again),
    TEST(private__is_private),
};

TEST_MAIN(tests)
