/* SPDX-License-Identifier: Apache-2.0 */
#include "host/past.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/attach.h"

#define BLOCK 65536u
#define PATH_SIZE (sizeof(((struct mfs_host *)0)->path) + 16)

static bool read_all(int fd, char *to, size_t size)
{
    for (size_t at = 0; at < size;) {
        const ssize_t got = pread(fd, to + at, size - at, (off_t)at);

        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        at += got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* Blocks of zeros stay holes. */
static bool write_all(int fd, const char *from, size_t size)
{
    static const char zeros[BLOCK];

    for (size_t at = 0; at < size;) {
        const size_t length = size - at < BLOCK ? size - at : BLOCK;
        ssize_t wrote = (ssize_t)length;

        if (memcmp(from + at, zeros, length) != 0)
            wrote = pwrite(fd, from + at, length, (off_t)at);
        if (wrote < 0 && errno != EINTR)
            return false;
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    return ftruncate(fd, (off_t)size) == 0;
}

/* Has it done anything? */
static bool worth(struct mfs_segment *copy)
{
    struct mfs_host host = {.segment = copy, .fd = -1, .slot_fd = -1};

    if (memcmp(copy->magic, MFS_SEGMENT_MAGIC, sizeof(copy->magic)) != 0 ||
        copy->version != MFS_LAYOUT_VERSION)
        return false;
    return mfs_event_count(&host) > 0 || mfs_count_total(&host, MFS_COUNT_CALLS) > 0 ||
           mfs_count_total(&host, MFS_COUNT_CHUNKS) > 0;
}

static void write_beside(const char *path, const struct mfs_segment *copy)
{
    char unfinished[PATH_SIZE], last[PATH_SIZE];
    int fd;

    snprintf(last, sizeof(last), "%s.last", path);
    snprintf(unfinished, sizeof(unfinished), "%s.last~", path);
    (void)unlink(unfinished); /* of one that died here; the lock of the opener is held */
    fd = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    if (!write_all(fd, (const char *)copy, sizeof(*copy)) || rename(unfinished, last) != 0)
        (void)unlink(unfinished);
    close(fd);
}

void mfs_past_keep(int fd, const char *path)
{
    struct mfs_segment *copy;
    struct rlimit limit;
    struct stat status;

    /* beyond the limit the kernel sends a signal that ends the program */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < sizeof(*copy))
        return;
    /* a group's segment is kept by nobody: what one of them made would be no other's to trust */
    if (fstat(fd, &status) != 0 || status.st_size != (off_t)sizeof(*copy) ||
        status.st_uid != geteuid() || (status.st_mode & 077) != 0)
        return;
    copy = malloc(sizeof(*copy));
    if (copy && read_all(fd, (char *)copy, sizeof(*copy)) && worth(copy))
        write_beside(path, copy);
    free(copy);
}
