/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/ucx_find.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first name in a folder, as sorted, that begins like that. false: none. */
static bool first_of(const char *folder, const char *begins, char *name, size_t size)
{
    DIR *entries = opendir(folder);
    const struct dirent *entry;
    bool found = false;

    while (entries && (entry = readdir(entries))) {
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, begins, strlen(begins)) != 0 ||
            (found && strcmp(entry->d_name, name) >= 0))
            continue;
        snprintf(name, size, "%s", entry->d_name);
        found = true;
    }
    if (entries)
        closedir(entries);
    return found;
}

bool mfs_nccl_rdma_device(const char *sysfs, char *name, size_t size)
{
    char folder[PATH_MAX];

    snprintf(folder, sizeof(folder), "%s/class/infiniband", sysfs);
    return first_of(folder, "", name, size);
}

bool mfs_nccl_ucx_has_verbs(const char *libucp)
{
    char real[PATH_MAX], folder[PATH_MAX + 8], name[NAME_MAX + 1], *end;

    if (!realpath(libucp, real))
        return false;
    end = strrchr(real, '/');
    *end = '\0';
    snprintf(folder, sizeof(folder), "%s/ucx", real);
    return first_of(folder, "libuct_ib", name, sizeof(name));
}
