/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libnccl-net-mfs.so itself: the exported tables, and a way to what is behind them.
 *
 *   NCCL --> libnccl-net-mfs.so (tables) --> libmfs_nccl.so (transport, gate) --> libmfs.so
 *
 * Two libraries, since NCCL may be given a link to the first one that lies anywhere
 * (libnccl-net.so in a folder of its own), and the loader looks for what a library needs
 * beside the link. The first needs nothing; it opens the second by its real place.
 */
#ifndef MFS_NCCL_ABI_H
#define MFS_NCCL_ABI_H

#include "nccl/plugin.h"

/* Never NULL: when it cannot be loaded, a table whose init says why and fails. */
const struct mfs_nccl_table_v12 *mfs_nccl_abi_open(void);

#endif
