/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put, get, and what keeps its order with them: flush and fence.
 *
 * A deferred operation owes its caller what UCX would have given: see
 * docs/ucx.md. What cannot be deferred (a datatype that is not one run of bytes,
 * the caller's own request memory, immediate completion forced) is handed on at
 * once and untouched; UCX promises no order between such operations without a
 * flush or a fence, and those we hold to both kinds.
 */
#include <stdlib.h>
#include <string.h>

#include "host/config.h"
#include "host/log.h"
#include "ucx/dispatch.h"
#include "ucx/shim.h"

/* Attributes an operation may have and still be deferred. */
#define DEFERRABLE                                                                                 \
    (UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_DATATYPE |       \
     UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FIELD_MEMH |            \
     UCP_OP_ATTR_FLAG_NO_IMM_CMPL | UCP_OP_ATTR_FLAG_FAST_CMPL | UCP_OP_ATTR_FLAG_MULTI_SEND)

/* The operation in bytes; 0: it cannot be deferred. */
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

/* Only what the mask says was set: the rest of the caller's struct may be garbage. */
static void param_copy(ucp_request_param_t *to, const ucp_request_param_t *from)
{
    to->op_attr_mask = from->op_attr_mask;
    if (from->op_attr_mask & UCP_OP_ATTR_FIELD_CALLBACK)
        to->cb = from->cb;
    if (from->op_attr_mask & UCP_OP_ATTR_FIELD_USER_DATA)
        to->user_data = from->user_data;
    if (from->op_attr_mask & UCP_OP_ATTR_FIELD_MEMORY_TYPE)
        to->memory_type = from->memory_type;
    if (from->op_attr_mask & UCP_OP_ATTR_FIELD_MEMH)
        to->memh = from->memh;
}

/* An error of ours must not cost the caller anything: original order, counted, said once. */
static void fault(struct mfs_ucx_worker *worker, const struct mfs_ucx_ep *ep, const char *what)
{
    static _Atomic bool said;

    mfs_count(worker->host, MFS_COUNT_FAULTS, 1);
    if (!atomic_exchange_explicit(&said, true, memory_order_relaxed))
        mfs_log(MFS_LOG_WARN, "%s: traffic goes on in its original order", what);
    mfs_ucx_drain(worker, ep);
}

/*
 * Defer it? Then *result is what the caller gets. false: the caller of this hands
 * the operation to UCX itself.
 */
static bool defer(struct mfs_ucx_ep *ep, enum mfs_ucx_kind kind, void *buffer, size_t count,
                  uint64_t remote_addr, ucp_rkey_h rkey, const ucp_request_param_t *param,
                  ucs_status_ptr_t *result)
{
    const struct mfs_config *config = mfs_config_get();
    struct mfs_ucx_worker *worker = ep->worker;
    const size_t bytes = deferrable_bytes(count, param);
    const struct mfs_tag tag = mfs_tag_get();
    const bool idle = atomic_load_explicit(&worker->queued, memory_order_relaxed) == 0;
    struct mfs_ucx_request *request;

    mfs_count(worker->host, MFS_COUNT_CALLS, 1);
    mfs_count(worker->host, MFS_COUNT_BYTES, bytes);
    if (tag.request != MFS_REQUEST_NONE)
        mfs_count(worker->host, MFS_COUNT_TAGGED, 1);
    if (!mfs_policy_defers(mfs_host_policy(worker->host)) && config->pace == 0) {
        if (!idle)
            mfs_ucx_drain(worker, NULL);
        mfs_count(worker->host, MFS_COUNT_STRAIGHT, 1);
        return false;
    }
    if (bytes == 0 || (bytes <= config->small && idle && config->pace == 0)) {
        mfs_count(worker->host, MFS_COUNT_STRAIGHT, 1);
        return false;
    }
    request = mfs_ucx_request_alloc();
    if (!request) {
        fault(worker, ep, "too many operations are deferred");
        return false;
    }
    request->kind = (uint8_t)kind;
    request->op.length = bytes;
    request->buffer = buffer;
    request->remote_addr = remote_addr;
    request->rkey = rkey;
    param_copy(&request->param, param);
    if (mfs_ucx_enqueue(ep, request, &tag) != 0) {
        mfs_ucx_request_put(request);
        fault(worker, ep, "the queue took no more");
        return false;
    }
    mfs_count(worker->host, MFS_COUNT_DEFERRED, 1);
    (void)mfs_ucx_dispatch(worker);
    *result = mfs_ucx_hand_over(request);
    return true;
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_put_nbx(ucp_ep_h handle, const void *buffer, size_t count,
                                            uint64_t remote_addr, ucp_rkey_h rkey,
                                            const ucp_request_param_t *param)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_ep_find(handle);
    ucs_status_ptr_t result;

    if (ep &&
        defer(ep, MFS_UCX_PUT, (void *)(uintptr_t)buffer, count, remote_addr, rkey, param, &result))
        return result;
    return caller.api->ucp_put_nbx(handle, buffer, count, remote_addr, rkey, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_get_nbx(ucp_ep_h handle, void *buffer, size_t count,
                                            uint64_t remote_addr, ucp_rkey_h rkey,
                                            const ucp_request_param_t *param)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_ep_find(handle);
    ucs_status_ptr_t result;

    if (ep && defer(ep, MFS_UCX_GET, buffer, count, remote_addr, rkey, param, &result))
        return result;
    return caller.api->ucp_get_nbx(handle, buffer, count, remote_addr, rkey, param);
}

/* --- flush --- */

/*
 * A flush that waits for what is queued; ep NULL: of the whole worker. NULL when it
 * need not wait (or cannot be represented: then everything before it has gone out).
 */
static struct mfs_ucx_request *flush_defer(struct mfs_ucx_worker *worker, struct mfs_ucx_ep *ep,
                                           const ucp_request_param_t *param)
{
    const struct mfs_tag tag = mfs_tag_get();
    struct mfs_ucx_request *flush;

    if (!mfs_ucx_flush_pending(worker, ep, &tag))
        return NULL;
    flush = (param->op_attr_mask & UCP_OP_ATTR_FIELD_REQUEST) ? NULL : mfs_ucx_request_alloc();
    if (!flush) {
        mfs_ucx_drain(worker, ep);
        return NULL;
    }
    flush->worker = worker;
    flush->ep = ep;
    flush->tag = tag;
    param_copy(&flush->param, param);
    if (mfs_ucx_flush_defer(flush) != 0) {
        mfs_ucx_request_put(flush);
        mfs_ucx_drain(worker, ep);
        return NULL;
    }
    return flush;
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_flush_nbx(ucp_ep_h handle, const ucp_request_param_t *param)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_ep_find(handle);
    struct mfs_ucx_request *flush = ep ? flush_defer(ep->worker, ep, param) : NULL;

    return flush ? flush : caller.api->ucp_ep_flush_nbx(handle, param);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_worker_flush_nbx(ucp_worker_h handle,
                                                     const ucp_request_param_t *param)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker =
        caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);
    struct mfs_ucx_request *flush = worker ? flush_defer(worker, NULL, param) : NULL;

    return flush ? flush : caller.api->ucp_worker_flush_nbx(handle, param);
}

/* The old form's callback takes one argument less; the one more is ignored, as UCX does. */
static ucp_request_param_t old_param(ucp_send_callback_t callback)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK};

    memcpy(&param.cb.send, &callback, sizeof(callback));
    return param;
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_ep_flush_nb(ucp_ep_h handle, unsigned flags,
                                                ucp_send_callback_t callback)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_ep_find(handle);
    const ucp_request_param_t param = old_param(callback);
    struct mfs_ucx_request *flush = ep ? flush_defer(ep->worker, ep, &param) : NULL;

    return flush ? flush : caller.api->ucp_ep_flush_nb(handle, flags, callback);
}

