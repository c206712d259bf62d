/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: where the segment lies when MFS_SEGMENT does not say it.
 *
 *     CLAIM/mfs/host            there is one of a group that we may use (rights.h)
 *     CLAIM/mfs-UID/host        the folder is ours (owner, no write by others, no link), or made
 *     /dev/shm/mfs-UID/host     the same, where the first cannot be had
 *     /tmp/mfs-UID/host         the same
 *
 * CLAIM is NVIDIA_DRA_LOCAL_IPC_DIR, where it is set: the folder that NVIDIA's driver for
 * Kubernetes' resource claims gives to all pods of a claim.
 *
 * Anybody may have made a folder of that name first; what lies in it is then somebody else's.
 */
#ifndef MFS_HOST_PLACE_H
#define MFS_HOST_PLACE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The file for `path` as the user gave it (NULL or "": the default). make: make its folder if the
 * place is the default one. reason (NULL: not asked for): why it is not the first of the default
 * places, or "". 0, or -ENAMETOOLONG; -EACCES: no folder can be had, reason says why.
 */
int mfs_place_find(const char *path, bool make, char *place, size_t size, char *reason,
                   size_t reason_size);

#endif
