/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts, workers, endpoints. Loading the shim does nothing: bash, git and
 * compilers inherit LD_PRELOAD as well. All set-up is at the first call.
 */
#include <stdlib.h>

#include "core/atomic.h"
#include "host/answers.h"
#include "host/config.h"
#include "host/log.h"
#include "host/marks.h"
#include "ucx/contacts.h"
#include "ucx/dispatch.h"
#include "ucx/express.h"
#include "ucx/finish.h"
#include "ucx/flush.h"
#include "ucx/map.h"
#include "ucx/rails.h"
#include "ucx/shim.h"
#include "ucx/watch.h"

_Atomic int mfs_ucx_state;
static struct mfs_ucx_map areas = {.mutex = PTHREAD_MUTEX_INITIALIZER}; /* of contexts */

static void forked(void)
{
    mfs_set(&mfs_ucx_state, MFS_UCX_DISABLED);
}

bool mfs_ucx_set_up(void)
{
    const bool enable = mfs_config_get()->enable && mfs_host_get();
    const int known = enable ? MFS_UCX_ENABLED : MFS_UCX_DISABLED;
    int expected = MFS_UCX_UNKNOWN;

    if (mfs_replace(&mfs_ucx_state, &expected, known) && enable) {
        pthread_atfork(NULL, NULL, forked);
        mfs_marks_expect();
        mfs_stats_at_exit();
    }
    return enable;
}

/* --- contexts --- */

/* Remember how large an area of its own the program wants in each request, and how to set that
 * up: our requests must have one, too. */
static void area_keep(ucp_context_h context, const ucp_params_t *params, unsigned rails)
{
    struct mfs_ucx_area area = {.rails = (uint8_t)rails};
    struct mfs_ucx_area *kept;

    if (params->field_mask & UCP_PARAM_FIELD_REQUEST_SIZE)
        area.bytes = params->request_size;
    if (params->field_mask & UCP_PARAM_FIELD_REQUEST_INIT)
        area.init = params->request_init;
    if (params->field_mask & UCP_PARAM_FIELD_REQUEST_CLEANUP)
        area.cleanup = params->request_cleanup;
    kept = malloc(sizeof(*kept));
    if (!kept)
        return;
    *kept = area;
    if (mfs_ucx_map_add(&areas, context, kept) != 0)
        free(kept);
}

MFS_UCX_EXPORT ucs_status_t ucp_init_version(unsigned major, unsigned minor,
                                             const ucp_params_t *params, const ucp_config_t *config,
                                             ucp_context_h *context)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER_CHECKED();
    const ucs_status_t status = caller.api->ucp_init_version(major, minor, params, config, context);

    if (status == UCS_OK && !caller.inner && mfs_ucx_enabled())
        area_keep(*context, params, mfs_ucx_rails(caller.api, config));
    return status;
}

MFS_UCX_EXPORT void ucp_cleanup(ucp_context_h context)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER_CHECKED();
    struct mfs_ucx_area *area =
        caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_map_find(&areas, context);

    if (area) {
        mfs_ucx_map_remove(&areas, context);
        free(area);
    }
    caller.api->ucp_cleanup(context);
}

/* --- workers --- */

MFS_UCX_EXPORT ucs_status_t ucp_worker_create(ucp_context_h context,
                                              const ucp_worker_params_t *params,
                                              ucp_worker_h *worker)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER_CHECKED();
    const ucs_status_t status = caller.api->ucp_worker_create(context, params, worker);
    const struct mfs_ucx_area *area = status != UCS_OK || caller.inner || !mfs_ucx_enabled()
                                          ? NULL
                                          : mfs_ucx_map_find(&areas, context);

    struct mfs_ucx_worker *ours =
        area ? mfs_ucx_worker_add(caller.api, *worker, area, params) : NULL;

    if (ours) {
        mfs_ucx_express_open(ours);
        mfs_ucx_api_hold(caller.api);
    }
    return status;
}

MFS_UCX_EXPORT void ucp_worker_destroy(ucp_worker_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER_CHECKED();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);
    const struct mfs_ucx_api *api = caller.api;

    if (!worker) {
        caller.api->ucp_worker_destroy(handle);
        return;
    }
    mfs_ucx_lock(worker);
    worker->ending = true;
    mfs_ucx_unlock(worker);
    mfs_ucx_abandon(worker, NULL, UCS_ERR_CANCELED);
    mfs_ucx_worker_drop(worker);
    (void)mfs_ucx_deliver(worker);
    api->ucp_worker_destroy(handle); /* ends the chunks in flight: calls chunk_done */
    (void)mfs_ucx_deliver(worker);
    mfs_stats_write(worker->host);
    mfs_ucx_express_close(worker);
    mfs_ucx_worker_free(worker);
    mfs_ucx_api_let_go(api);
}

/* Our part of a progress call, when UCX has done its own and returned `count`. */
static __attribute__((noinline)) unsigned progress_ours(struct mfs_ucx_worker *worker,
                                                        unsigned count)
{
    count += mfs_ucx_dispatch(worker);
    mfs_ucx_contacts_round(worker->host);
    if (mfs_get(&worker->done_count) > 0)
        count += mfs_ucx_deliver(worker);
    if (!MFS_LIKELY(!worker->classes))
        mfs_answers_look(worker->host, mfs_now_ns());
    return count;
}

