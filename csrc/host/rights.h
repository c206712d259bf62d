/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: may a file be our segment? It is one of these two, and no link:
 *
 *     ours alone     owner: us; mode 0600 or less
 *     a group's      owner: whoever owns its folder; mode 0660; its group is one of ours
 *         folder     set-group-ID, of the same group; nobody but its owner can remove or replace
 *                    what others have made in it: not writable by the group, or sticky; not
 *                    writable by others
 *
 * So who can read, change or replace it is a member of a group that somebody has made for it, with
 * a folder of that group (`mfs segment create`). Nothing that members write is trusted (trust.h).
 */
#ifndef MFS_HOST_RIGHTS_H
#define MFS_HOST_RIGHTS_H

#include <stdbool.h>
#include <sys/stat.h>

/* The file at path, whose descriptor gave `status`. */
bool mfs_rights_suffice(const char *path, const struct stat *status);

#endif
