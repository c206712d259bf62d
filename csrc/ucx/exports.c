/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts, workers, endpoints. Loading the shim does nothing: bash, git and
 * compilers inherit LD_PRELOAD as well. All set-up is at the first call.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "host/config.h"
#include "host/log.h"
#include "ucx/dispatch.h"
#include "ucx/map.h"
#include "ucx/shim.h"

enum { UNKNOWN, ENABLED, DISABLED };

static _Atomic int state;
static struct mfs_ucx_map special_contexts = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void forked(void)
{
    atomic_store_explicit(&state, DISABLED, memory_order_relaxed);
}

static void at_end(void)
{
    if (atomic_load_explicit(&state, memory_order_relaxed) == ENABLED)
        mfs_ucx_stats_write(mfs_host_get());
}

static bool set_up(void)
{
    const bool enable = mfs_config_get()->enable && mfs_host_get();
    int expected = UNKNOWN;

    if (atomic_compare_exchange_strong(&state, &expected, enable ? ENABLED : DISABLED) && enable) {
        pthread_atfork(NULL, NULL, forked);
        (void)atexit(at_end);
    }
    return enable;
}

bool mfs_ucx_enabled(void)
{
    const int known = atomic_load_explicit(&state, memory_order_relaxed);

    return known == ENABLED || (known == UNKNOWN && set_up());
}

bool mfs_ucx_context_plain(ucp_context_h context)
{
    return mfs_ucx_map_find(&special_contexts, context) == NULL;
}

MFS_UCX_EXPORT ucs_status_t ucp_init_version(unsigned major, unsigned minor,
                                             const ucp_params_t *params, const ucp_config_t *config,
                                             ucp_context_h *context)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    const ucs_status_t status = caller.api->ucp_init_version(major, minor, params, config, context);

    if (status == UCS_OK && !caller.inner && mfs_ucx_enabled() &&
        (((params->field_mask & UCP_PARAM_FIELD_REQUEST_SIZE) && params->request_size > 0) ||
         (params->field_mask & UCP_PARAM_FIELD_REQUEST_INIT)) &&
        mfs_ucx_map_add(&special_contexts, *context, &special_contexts) == 0)
        mfs_log(MFS_LOG_INFO, "a UCX context asks for room in its requests: not scheduled");
    return status;
}

MFS_UCX_EXPORT void ucp_cleanup(ucp_context_h context)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    if (!caller.inner && mfs_ucx_enabled())
        mfs_ucx_map_remove(&special_contexts, context);
    caller.api->ucp_cleanup(context);
}

MFS_UCX_EXPORT ucs_status_t ucp_worker_create(ucp_context_h context,
                                              const ucp_worker_params_t *params,
                                              ucp_worker_h *worker)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    const ucs_status_t status = caller.api->ucp_worker_create(context, params, worker);

    if (status == UCS_OK && !caller.inner && mfs_ucx_enabled() && mfs_ucx_context_plain(context))
        mfs_ucx_worker_add(caller.api, *worker);
    return status;
}

MFS_UCX_EXPORT void ucp_worker_destroy(ucp_worker_h handle)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker =
        caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);

    if (!worker) {
        caller.api->ucp_worker_destroy(handle);
        return;
    }
    mfs_ucx_abandon(worker, NULL, UCS_ERR_CANCELED);
    mfs_ucx_worker_drop(worker);
    worker->api->ucp_worker_destroy(handle); /* ends the chunks in flight: calls chunk_done */
    mfs_ucx_stats_write(worker->host);
    mfs_ucx_worker_free(worker);
}

MFS_UCX_EXPORT unsigned ucp_worker_progress(ucp_worker_h handle)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker =
        caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);
    unsigned count;

    if (!worker)
        return caller.api->ucp_worker_progress(handle);
    count = mfs_ucx_dispatch(worker);
    count += worker->api->ucp_worker_progress(handle);
    count += mfs_ucx_dispatch(worker);
    if (atomic_load_explicit(&worker->done, memory_order_relaxed) > 0)
        count += mfs_ucx_deliver(worker);
    return count;
}

MFS_UCX_EXPORT ucs_status_t ucp_worker_arm(ucp_worker_h handle)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker =
        caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);

    if (worker && (mfs_ucx_dispatch(worker) > 0 || mfs_ucx_restless(worker)))
        return UCS_ERR_BUSY;
    return caller.api->ucp_worker_arm(handle);
}

MFS_UCX_EXPORT ucs_status_t ucp_worker_wait(ucp_worker_h handle)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker =
        caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);

    if (worker && (mfs_ucx_dispatch(worker) > 0 || mfs_ucx_restless(worker)))
        return UCS_OK; /* as when an event had come: the caller progresses */
    return caller.api->ucp_worker_wait(handle);
}

MFS_UCX_EXPORT ucs_status_t ucp_ep_create(ucp_worker_h handle, const ucp_ep_params_t *params,
                                          ucp_ep_h *ep)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    const ucs_status_t status = caller.api->ucp_ep_create(handle, params, ep);
    struct mfs_ucx_worker *worker =
        caller.inner || status != UCS_OK || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);

    if (worker)
        mfs_ucx_ep_add(worker, *ep);
    return status;
}

/* Before the real close: what is queued goes out now, or is ended when forced. */
static void ep_leave(const struct mfs_ucx_caller *caller, ucp_ep_h handle, bool force)
{
    struct mfs_ucx_ep *ep = caller->inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_ep_find(handle);

    if (!ep)
        return;
    if (force)
        mfs_ucx_abandon(ep->worker, ep, UCS_ERR_CANCELED);
    else
        mfs_ucx_drain(ep->worker, ep);
    mfs_ucx_ep_drop(ep);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_close_nbx(ucp_ep_h ep, const ucp_request_param_t *param)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    ep_leave(&caller, ep,
             (param->op_attr_mask & UCP_OP_ATTR_FIELD_FLAGS) &&
                 (param->flags & UCP_EP_CLOSE_FLAG_FORCE));
    return caller.api->ucp_ep_close_nbx(ep, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_close_nb(ucp_ep_h ep, unsigned mode)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    ep_leave(&caller, ep, mode == UCP_EP_CLOSE_MODE_FORCE);
    return caller.api->ucp_ep_close_nb(ep, mode);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_disconnect_nb(ucp_ep_h ep)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    ep_leave(&caller, ep, false);
    return caller.api->ucp_disconnect_nb(ep);
}

MFS_UCX_EXPORT void ucp_ep_destroy(ucp_ep_h ep)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    ep_leave(&caller, ep, false);
    caller.api->ucp_ep_destroy(ep);
}
