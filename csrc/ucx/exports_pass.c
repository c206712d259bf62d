/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is not scheduled: sends by tag, active message and stream go on at once, as they are, and
 * are counted, since their bytes use the port as well (docs/decisions/0016). Atomic operations are
 * not looked at. A transfer that a GPU starts never comes by the CPU; the making of the list of
 * memory that it works on does, and is counted.
 */

#include "core/atomic.h"
#include "host/log.h"
#include "ucx/shim.h"

/* In bytes; 0 for a datatype of the caller's own, whose size only its callbacks know. */
static uint64_t bytes_of(const void *buffer, size_t count, ucp_datatype_t datatype)
{
    const ucp_dt_iov_t *part = buffer;
    uint64_t bytes = 0;

    switch (datatype & UCP_DATATYPE_CLASS_MASK) {
    case UCP_DATATYPE_CONTIG:
        return count * (uint64_t)(datatype >> UCP_DATATYPE_SHIFT);
    case UCP_DATATYPE_IOV:
        for (size_t i = 0; i < count; i++)
            bytes += part[i].length;
        return bytes;
    default:
        return 0;
    }
}

static ucp_datatype_t datatype_of(const ucp_request_param_t *param)
{
    return param->op_attr_mask & UCP_OP_ATTR_FIELD_DATATYPE ? param->datatype
                                                            : ucp_dt_make_contig(1);
}

/* caller->api is right for the handle after it. An endpoint that UCX made by itself counts too. */
static void passed(struct mfs_ucx_caller *caller, ucp_ep_h handle, uint64_t header_bytes,
                   const void *buffer, size_t count, ucp_datatype_t datatype)
{
    const struct mfs_ucx_ep *ep = mfs_ucx_ep_of(caller, handle);
    struct mfs_host *host;

    if (caller->inner || !mfs_ucx_enabled())
        return;
    host = ep ? ep->worker->host : mfs_host_get();
    mfs_count(host, MFS_COUNT_PASSED, 1);
    mfs_count(host, MFS_COUNT_PASSED_BYTES, header_bytes + bytes_of(buffer, count, datatype));
}

/* --- by tag --- */

MFS_UCX_EXPORT ucs_status_ptr_t ucp_tag_send_nbx(ucp_ep_h ep, const void *buffer, size_t count,
                                                 ucp_tag_t tag, const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype_of(param));
    return caller.api->ucp_tag_send_nbx(ep, buffer, count, tag, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_tag_send_sync_nbx(ucp_ep_h ep, const void *buffer, size_t count,
                                                      ucp_tag_t tag,
                                                      const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype_of(param));
    return caller.api->ucp_tag_send_sync_nbx(ep, buffer, count, tag, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_tag_send_nb(ucp_ep_h ep, const void *buffer, size_t count,
                                                ucp_datatype_t datatype, ucp_tag_t tag,
                                                ucp_send_callback_t callback)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype);
    return caller.api->ucp_tag_send_nb(ep, buffer, count, datatype, tag, callback);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_tag_send_sync_nb(ucp_ep_h ep, const void *buffer, size_t count,
                                                     ucp_datatype_t datatype, ucp_tag_t tag,
                                                     ucp_send_callback_t callback)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype);
    return caller.api->ucp_tag_send_sync_nb(ep, buffer, count, datatype, tag, callback);
}

MFS_UCX_EXPORT ucs_status_t ucp_tag_send_nbr(ucp_ep_h ep, const void *buffer, size_t count,
                                             ucp_datatype_t datatype, ucp_tag_t tag, void *request)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype);
    return caller.api->ucp_tag_send_nbr(ep, buffer, count, datatype, tag, request);
}

/* --- by active message --- */

MFS_UCX_EXPORT ucs_status_ptr_t ucp_am_send_nbx(ucp_ep_h ep, unsigned id, const void *header,
                                                size_t header_length, const void *buffer,
                                                size_t count, const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, header_length, buffer, count, datatype_of(param));
    return caller.api->ucp_am_send_nbx(ep, id, header, header_length, buffer, count, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_am_send_nb(ucp_ep_h ep, uint16_t id, const void *buffer,
                                               size_t count, ucp_datatype_t datatype,
                                               ucp_send_callback_t callback, unsigned flags)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype);
    return caller.api->ucp_am_send_nb(ep, id, buffer, count, datatype, callback, flags);
}

/* --- by stream --- */

MFS_UCX_EXPORT ucs_status_ptr_t ucp_stream_send_nbx(ucp_ep_h ep, const void *buffer, size_t count,
                                                    const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype_of(param));
    return caller.api->ucp_stream_send_nbx(ep, buffer, count, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_stream_send_nb(ucp_ep_h ep, const void *buffer, size_t count,
                                                   ucp_datatype_t datatype,
                                                   ucp_send_callback_t callback, unsigned flags)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    passed(&caller, ep, 0, buffer, count, datatype);
    return caller.api->ucp_stream_send_nb(ep, buffer, count, datatype, callback, flags);
}

/* --- by the GPU --- */

static void gpu_list(const struct mfs_ucx_caller *caller)
{
    static _Atomic bool said;

    if (caller->inner || !mfs_ucx_enabled())
        return;
    mfs_count(mfs_host_get(), MFS_COUNT_GPU_LISTS, 1);
    if (!mfs_swap(&said, true))
        mfs_log(MFS_LOG_WARN, "this program lets the GPU start transfers (ucp_device_*): those "
                              "cannot be scheduled");
}

/* As UCX 1.21 declares them, but for the types, which older headers do not have. */
ucs_status_t ucp_device_local_mem_list_create(const void *params, void *list);
ucs_status_t ucp_device_remote_mem_list_create(const void *params, void *list);

MFS_UCX_EXPORT ucs_status_t ucp_device_local_mem_list_create(const void *params, void *list)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    gpu_list(&caller);
    return caller.api->ucp_device_local_mem_list_create(params, list);
}

MFS_UCX_EXPORT ucs_status_t ucp_device_remote_mem_list_create(const void *params, void *list)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    gpu_list(&caller);
    return caller.api->ucp_device_remote_mem_list_create(params, list);
}
