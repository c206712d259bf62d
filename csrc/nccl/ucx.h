/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UCX at hand, opened by path and called through pointers. So the plug-in loads where
 * there is none, names what it found, and is not intercepted by our own LD_PRELOAD shim,
 * which would otherwise queue our chunks a second time.
 *
 *   MFS_NCCL_UCX  >  ../libucx/lib beside this package  >  the loader's own libucp.so.0
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
    char path[512];
};

/* Opened at the first call, kept. NULL: there is none; the reason was logged, once. */
const struct mfs_nccl_ucx *mfs_nccl_ucx_get(void);

#endif
