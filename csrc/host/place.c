/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIME NAMESPACES: Times in a segment are of CLOCK_MONOTONIC, which has another zero in each time
 * namespace. Processes of such a namespace share a file of their own, the usual one with the
 * namespace's number behind its name.
 */
#include "host/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/rights.h"

#define FOLDER_SIZE 200
#define INITIAL_TIME_NAMESPACE 0xeffffffau /* PROC_TIME_INIT_INO of the kernel */

/* "" in the namespace that a machine starts with, and where nothing can be known. */
static void namespace_suffix(char *suffix, size_t size)
{
    struct stat status;

    suffix[0] = '\0';
    if (stat("/proc/self/ns/time", &status) == 0 && status.st_ino != INITIAL_TIME_NAMESPACE)
        snprintf(suffix, size, ".%llu", (unsigned long long)status.st_ino);
}

/* Can the folder be used? "" or why not. Made if it is not there and `make` says so. */
static void folder_check(const char *parent, const char *folder, bool make, char *why, size_t size)
{
    struct stat status;
    bool there;

    why[0] = '\0';
    if (make && mkdir(folder, 0700) != 0 && errno != EEXIST)
        snprintf(why, size, "%s cannot be made (%s)", folder, strerror(errno));
    if (*why)
        return;
    there = lstat(folder, &status) == 0;
    if (!there && (make || errno != ENOENT || access(parent, W_OK | X_OK) != 0))
        snprintf(why, size, "%s cannot be used (%s)", folder, strerror(errno));
    else if (there && S_ISLNK(status.st_mode))
        snprintf(why, size, "%s is a link", folder);
    else if (there && !S_ISDIR(status.st_mode))
        snprintf(why, size, "%s is no folder", folder);
    else if (there && status.st_uid != geteuid())
        snprintf(why, size, "%s belongs to user %u", folder, (unsigned)status.st_uid);
    else if (there && (status.st_mode & 022) != 0)
        snprintf(why, size, "%s can be written to by others (mode %04o)", folder,
                 (unsigned)status.st_mode & 07777);
    else if (there && access(folder, W_OK | X_OK) != 0)
        snprintf(why, size, "%s cannot be used (%s)", folder, strerror(errno));
}

/* The folder that the pods of a resource claim share; NULL: there is none, or it cannot be one. */
static const char *claim_folder(void)
{
    const char *folder = getenv("NVIDIA_DRA_LOCAL_IPC_DIR");

    return folder && folder[0] == '/' && strlen(folder) < FOLDER_SIZE - 32 ? folder : NULL;
}

/* Has somebody made a segment of a group for the pods of a claim? */
static bool claim_shared(const char *claim, const char *suffix, char *place, size_t size)
{
    struct stat status;

    if (!claim || (size_t)snprintf(place, size, "%s/mfs/host%s", claim, suffix) >= size)
        return false;
    return lstat(place, &status) == 0 && mfs_rights_suffice(place, &status);
}

int mfs_place_find(const char *path, bool make, char *place, size_t size, char *reason,
                   size_t reason_size)
{
    const char *const parents[] = {claim_folder(), "/dev/shm", "/tmp"};
    char suffix[32], folder[FOLDER_SIZE] = "", why[400] = "", first[400] = "";

    namespace_suffix(suffix, sizeof(suffix));
    if (reason)
        reason[0] = '\0';
    if (path && *path)
        return (size_t)snprintf(place, size, "%s%s", path, suffix) < size ? 0 : -ENAMETOOLONG;
    if (claim_shared(parents[0], suffix, place, size))
        return 0;
    for (size_t i = parents[0] ? 0 : 1; i < sizeof(parents) / sizeof(parents[0]); i++) {
        snprintf(folder, sizeof(folder), "%s/mfs-%u", parents[i], (unsigned)geteuid());
        folder_check(parents[i], folder, make, why, sizeof(why));
        if (!*why)
            break;
        if (!*first)
            memcpy(first, why, sizeof(first));
    }
    if (reason)
        snprintf(reason, reason_size, "%s%s%s", first, *why ? ", " : "", why);
    snprintf(place, size, "%s/host%s", folder, suffix);
    return *why ? -EACCES : 0;
}
