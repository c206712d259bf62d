/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which UCX does a caller use? Several copies can live in one process (NIXL's
 * wheel carries one of its own, opened RTLD_LOCAL), so the answer is by caller:
 *
 *   return address -> object it lies in -> the libucp which that object links to
 *
 * Calls that libucp makes to its own exported functions come by here as well; they
 * are marked `inner` and jump straight on.
 */
#ifndef MFS_UCX_SYMBOLS_H
#define MFS_UCX_SYMBOLS_H

#include <ucp/api/ucp.h>

#include "core/types.h"

struct mfs_ucx_api {
#define MFS_UCX_CALL(type, name, parameters) type(*name) parameters;
#include "ucx/calls.def"
#undef MFS_UCX_CALL
    const void *base; /* where that libucp is mapped */
};

struct mfs_ucx_caller {
    const struct mfs_ucx_api *api;
    bool inner; /* the caller is libucp itself */
};

/* Cannot fail: a process that calls ucp_* has one; if it cannot be found, abort with a line. */
struct mfs_ucx_caller mfs_ucx_caller(const void *return_address);

#endif
