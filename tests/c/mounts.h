/* SPDX-License-Identifier: Apache-2.0 */
/* For tests that need a file system of their own: a small /dev/shm, a folder of another user's. */
#ifndef MFS_TESTS_MOUNTS_H
#define MFS_TESTS_MOUNTS_H

#include <sched.h>
#include <sys/mount.h>

#include "host.h"

static inline void text_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        SKIP("a namespace of our own cannot be set up");
    close(fd);
}

/* This process's mounts are its own from now on; in a user namespace where it is not root. */
static inline void own_mounts(void)
{
    const unsigned uid = geteuid(), gid = getegid();
    char line[64];

    if (unshare(CLONE_NEWNS) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            SKIP("no namespaces here");
        text_write("/proc/self/setgroups", "deny");
        snprintf(line, sizeof(line), "0 %u 1", uid);
        text_write("/proc/self/uid_map", line);
        snprintf(line, sizeof(line), "0 %u 1", gid);
        text_write("/proc/self/gid_map", line);
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        SKIP("mounts cannot be made private");
}

static inline void own_tmpfs(const char *path, const char *options)
{
    if (mount("tmpfs", path, "tmpfs", 0, options) != 0)
        SKIP("no tmpfs can be mounted");
}

#endif
