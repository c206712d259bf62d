/* SPDX-License-Identifier: Apache-2.0 */
/* The file of counters that MFS_STATS names. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/config.h"
#include "host/host.h"
#include "host/log.h"

static _Atomic int registered; /* the process that has asked for it; a forked child has not */

/* The same path is written to again and again: what is wrong with it is said once. */
static void warn(const char *path, int error)
{
    static _Atomic bool told;

    if (!mfs_swap(&told, true))
        mfs_log(MFS_LOG_WARN, "MFS_STATS=%s: %s", path,
                error == ENXIO ? "nobody reads from it" : strerror(error));
}

void mfs_stats_write(struct mfs_host *host)
{
    const char *path = mfs_config_get()->stats;
    char line[1024];
    size_t length;
    ssize_t wrote;
    int fd;

    if (!*path)
        return;
    length = (size_t)snprintf(line, sizeof(line), "{\"pid\": %d", (int)getpid());
    for (int i = 0; i < MFS_COUNT_LAST; i++)
        length +=
            (size_t)snprintf(line + length, sizeof(line) - length, ", \"%s\": %llu",
                             mfs_counter_name((enum mfs_counter)i),
                             (unsigned long long)mfs_count_process(host, (enum mfs_counter)i));
    length += (size_t)snprintf(line + length, sizeof(line) - length, "}\n");
    /* a pipe that nobody reads is no reason to wait */
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (fd < 0) {
        warn(path, errno);
        return;
    }
    wrote = write(fd, line, length);
    if (wrote != (ssize_t)length)
        warn(path, wrote < 0 ? errno : ENOSPC);
    close(fd);
}

static void at_exit(void)
{
    struct mfs_host *host = mfs_host_get();

    if (host && mfs_get(&registered) == (int)getpid())
        mfs_stats_write(host);
}

void mfs_stats_at_exit(void)
{
    static _Atomic bool once;

    mfs_set(&registered, (int)getpid());
    if (!mfs_swap(&once, true))
        (void)atexit(at_exit);
}
