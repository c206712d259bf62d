/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which UCX does a caller use? Several copies can live in one process (NIXL's
 * wheel carries one of its own, opened RTLD_LOCAL), so the answer is by caller:
 *
 *   return address -> object it lies in -> the libucp which that object links to
 *
 * Calls that libucp makes to its own exported functions come by here as well; they
 * are marked `inner` and jump straight on.
 *
 * A plug-in can be closed, its UCX with it, and another one can come to lie at the same addresses.
 * We keep none of them loaded: that would change which UCX the next plug-in gets (the loader takes
 * what it has under that name). Only a copy with a worker of ours is held until the worker ends.
 */
#ifndef MFS_UCX_SYMBOLS_H
#define MFS_UCX_SYMBOLS_H

#include <ucp/api/ucp.h>

#include "core/atomic.h"
#include "core/types.h"

#define MFS_UCX_SITES 1024u /* a power of two */

struct mfs_ucx_api {
#define MFS_UCX_CALL(type, name, parameters) type(*name) parameters;
#include "ucx/calls.def"
#include "ucx/asks.def"
#undef MFS_UCX_CALL
    const void *base; /* where that libucp is mapped */
};

struct mfs_ucx_caller {
    const struct mfs_ucx_api *api;
    bool inner; /* the caller is libucp itself */
};

/*
 * A place in the program that calls us, and the answer for it. There are some tens of them in a
 * process. The address is written last, which publishes the rest. The answer changes later only
 * when the library that the place was in has been unloaded: then nobody calls from there, until
 * whoever comes to lie there has seen mfs_ucx_callers_check.
 */
struct mfs_ucx_site {
    _Atomic(const void *) address; /* NULL: free */
    struct mfs_ucx_caller caller;
    bool own; /* it lies in this library: caller is right while there is one copy of UCX */
};

extern struct mfs_ucx_site mfs_ucx_sites[MFS_UCX_SITES];
extern _Atomic unsigned mfs_ucx_copies; /* of UCX that are in use */

/* Not where it would be, perhaps never asked for before; or there are several copies. */
struct mfs_ucx_caller mfs_ucx_caller_of(const void *return_address);
/*
 * Has a library been unloaded since the last time? Then all answers are found anew. Called where
 * a program begins to use UCX, or a part of it: it asks the loader, which is too much for each
 * put. Whoever comes to lie where another one was begins like that.
 */
void mfs_ucx_callers_check(void);
/* While it is held, that copy of UCX stays where it is, whatever the program closes. */
void mfs_ucx_api_hold(const struct mfs_ucx_api *api);
void mfs_ucx_api_let_go(const struct mfs_ucx_api *api);

static inline unsigned mfs_ucx_site_home(const void *return_address)
{
    return (unsigned)(uintptr_t)return_address % MFS_UCX_SITES;
}

/* Cannot fail: a process that calls ucp_* has one; if it cannot be found, abort with a line. */
static inline struct mfs_ucx_caller mfs_ucx_caller(const void *return_address)
{
    const struct mfs_ucx_site *site = &mfs_ucx_sites[mfs_ucx_site_home(return_address)];

    if (MFS_LIKELY(mfs_see(&site->address) == return_address && mfs_see(&mfs_ucx_copies) == 1))
        return site->caller;
    return mfs_ucx_caller_of(return_address);
}

#endif
