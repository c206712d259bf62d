/* SPDX-License-Identifier: Apache-2.0 */
/*
 * COPYING: The tables are read from the file and not mapped: a file that is made anew while we look
 * shrinks for a moment, and a mapping of it would kill the process that touches it.
 *
 * COUNTERS: A process that leaves takes what it has counted out of its cell and adds it to what the
 * past has counted. A copy from in between would lack it, and whoever compares two looks would see
 * a counter go back. So the copy is made again while somebody changes the tables, a few times:
 * one that is stopped in the middle of it must not stop us.
 */
#include "host/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/place.h"
#include "host/rights.h"

#define COPIES_MAX 5
#define COPY_PAUSE_NS 200000

/* -ENODATA: the file has no such bytes, as while it is made. */
static int bytes_read(int fd, void *to, size_t from, size_t length)
{
    for (size_t at = 0; at < length;) {
        const ssize_t got = pread(fd, (char *)to + at, length - at, (off_t)(from + at));

        if (got == 0)
            return -ENODATA;
        if (got < 0 && errno != EINTR)
            return -errno;
        at += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

static int file_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat status;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && mfs_rights_suffice(path, &status))
        return fd;
    close(fd);
    return S_ISDIR(status.st_mode) ? -EISDIR : -EACCES;
}

/* Is it a segment that we can read? -ENODATA: there is nothing in it, or nobody uses it and that
 * matters. */
static int file_check(int fd, bool past)
{
    static const char made[8] = MFS_SEGMENT_MAGIC, unmade[8];
    char head[offsetof(struct mfs_segment, writer)] = {0};
    struct stat status;
    int error;

    if (fstat(fd, &status) != 0)
        return -errno;
    error = bytes_read(fd, head, 0, sizeof(head));
    if (error && (past || error != -ENODATA))
        return error;
    if (memcmp(head, made, sizeof(made)) != 0 && memcmp(head, unmade, sizeof(unmade)) != 0)
        return -EBADMSG;
    error = mfs_process_any(fd);
    if (error < 0)
        return error;
    if (error == 0 && (!past || memcmp(head, unmade, sizeof(unmade)) == 0))
        return -ENODATA;
    if (memcmp(head + offsetof(struct mfs_segment, version), &(uint32_t){MFS_LAYOUT_VERSION},
               sizeof(uint32_t)) != 0 ||
        status.st_size != (off_t)sizeof(struct mfs_segment))
        return -EPROTO;
    return 0;
}

/* All but the requests and the events, as they were at one time; see above. */
static int tables_copy(int fd, struct mfs_segment *copy)
{
    const struct timespec pause = {0, COPY_PAUSE_NS};
    uint64_t past[MFS_COUNT_LAST];
    uint32_t writer = 0;
    int error = 0;

    for (int i = 0; i < COPIES_MAX; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        error = bytes_read(fd, copy, 0, offsetof(struct mfs_segment, requests));
        if (!error)
            error = bytes_read(fd, past, offsetof(struct mfs_segment, past), sizeof(past));
        if (!error)
            error = bytes_read(fd, &writer, offsetof(struct mfs_segment, writer), sizeof(writer));
        if (error || (!writer && !mfs_get(&copy->writer) &&
                      memcmp(past, (const void *)copy->past, sizeof(past)) == 0))
            break;
    }
    return error;
}

static int part_copy(int fd, void *to, const struct mfs_segment *copy, size_t size)
{
    return bytes_read(fd, to, (size_t)((const char *)to - (const char *)copy), size);
}

/* Whom the words say that they were, when none of them lives any more. */
static void once_living(const struct mfs_segment *copy, struct mfs_living *living)
{
    *living = (struct mfs_living){{0}};
    for (uint32_t slot = 0; slot < MFS_PROCESSES_MAX; slot++) {
        if (mfs_get(&copy->processes[slot].used))
            living->slots[slot / 64] |= UINT64_C(1) << slot % 64;
    }
}

static int copy_from(int fd, unsigned parts, struct mfs_segment *copy, struct mfs_living *living)
{
    int error = file_check(fd, parts & MFS_COPY_PAST);

    if (!error)
        error = mfs_process_living(fd, living);
    if (!error)
        error = tables_copy(fd, copy);
    if (!error && parts & MFS_COPY_REQUESTS)
        error = part_copy(fd, copy->requests, copy,
                          offsetof(struct mfs_segment, tracing) -
                              offsetof(struct mfs_segment, requests));
    if (!error)
        error = part_copy(fd, &copy->tracing, copy, sizeof(copy->tracing));
    if (!error && parts & MFS_COPY_EVENTS)
        error = part_copy(fd, &copy->events_count, copy,
                          offsetof(struct mfs_segment, waits) -
                              offsetof(struct mfs_segment, events_count));
    if (!error && parts & MFS_COPY_WAITS)
        error = part_copy(fd, copy->waits, copy, sizeof(copy->waits));
    if (!error && parts & MFS_COPY_FAR)
        error = part_copy(fd, &copy->far, copy, sizeof(copy->far));
    if (!error && mfs_process_any(fd) == 0)
        once_living(copy, living);
    return error;
}

int mfs_segment_copy(const char *path, unsigned parts, struct mfs_segment *copy,
                     struct mfs_living *living)
{
    char place[sizeof(((struct mfs_host *)0)->path)];
    int error = mfs_place_find(path, false, place, sizeof(place), NULL, 0);
    int fd;

    if (error)
        return error;
    fd = file_open(place);
    if (fd < 0)
        return fd;
    error = copy_from(fd, parts, copy, living);
    close(fd);
    return error;
}

int mfs_host_open_copy(const char *path, struct mfs_host **out)
{
    struct mfs_living living;
    struct mfs_host *host;
    int error = mfs_host_open_private(&host);

    if (error)
        return error;
    error = mfs_segment_copy(path, MFS_COPY_PAST | MFS_COPY_REQUESTS | MFS_COPY_EVENTS,
                             host->segment, &living);
    if (error) {
        mfs_host_close(host);
        return error;
    }
    *out = host;
    return 0;
}