/* Programs poll, so this is called far more often than anything else. */
static inline unsigned progress(struct mfs_ucx_worker *worker)
{
    unsigned count;

    mfs_ucx_enter(worker);
    count = worker->api->ucp_worker_progress(worker->handle);
    mfs_ucx_leave(worker);
    if (!MFS_LIKELY(mfs_get(&worker->queued_count) == 0 && mfs_get(&worker->done_count) == 0))
        count = progress_ours(worker, count);
    else if (count == 0)
        mfs_ucx_watch_round(worker);
    return count;
}

unsigned mfs_ucx_progress(struct mfs_ucx_worker *worker)
{
    return progress(worker);
}

MFS_UCX_EXPORT unsigned ucp_worker_progress(ucp_worker_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);

    return worker ? progress(worker) : caller.api->ucp_worker_progress(handle);
}

static ucs_status_t wait_ours(struct mfs_ucx_worker *worker, struct mfs_ucx_request *request)
{
    ucs_status_t status;

    while ((status = mfs_ucx_status(request)) == UCS_INPROGRESS)
        (void)mfs_ucx_progress(worker);
    mfs_set(&request->seen, true);
    mfs_ucx_release(request, false);
    return status;
}

ucs_status_t mfs_ucx_wait(struct mfs_ucx_worker *worker, ucs_status_ptr_t handle)
{
    ucs_status_t status;

    if (!UCS_PTR_IS_PTR(handle))
        return UCS_PTR_STATUS(handle);
    if (mfs_ucx_request_ours(handle))
        return wait_ours(worker, mfs_ucx_request_of(handle));
    while ((status = worker->api->ucp_request_check_status(handle)) == UCS_INPROGRESS)
        (void)mfs_ucx_progress(worker);
    worker->api->ucp_request_free(handle);
    return status;
}

/* The caller is about to sleep. Returns true when it must not, since it has something to send. */
static bool stays_awake(struct mfs_ucx_worker *worker)
{
    return mfs_ucx_dispatch(worker) > 0 || mfs_ucx_restless(worker);
}

MFS_UCX_EXPORT ucs_status_t ucp_worker_arm(ucp_worker_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);

    if (worker && stays_awake(worker))
        return UCS_ERR_BUSY;
    return caller.api->ucp_worker_arm(handle);
}

MFS_UCX_EXPORT ucs_status_t ucp_worker_wait(ucp_worker_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);

    if (worker && stays_awake(worker))
        return UCS_OK; /* as if an event had come, so the caller progresses the worker */
    return caller.api->ucp_worker_wait(handle);
}

/* As ucp_worker_wait: it returns only when memory at the address may have changed. */
MFS_UCX_EXPORT void ucp_worker_wait_mem(ucp_worker_h handle, void *address)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);

    if (!worker || !stays_awake(worker))
        caller.api->ucp_worker_wait_mem(handle, address);
}

/* --- endpoints --- */

MFS_UCX_EXPORT ucs_status_t ucp_ep_create(ucp_worker_h handle, const ucp_ep_params_t *params,
                                          ucp_ep_h *ep)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);
    const ucs_status_t status = caller.api->ucp_ep_create(handle, params, ep);

    if (worker && status == UCS_OK)
        mfs_ucx_ep_add(worker, *ep, params);
    return status;
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_close_nbx(ucp_ep_h handle, const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = mfs_ucx_ep_of(&caller, handle);
    ucs_status_ptr_t result;

    if (ep && mfs_ucx_close(ep, param, &result))
        return result;
    return caller.api->ucp_ep_close_nbx(handle, param);
}

/* The old forms: neither callback nor anything else but the mode. */
static bool close_old(struct mfs_ucx_ep *ep, unsigned mode, ucs_status_ptr_t *result)
{
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
        .flags = mode == UCP_EP_CLOSE_MODE_FORCE ? UCP_EP_CLOSE_FLAG_FORCE : 0,
    };

    return ep && mfs_ucx_close(ep, &param, result);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_close_nb(ucp_ep_h handle, unsigned mode)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (close_old(mfs_ucx_ep_of(&caller, handle), mode, &result))
        return result;
    return caller.api->ucp_ep_close_nb(handle, mode);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_disconnect_nb(ucp_ep_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (close_old(mfs_ucx_ep_of(&caller, handle), UCP_EP_CLOSE_MODE_FLUSH, &result))
        return result;
    return caller.api->ucp_disconnect_nb(handle);
}

MFS_UCX_EXPORT void ucp_ep_destroy(ucp_ep_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = mfs_ucx_ep_of(&caller, handle);
    struct mfs_ucx_worker *worker = ep ? ep->worker : NULL;
    ucs_status_ptr_t result;

    if (close_old(ep, UCP_EP_CLOSE_MODE_FLUSH, &result))
        (void)mfs_ucx_wait(worker, result);
    else
        caller.api->ucp_ep_destroy(handle);
}
