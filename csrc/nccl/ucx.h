/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UCX at hand, opened by path and called through pointers. So the plug-in loads where
 * there is none, names what it found, and is not intercepted by our own LD_PRELOAD shim,
 * which would otherwise queue our chunks a second time.
 *
 *   MFS_NCCL_UCX  >  the libucx package  >  the loader's own libucp.so.0
 *
 * On a host with RDMA devices the loader's own comes before a libucx package without verbs.
 *
 * VERSIONS: Our headers are newer than the UCX at hand may be. What a UCX does not know in a struct
 * that it is given it passes over; but one that it is to fill it leaves as it was, and answers OK.
 * So such a field is looked at only when `version` is that of the UCX which brought it.
 */
#ifndef MFS_NCCL_UCX_H
#define MFS_NCCL_UCX_H

#include <stdio.h>
#include <ucp/api/ucp.h>

struct mfs_nccl_ucx {
#define MFS_NCCL_UCX(type, name, parameters) type(*name) parameters;
#define MFS_NCCL_UCX_OPTIONAL MFS_NCCL_UCX
#include "nccl/ucx.def"
#undef MFS_NCCL_UCX_OPTIONAL
#undef MFS_NCCL_UCX
    unsigned version; /* MFS_NCCL_UCX_VERSION(major, minor) */
    char path[512];
};

#define MFS_NCCL_UCX_VERSION(major, minor) ((unsigned)(major) << 16 | (unsigned)(minor))
/* Tried: 1.13.1 and newer. */
#define MFS_NCCL_UCX_OLDEST MFS_NCCL_UCX_VERSION(1, 12)
#define MFS_NCCL_UCX_TELLS_TRANSPORTS MFS_NCCL_UCX_VERSION(1, 14) /* ucp_ep_query */

/* Opened at the first call, kept. NULL: there is none; the reason was logged, once. */
const struct mfs_nccl_ucx *mfs_nccl_ucx_get(void);

#endif
