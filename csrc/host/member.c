/* SPDX-License-Identifier: Apache-2.0 */
#include "host/member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/weigh.h"

#define HOST_IPC UINT64_C(0xEFFFFFFF) /* the kernel's number of the first IPC namespace */

/* The path of the process's cgroup (version 2); "": it has none. */
static void cgroup_path(const char *process, char *path, size_t size)
{
    char name[512], line[512];
    FILE *file;

    path[0] = '\0';
    snprintf(name, sizeof(name), "%s/cgroup", process);
    file = fopen(name, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "0::", 3) != 0)
            continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(path, size, "%.*s", (int)size - 1, line + 3);
    }
    if (file)
        fclose(file);
}

/* "default 200", before lines for single devices; 0: there is none. */
static uint32_t io_weight(const char *cgroups, const char *path)
{
    char name[1024], line[64] = "";
    unsigned long weight;
    FILE *file;

    snprintf(name, sizeof(name), "%s%s/io.weight", cgroups, path);
    file = *path ? fopen(name, "re") : NULL;
    if (!file)
        return 0;
    if (!fgets(line, sizeof(line), file))
        line[0] = '\0';
    fclose(file);
    weight = strtoul(line + (strncmp(line, "default ", 8) == 0 ? 8 : 0), NULL, 10);
    return weight <= MFS_WEIGHT_MAX ? (uint32_t)weight : 0;
}

static uint64_t namespace_of(const char *process, const char *kind)
{
    struct stat status;
    char name[512];

    snprintf(name, sizeof(name), "%s/ns/%s", process, kind);
    return stat(name, &status) == 0 ? (uint64_t)status.st_ino : 0;
}

/* FNV-1a. */
static uint64_t mixed(uint64_t key, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        key = (key ^ ((const unsigned char *)data)[i]) * UINT64_C(0x100000001B3);
    return key;
}

void mfs_member_read(const char *process, const char *cgroups, uint32_t configured,
                     struct mfs_member *member)
{
    const uint64_t ipc = namespace_of(process, "ipc");
    uint64_t key = mixed(UINT64_C(0xCBF29CE484222325), &ipc, sizeof(ipc));
    char path[sizeof("0::") + 508];

    cgroup_path(process, path, sizeof(path));
    if (ipc == HOST_IPC) { /* "/" is another cgroup in each of their namespaces */
        const uint64_t seen_from = namespace_of(process, "cgroup");

        key = mixed(mixed(key, &seen_from, sizeof(seen_from)), path, strlen(path));
    }
    member->key = key ? key : 1;
    member->weight = configured ? configured : io_weight(cgroups, path);
    if (member->weight == 0)
        member->weight = MFS_WEIGHT_USUAL;
}
