/* SPDX-License-Identifier: Apache-2.0 */
/*
 * USER NAMESPACES: A container's user namespace shows owners and groups that it does not know as
 * one and the same number. Two that differ may look equal there; whether we may open the file at
 * all, the kernel decides by the real ones.
 */
#include "host/rights.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 256 /* as the path of a struct mfs_host */

static bool group_ours(gid_t group)
{
    const int count = getgroups(0, NULL);
    gid_t *groups = count > 0 ? malloc((size_t)count * sizeof(*groups)) : NULL;
    const int got = groups ? getgroups(count, groups) : 0;
    bool found = group == getegid();

    for (int i = 0; i < got; i++)
        found |= groups[i] == group;
    free(groups);
    return found;
}

static bool folder_suits(const char *path, const struct stat *file)
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash ? (size_t)(slash - path) : 0;
    char folder[PATH_SIZE];
    struct stat status;

    if (length >= sizeof(folder))
        return false;
    memcpy(folder, path, length);
    folder[length] = '\0';
    if (stat(length > 0 ? folder : slash ? "/" : ".", &status) != 0)
        return false;
    return status.st_uid == file->st_uid && status.st_gid == file->st_gid &&
           (status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IWOTH) == 0 &&
           ((status.st_mode & S_IWGRP) == 0 || (status.st_mode & S_ISVTX) != 0);
}

bool mfs_rights_suffice(const char *path, const struct stat *status)
{
    const mode_t mode = status->st_mode & 07777;

    if (!S_ISREG(status->st_mode))
        return false;
    if (status->st_uid == geteuid() && (mode & 077) == 0)
        return true;
    return mode == 0660 && folder_suits(path, status) &&
           (status->st_uid == geteuid() || group_ours(status->st_gid));
}
