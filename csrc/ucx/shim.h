/* SPDX-License-Identifier: Apache-2.0 */
/* What every exported symbol begins with. */
#ifndef MFS_UCX_SHIM_H
#define MFS_UCX_SHIM_H

#include <string.h>

#include "core/atomic.h"
#include "ucx/ep.h"
#include "ucx/symbols.h"
#include "ucx/worker.h"

#define MFS_UCX_EXPORT __attribute__((visibility("default")))

/* The real functions of whoever called the exported symbol we are in. */
#define MFS_UCX_CALLER() mfs_ucx_caller(__builtin_extract_return_addr(__builtin_return_address(0)))
/* The same where a part of a program begins or ends: it may lie where another one was. */
#define MFS_UCX_CALLER_CHECKED() (mfs_ucx_callers_check(), MFS_UCX_CALLER())

enum { MFS_UCX_UNKNOWN, MFS_UCX_ENABLED, MFS_UCX_DISABLED };

extern _Atomic int mfs_ucx_state;

bool mfs_ucx_set_up(void); /* at the first call */

/* It has been set up, and this is not a fork of the process that was. */
static inline bool mfs_ucx_is_on(void)
{
    return mfs_get(&mfs_ucx_state) == MFS_UCX_ENABLED;
}

/* The same, and sets it up at the first call if MFS_ENABLE is set: where contexts and workers
 * are made. */
static inline bool mfs_ucx_enabled(void)
{
    return mfs_ucx_is_on() || (mfs_get(&mfs_ucx_state) == MFS_UCX_UNKNOWN && mfs_ucx_set_up());
}

/*
 * Our state behind a handle; NULL: hand the call on. The copy of UCX is then the handle's own.
 * Where nothing has been set up no handle is known.
 */
static inline struct mfs_ucx_worker *mfs_ucx_worker_of(struct mfs_ucx_caller *caller,
                                                       ucp_worker_h handle)
{
    struct mfs_ucx_worker *worker =
        MFS_LIKELY(!caller->inner && mfs_ucx_is_on()) ? mfs_ucx_worker_find(handle) : NULL;

    if (MFS_LIKELY(worker))
        caller->api = worker->api;
    return worker;
}

static inline struct mfs_ucx_ep *mfs_ucx_ep_of(struct mfs_ucx_caller *caller, ucp_ep_h handle)
{
    struct mfs_ucx_ep *ep =
        MFS_LIKELY(!caller->inner && mfs_ucx_is_on()) ? mfs_ucx_ep_find(handle) : NULL;

    if (MFS_LIKELY(ep))
        caller->api = ep->worker->api;
    return ep;
}

/* The old form's callback takes one argument less; the one more is ignored, as UCX does. */
static inline ucp_request_param_t mfs_ucx_old_param(ucp_send_callback_t callback)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK};

    memcpy(&param.cb.send, &callback, sizeof(callback));
    return param;
}

/* One round of progress: dispatch, UCX, callbacks. */
unsigned mfs_ucx_progress(struct mfs_ucx_worker *worker);
/* What a post, flush or close returned: progress until it is done, and give it back. */
ucs_status_t mfs_ucx_wait(struct mfs_ucx_worker *worker, ucs_status_ptr_t handle);

#endif