MFS_UCX_EXPORT ucs_status_ptr_t ucp_worker_flush_nb(ucp_worker_h handle, unsigned flags,
                                                    ucp_send_callback_t callback)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_worker *worker =
        caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);
    const ucp_request_param_t param = old_param(callback);
    struct mfs_ucx_request *flush = worker ? flush_defer(worker, NULL, &param) : NULL;

    return flush ? flush : caller.api->ucp_worker_flush_nb(handle, flags, callback);
}

/* The blocking forms: nobody progresses us meanwhile, so everything goes out first. */
MFS_UCX_EXPORT ucs_status_t ucp_ep_flush(ucp_ep_h handle)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();
    struct mfs_ucx_ep *ep = caller.inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_ep_find(handle);

    if (ep)
        mfs_ucx_drain(ep->worker, ep);
    return caller.api->ucp_ep_flush(handle);
}

static ucs_status_t drained(ucp_worker_h handle, const struct mfs_ucx_caller *caller,
                            ucs_status_t (*real)(ucp_worker_h))
{
    struct mfs_ucx_worker *worker =
        caller->inner || !mfs_ucx_enabled() ? NULL : mfs_ucx_worker_find(handle);

    if (worker)
        mfs_ucx_drain(worker, NULL);
    return real(handle);
}

MFS_UCX_EXPORT ucs_status_t ucp_worker_flush(ucp_worker_h handle)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    return drained(handle, &caller, caller.api->ucp_worker_flush);
}

/* What was posted before a fence is ordered before what comes after: it goes out now. */
MFS_UCX_EXPORT ucs_status_t ucp_worker_fence(ucp_worker_h handle)
{
    const struct mfs_ucx_caller caller = MFS_UCX_CALLER();

    return drained(handle, &caller, caller.api->ucp_worker_fence);
}
