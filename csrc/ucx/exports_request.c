/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that take a request. Its address says whether it is ours or UCX's. */
#include "core/atomic.h"
#include "host/config.h"
#include "ucx/abort.h"
#include "ucx/express.h"
#include "ucx/finish.h"
#include "ucx/shim.h"

/* The status that the caller sees. An error that it has seen is not told again by a flush. */
static ucs_status_t tell(void *handle)
{
    struct mfs_ucx_request *request = mfs_ucx_request_of(handle);
    const ucs_status_t status = mfs_ucx_status(request);

    if (UCS_STATUS_IS_ERR(status))
        mfs_set(&request->seen, true);
    return status;
}

MFS_UCX_EXPORT ucs_status_t ucp_request_check_status(void *request)
{
    if (MFS_LIKELY(!mfs_ucx_request_ours(request)))
        return MFS_UCX_CALLER().api->ucp_request_check_status(request);
    return tell(request);
}

MFS_UCX_EXPORT ucs_status_t ucp_request_test(void *request, ucp_tag_recv_info_t *info)
{
    if (mfs_ucx_request_ours(request))
        return tell(request);
    return MFS_UCX_CALLER().api->ucp_request_test(request, info);
}

MFS_UCX_EXPORT int ucp_request_is_completed(void *request)
{
    if (mfs_ucx_request_ours(request))
        return tell(request) != UCS_INPROGRESS;
    return MFS_UCX_CALLER().api->ucp_request_is_completed(request);
}

MFS_UCX_EXPORT ucs_status_t ucp_request_query(void *request, ucp_request_attr_t *attributes)
{
    static const char *const kinds[] = {"put", "get", "flush", "close"};
    const struct mfs_ucx_request *ours = mfs_ucx_request_of(request);

    if (!mfs_ucx_request_ours(request))
        return MFS_UCX_CALLER().api->ucp_request_query(request, attributes);
    if ((attributes->field_mask & UCP_REQUEST_ATTR_FIELD_INFO_STRING) &&
        (attributes->field_mask & UCP_REQUEST_ATTR_FIELD_INFO_STRING_SIZE) &&
        attributes->debug_string_size > 0)
        snprintf(attributes->debug_string, attributes->debug_string_size,
                 "%s of %llu bytes, scheduled by mfs", kinds[ours->kind],
                 (unsigned long long)ours->op.length);
    if (attributes->field_mask & UCP_REQUEST_ATTR_FIELD_STATUS)
        attributes->status = tell(request);
    if (attributes->field_mask & UCP_REQUEST_ATTR_FIELD_MEM_TYPE)
        attributes->mem_type = ours->attributes & UCP_OP_ATTR_FIELD_MEMORY_TYPE
                                   ? (ucs_memory_type_t)ours->memory_type
                                   : UCS_MEMORY_TYPE_UNKNOWN;
    return UCS_OK;
}

MFS_UCX_EXPORT void ucp_request_cancel(ucp_worker_h worker, void *request)
{
    if (mfs_ucx_request_ours(request))
        mfs_ucx_canceled(mfs_ucx_request_of(request));
    else
        MFS_UCX_CALLER().api->ucp_request_cancel(worker, request);
}

MFS_UCX_EXPORT void ucp_request_free(void *request)
{
    if (MFS_LIKELY(!mfs_ucx_request_ours(request))) {
        const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

        if (caller.inner || !mfs_ucx_is_on())
            caller.api->ucp_request_free(request);
        else
            mfs_ucx_express_free(caller.api, request);
    } else {
        mfs_ucx_release(mfs_ucx_request_of(request), true);
    }
}

MFS_UCX_EXPORT void ucp_request_release(void *request)
{
    if (mfs_ucx_request_ours(request))
        mfs_ucx_release(mfs_ucx_request_of(request), false);
    else
        MFS_UCX_CALLER().api->ucp_request_release(request);
}
