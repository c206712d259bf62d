/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put and get, in all their forms.
 *
 * The caller of a deferred operation may count on everything that UCX would have given it: see
 * docs/ucx.md. Some operations cannot be deferred: their datatype is not one run of bytes, the
 * caller gives its own memory for the request, or it forces immediate completion. They are handed
 * to UCX at once and unchanged. UCX promises no order between them and others without a flush or a
 * fence, and our flushes and fences wait for both kinds.
 */
#include "core/atomic.h"
#include "host/config.h"
#include "host/log.h"
#include "host/tag.h"
#include "ucx/dispatch.h"
#include "ucx/express.h"
#include "ucx/finish.h"
#include "ucx/shim.h"

static const ucp_request_param_t implicit_param; /* of the forms that return no request */

/* Attributes an operation may have and still be deferred. */
#define DEFERRABLE                                                                                 \
    (UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_DATATYPE |       \
     UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FIELD_MEMH |            \
     UCP_OP_ATTR_FLAG_NO_IMM_CMPL | UCP_OP_ATTR_FLAG_FAST_CMPL | UCP_OP_ATTR_FLAG_MULTI_SEND)

/* How many bytes the operation moves; 0 when it cannot be deferred. */
static size_t deferrable_bytes(size_t count, const ucp_request_param_t *param)
{
    size_t bytes = count;

    if (param->op_attr_mask & ~(uint32_t)DEFERRABLE)
        return 0;
    if ((param->op_attr_mask & UCP_OP_ATTR_FIELD_FLAGS) && param->flags != 0)
        return 0;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_DATATYPE) {
        /* contiguous: class in the low bits is 0, the size of an element above them */
        if ((param->datatype & UCP_DATATYPE_CLASS_MASK) != UCP_DATATYPE_CONTIG ||
            __builtin_mul_overflow(count, (size_t)(param->datatype >> UCP_DATATYPE_SHIFT), &bytes))
            return 0;
    }
    return bytes;
}

/* An error of ours costs the caller nothing but the order: what is queued goes to UCX in the order
 * of posting. The error is counted, and said once. */
static void fault(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep)
{
    static _Atomic bool said;

    mfs_ucx_count(worker, MFS_COUNT_FAULTS, 1);
    mfs_warn_once(&said, "the queue took no more: traffic goes on in its original order");
    mfs_ucx_drain(worker, ep);
}

/* Let the operation read from a copy of the caller's buffer. false: it cannot be copied. */
static bool copied(struct mfs_ucx_worker *worker, struct mfs_ucx_operation *operation)
{
    void *copy;

    mfs_ucx_lock(worker);
    copy = mfs_ucx_copy_make(&worker->copies, operation->buffer, operation->bytes);
    mfs_ucx_unlock(worker);
    if (copy)
        operation->buffer = copy;
    return copy != NULL;
}

static void copy_drop(struct mfs_ucx_worker *worker, void *buffer)
{
    mfs_ucx_lock(worker);
    mfs_ucx_copy_end(&worker->copies, buffer);
    mfs_ucx_unlock(worker);
}

/*
 * Defer the operation. Returns true when it was queued or sent: give *result to the caller. Returns
 * false when it is not to be deferred: hand it to UCX.
 */
static bool defer(struct mfs_ucx_ep *ep, enum mfs_ucx_kind kind, void *buffer, size_t count,
                  uint64_t remote_addr, ucp_rkey_h rkey, const ucp_request_param_t *param,
                  ucs_status_ptr_t *result)
{
    struct mfs_ucx_worker *worker = ep->worker;
    struct mfs_ucx_operation operation = {kind,        buffer, deferrable_bytes(count, param),
                                          remote_addr, rkey,   param};
    const struct mfs_tag tag = mfs_tag_look();
    const bool idle = mfs_get(&worker->queued_count) == 0;
    bool straight = idle && operation.bytes <= worker->small && worker->config->pace == 0;

    if (!straight) {
        const bool defers = mfs_ucx_defers(worker);

        if (!defers && !idle) /* scheduling was switched off: what is queued goes before this */
            mfs_ucx_drain(worker, NULL);
        straight = !defers || operation.bytes == 0;
    }
    mfs_ucx_count(worker, MFS_COUNT_CALLS, 1);
    mfs_ucx_count(worker, MFS_COUNT_BYTES, operation.bytes);
    if (tag.request != MFS_REQUEST_NONE)
        mfs_ucx_count(worker, MFS_COUNT_TAGGED, 1);
    if (straight) {
        mfs_ucx_count(worker, MFS_COUNT_STRAIGHT, 1);
        return false;
    }
    mfs_ucx_ep_port(ep);
    if (mfs_ucx_express(ep, &operation, &tag, result)) {
        mfs_ucx_count(worker, MFS_COUNT_DEFERRED, 1);
        mfs_ucx_count(worker, MFS_COUNT_CHUNKS, 1);
        return true;
    }
    if (param == &implicit_param && kind == MFS_UCX_PUT && operation.bytes <= MFS_UCX_COPY_BYTES &&
        !copied(worker, &operation)) {
        mfs_ucx_count(worker, MFS_COUNT_STRAIGHT, 1);
        mfs_ucx_drain_whole(worker, ep);
        return false;
    }
    if (mfs_ucx_enqueue(ep, &operation, &tag, result) != 0) {
        copy_drop(worker, operation.buffer);
        fault(worker, ep);
        return false;
    }
    mfs_ucx_count(worker, MFS_COUNT_DEFERRED, 1);
    return true;
}

