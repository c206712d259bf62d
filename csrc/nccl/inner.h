/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another net plug-in, of whatever version it is, seen as a table of version 12. One for a
 * process. Where version 12 is asked for what an older one does not know, it is left out:
 * contexts, configurations, profiler handles.
 */
#ifndef MFS_NCCL_INNER_H
#define MFS_NCCL_INNER_H

#include "nccl/net.h"

/*
 * Open the plug-in at path; version: 7 to 12, 0 for the newest it has. The same again at
 * every later call. NULL: `reason` says why.
 */
const struct mfs_nccl_table_v12 *mfs_nccl_inner_open(const char *path, int version, char *reason,
                                                     size_t size);
int mfs_nccl_inner_version(void); /* of the one that was opened */

#endif
