/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that wait for puts and gets: flush and fence. */
#include "ucx/dispatch.h"
#include "ucx/finish.h"
#include "ucx/flush.h"
#include "ucx/shim.h"

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_flush_nbx(ucp_ep_h handle, const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = mfs_ucx_ep_of(&caller, handle);
    ucs_status_ptr_t result;

    if (ep && mfs_ucx_flush(ep->worker, ep, param, &result))
        return result;
    return caller.api->ucp_ep_flush_nbx(handle, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_worker_flush_nbx(ucp_worker_h handle,
                                                     const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);
    ucs_status_ptr_t result;

    if (worker && mfs_ucx_flush(worker, NULL, param, &result))
        return result;
    return caller.api->ucp_worker_flush_nbx(handle, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_flush_nb(ucp_ep_h handle, unsigned flags,
                                                ucp_send_callback_t callback)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = mfs_ucx_ep_of(&caller, handle);
    const ucp_request_param_t param = mfs_ucx_old_param(callback);
    ucs_status_ptr_t result;

    if (ep && mfs_ucx_flush(ep->worker, ep, &param, &result))
        return result;
    return caller.api->ucp_ep_flush_nb(handle, flags, callback);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_worker_flush_nb(ucp_worker_h handle, unsigned flags,
                                                    ucp_send_callback_t callback)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);
    const ucp_request_param_t param = mfs_ucx_old_param(callback);
    ucs_status_ptr_t result;

    if (worker && mfs_ucx_flush(worker, NULL, &param, &result))
        return result;
    return caller.api->ucp_worker_flush_nb(handle, flags, callback);
}

static const ucp_request_param_t no_param;

MFS_UCX_EXPORT ucs_status_t ucp_ep_flush(ucp_ep_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = mfs_ucx_ep_of(&caller, handle);
    ucs_status_ptr_t result;

    if (ep && mfs_ucx_flush(ep->worker, ep, &no_param, &result))
        return mfs_ucx_wait(ep->worker, result);
    return caller.api->ucp_ep_flush(handle);
}

MFS_UCX_EXPORT ucs_status_t ucp_worker_flush(ucp_worker_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);
    ucs_status_ptr_t result;

    if (worker && mfs_ucx_flush(worker, NULL, &no_param, &result))
        return mfs_ucx_wait(worker, result);
    return caller.api->ucp_worker_flush(handle);
}

/* A fence orders what was posted before it in front of what comes later, so all that is queued is
 * handed to UCX first. */
MFS_UCX_EXPORT ucs_status_t ucp_worker_fence(ucp_worker_h handle)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker = mfs_ucx_worker_of(&caller, handle);

    if (worker)
        mfs_ucx_drain_whole(worker, NULL);
    return caller.api->ucp_worker_fence(handle);
}