/* defer() by the endpoint's handle. Afterwards caller->api is the UCX that the handle is of. */
static bool rma(struct mfs_ucx_caller *caller, enum mfs_ucx_kind kind, ucp_ep_h handle,
                const void *buffer, size_t count, uint64_t remote_addr, ucp_rkey_h rkey,
                const ucp_request_param_t *param, ucs_status_ptr_t *result)
{
    struct mfs_ucx_ep *ep = mfs_ucx_ep_of(caller, handle);

    return ep &&
           defer(ep, kind, (void *)(uintptr_t)buffer, count, remote_addr, rkey, param, result);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_put_nbx(ucp_ep_h handle, const void *buffer, size_t count,
                                            uint64_t remote_addr, ucp_rkey_h rkey,
                                            const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (rma(&caller, MFS_UCX_PUT, handle, buffer, count, remote_addr, rkey, param, &result))
        return result;
    return caller.api->ucp_put_nbx(handle, buffer, count, remote_addr, rkey, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_get_nbx(ucp_ep_h handle, void *buffer, size_t count,
                                            uint64_t remote_addr, ucp_rkey_h rkey,
                                            const ucp_request_param_t *param)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (rma(&caller, MFS_UCX_GET, handle, buffer, count, remote_addr, rkey, param, &result))
        return result;
    return caller.api->ucp_get_nbx(handle, buffer, count, remote_addr, rkey, param);
}

/* --- older forms --- */

MFS_UCX_EXPORT ucs_status_ptr_t ucp_put_nb(ucp_ep_h handle, const void *buffer, size_t bytes,
                                           uint64_t remote_addr, ucp_rkey_h rkey,
                                           ucp_send_callback_t callback)
{
    const ucp_request_param_t param = mfs_ucx_old_param(callback);
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (rma(&caller, MFS_UCX_PUT, handle, buffer, bytes, remote_addr, rkey, &param, &result))
        return result;
    return caller.api->ucp_put_nb(handle, buffer, bytes, remote_addr, rkey, callback);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_get_nb(ucp_ep_h handle, void *buffer, size_t bytes,
                                           uint64_t remote_addr, ucp_rkey_h rkey,
                                           ucp_send_callback_t callback)
{
    const ucp_request_param_t param = mfs_ucx_old_param(callback);
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (rma(&caller, MFS_UCX_GET, handle, buffer, bytes, remote_addr, rkey, &param, &result))
        return result;
    return caller.api->ucp_get_nb(handle, buffer, bytes, remote_addr, rkey, callback);
}

static const ucp_request_param_t no_param;

/* The caller gets no request for this form, so a flush tells it how the operation ended. */
static ucs_status_t implicit(const struct mfs_ucx_api *api, ucs_status_ptr_t result)
{
    if (!UCS_PTR_IS_PTR(result))
        return UCS_PTR_STATUS(result);
    if (mfs_ucx_request_ours(result))
        mfs_ucx_release(mfs_ucx_request_of(result), true);
    else
        mfs_ucx_express_free(api, result);
    return UCS_INPROGRESS;
}

MFS_UCX_EXPORT ucs_status_t ucp_put_nbi(ucp_ep_h handle, const void *buffer, size_t bytes,
                                        uint64_t remote_addr, ucp_rkey_h rkey)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (rma(&caller, MFS_UCX_PUT, handle, buffer, bytes, remote_addr, rkey, &implicit_param,
            &result))
        return implicit(caller.api, result);
    return caller.api->ucp_put_nbi(handle, buffer, bytes, remote_addr, rkey);
}

MFS_UCX_EXPORT ucs_status_t ucp_get_nbi(ucp_ep_h handle, void *buffer, size_t bytes,
                                        uint64_t remote_addr, ucp_rkey_h rkey)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_ptr_t result;

    if (rma(&caller, MFS_UCX_GET, handle, buffer, bytes, remote_addr, rkey, &implicit_param,
            &result))
        return implicit(caller.api, result);
    return caller.api->ucp_get_nbi(handle, buffer, bytes, remote_addr, rkey);
}

/* A blocking form: queued like any other, then progressed until it is done. */
static bool blocking(struct mfs_ucx_caller *caller, enum mfs_ucx_kind kind, ucp_ep_h handle,
                     const void *buffer, size_t bytes, uint64_t remote_addr, ucp_rkey_h rkey,
                     ucs_status_t *status)
{
    struct mfs_ucx_ep *ep = mfs_ucx_ep_of(caller, handle);
    ucs_status_ptr_t result;

    if (!ep ||
        !defer(ep, kind, (void *)(uintptr_t)buffer, bytes, remote_addr, rkey, &no_param, &result))
        return false;
    *status = mfs_ucx_wait(ep->worker, result);
    return true;
}

MFS_UCX_EXPORT ucs_status_t ucp_put(ucp_ep_h handle, const void *buffer, size_t bytes,
                                    uint64_t remote_addr, ucp_rkey_h rkey)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_t status;

    if (blocking(&caller, MFS_UCX_PUT, handle, buffer, bytes, remote_addr, rkey, &status))
        return status;
    return caller.api->ucp_put(handle, buffer, bytes, remote_addr, rkey);
}

MFS_UCX_EXPORT ucs_status_t ucp_get(ucp_ep_h handle, void *buffer, size_t bytes,
                                    uint64_t remote_addr, ucp_rkey_h rkey)
{
    struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    ucs_status_t status;

    if (blocking(&caller, MFS_UCX_GET, handle, buffer, bytes, remote_addr, rkey, &status))
        return status;
    return caller.api->ucp_get(handle, buffer, bytes, remote_addr, rkey);
}
