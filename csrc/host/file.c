/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The segment's file.
 *
 * ROOM: All of it is allocated when it is made. A page for which its file system has no room at
 * the first touch would kill the program by SIGBUS; so a file that cannot be had whole is not used
 * at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "host/attach.h"
#include "host/rights.h"

#define INTERRUPTIONS_MAX 1000 /* by signals, before a file is given up */

bool mfs_file_ours(int fd)
{
    static const char made[8] = MFS_SEGMENT_MAGIC, unmade[8];
    struct stat status;
    char magic[8];

    if (fstat(fd, &status) != 0)
        return false;
    if (status.st_size == 0)
        return true;
    if (pread(fd, magic, sizeof(magic), 0) != (ssize_t)sizeof(magic))
        return false;
    return memcmp(magic, made, sizeof(magic)) == 0 ||
           (status.st_size == (off_t)sizeof(struct mfs_segment) &&
            memcmp(magic, unmade, sizeof(magic)) == 0);
}

/* Every page of the file is there from now on. -EOPNOTSUPP: its file system cannot say so. */
static int pages_allocate(int fd)
{
    for (int i = 0; i < INTERRUPTIONS_MAX; i++) {
        if (fallocate(fd, 0, 0, sizeof(struct mfs_segment)) == 0)
            return 0;
        if (errno != EINTR)
            break;
    }
    return errno == ENOSYS ? -EOPNOTSUPP : -errno;
}

/* The same by writing, to a file that nobody uses. */
static int pages_write(int fd)
{
    static const char zeros[65536];

    if (ftruncate(fd, sizeof(struct mfs_segment)) != 0)
        return -errno;
    for (size_t at = 0; at < sizeof(struct mfs_segment);) {
        const size_t left = sizeof(struct mfs_segment) - at;
        const ssize_t wrote =
            pwrite(fd, zeros, left < sizeof(zeros) ? left : sizeof(zeros), (off_t)at);

        if (wrote < 0 && errno != EINTR)
            return -errno;
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    return 0;
}

int mfs_file_make(int fd)
{
    struct rlimit limit;
    int error;

    /* beyond the limit the kernel sends a signal that ends the program */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < sizeof(struct mfs_segment))
        return -EFBIG;
    if (ftruncate(fd, 0) != 0)
        return -errno;
    error = pages_allocate(fd);
    if (error == -EOPNOTSUPP)
        error = pages_write(fd);
    if (error) /* what was had of it is needed more by others */
        (void)!ftruncate(fd, 0);
    return error;
}

int mfs_file_whole(int fd)
{
    struct stat status;
    int error;

    if (fstat(fd, &status) != 0)
        return -errno;
    if (status.st_size != (off_t)sizeof(struct mfs_segment))
        return -EPROTO;
    if (status.st_blocks * 512 >= status.st_size)
        return 0;
    error = pages_allocate(fd);
    return error == -EOPNOTSUPP ? 0 : error; /* perhaps it compresses: its maker has written all */
}

int mfs_file_open(const char *path, int flags, struct stat *status)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);

    if (fd < 0)
        return -errno;
    if (fstat(fd, status) != 0 || !mfs_rights_suffice(path, status)) {
        close(fd);
        return -EACCES; /* others could read or change it than those it is for */
    }
    return fd;
}

bool mfs_host_file_is(const struct mfs_host *host, int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && status.st_dev == host->device && status.st_ino == host->inode;
}

int mfs_host_reopen(struct mfs_host *host)
{
    struct stat status;
    int fd;

    mfs_fork_begin();
    fd = mfs_file_open(host->path, 0, &status);
    if (fd >= 0 && (status.st_dev != host->device || status.st_ino != host->inode)) {
        close(fd);
        fd = -ESTALE;
    }
    if (fd >= 0)
        host->fd = fd; /* the old number is not ours to close */
    mfs_fork_end();
    return fd < 0 ? fd : 0;
}
