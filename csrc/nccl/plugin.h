/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The implementation behind all exported tables, as a table of version 12: our own transport,
 * or the gate in front of another plug-in (MFS_NCCL_INNER), chosen when the library is loaded.
 */
#ifndef MFS_NCCL_PLUGIN_H
#define MFS_NCCL_PLUGIN_H

#include "nccl/net.h"

#define MFS_NCCL_NAME "MFS"

extern const struct mfs_nccl_table_v12 mfs_nccl_transport;
/*
 * own_path: of the library that exports the tables. If that is what MFS_NCCL_INNER names, we
 * are the inner one (of another copy of ours) and no gate. Never NULL.
 */
__attribute__((visibility("default"))) const struct mfs_nccl_table_v12 *mfs_nccl_implementation(
    const char *own_path);

#endif
