/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THREADS: as everything of a worker's it is guarded by the worker's mutex. Only the search for
 * a request looks at all workers, without it: a request can be found at its own worker alone,
 * and whoever gives it back is one who may use that worker now.
 */
#include "ucx/express.h"

#include <pthread.h>

#include "ucx/dispatch.h"
#include "ucx/ep.h"

static struct {
    pthread_mutex_t mutex;
    struct mfs_ucx_worker *first;
} pools = {PTHREAD_MUTEX_INITIALIZER, NULL};

void mfs_ucx_express_open(struct mfs_ucx_worker *worker)
{
    for (unsigned i = 0; i < MFS_UCX_EXPRESS_MAX; i++)
        worker->express.all[i].worker = worker;
    pthread_mutex_lock(&pools.mutex);
    worker->express.next = pools.first;
    pools.first = worker;
    pthread_mutex_unlock(&pools.mutex);
}

void mfs_ucx_express_close(struct mfs_ucx_worker *worker)
{
    struct mfs_ucx_worker **at = &pools.first;

    pthread_mutex_lock(&pools.mutex);
    while (*at != worker)
        at = &(*at)->express.next;
    *at = worker->express.next;
    pthread_mutex_unlock(&pools.mutex);
}

/* --- mutex held --- */

static uint64_t used(const struct mfs_ucx_express_pool *pool)
{
    return mfs_get(&pool->used);
}

static void put(struct mfs_ucx_express_pool *pool, const struct mfs_ucx_express *express)
{
    const unsigned at = (unsigned)(express - pool->all);

    mfs_set(&pool->requests[at], NULL);
    mfs_set(&pool->used, used(pool) & ~(UINT64_C(1) << at));
}

/* NULL: something waits, or the port has no room. */
static struct mfs_ucx_express *take(struct mfs_ucx_ep *ep,
                                    const struct mfs_ucx_operation *operation,
                                    const struct mfs_tag *tag)
{
    struct mfs_ucx_worker *worker = ep->worker;
    const uint8_t own = mfs_ucx_own_lane(operation);
    const ucp_request_param_t *param = operation->param;
    const uint64_t free = ~used(&worker->express);
    struct mfs_ucx_lane *lane = mfs_ucx_lane(ep, own);
    struct mfs_ucx_express *express;
    struct mfs_destination *to;

    mfs_ucx_lane_settings(worker);
    if (free == 0 || mfs_ucx_lane_ready(ep, own) != 0 || ep->untagged[!own] > 0)
        return NULL;
    to = mfs_ucx_lane_to(ep, own);
    if (!to || mfs_sender_express(lane->sender, to, operation->bytes, 0) != 0)
        return NULL;
    ep->refs++;
    express = &worker->express.all[__builtin_ctzll(free)];
    mfs_set(&worker->express.used, ~free | (free & -free));
    express->ep = ep;
    express->bytes = operation->bytes;
    express->tag = *tag;
    express->lane = own;
    express->over = express->silent = false;
    express->callback = param->op_attr_mask & UCP_OP_ATTR_FIELD_CALLBACK ? param->cb.send : NULL;
    express->user_data =
        param->op_attr_mask & UCP_OP_ATTR_FIELD_USER_DATA ? param->user_data : NULL;
    return express;
}

static void over(struct mfs_ucx_express *express, ucs_status_t status)
{
    struct mfs_ucx_ep *ep = express->ep;

    mfs_sender_done_now(mfs_ucx_lane(ep, express->lane)->sender, &ep->to[express->lane],
                        express->bytes, true);
    if (status != UCS_OK)
        mfs_ucx_ep_outcome(ep, status);
    ep->refs--;
    mfs_ucx_ep_reap(ep);
}

/* --- without the mutex --- */

static void done(void *request, ucs_status_t status, void *user_data)
{
    struct mfs_ucx_express *express = user_data;
    struct mfs_ucx_worker *worker = express->worker;
    struct mfs_ucx_express_pool *pool = &worker->express;
    ucp_send_nbx_callback_t callback;

    mfs_ucx_lock(worker);
    over(express, status);
    callback = express->silent ? NULL : express->callback;
    user_data = express->user_data;
    if (mfs_get(&pool->requests[express - pool->all]))
        put(pool, express);
    else
        express->over = true;
    mfs_ucx_unlock(worker);
    if (callback)
        callback(request, status, user_data);
}

static ucs_status_ptr_t post(const struct mfs_ucx_worker *worker, ucp_ep_h handle,
                             const struct mfs_ucx_operation *operation,
                             struct mfs_ucx_express *express)
{
    const uint32_t attributes =
        operation->param->op_attr_mask & (MFS_UCX_CHUNK_ATTRIBUTES | UCP_OP_ATTR_FLAG_NO_IMM_CMPL);
    ucp_request_param_t param = {
        .op_attr_mask = attributes | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = done,
        .user_data = express,
    };

    if (attributes & UCP_OP_ATTR_FIELD_MEMORY_TYPE)
        param.memory_type = operation->param->memory_type;
    if (attributes & UCP_OP_ATTR_FIELD_MEMH)
        param.memh = operation->param->memh;
    return operation->kind == MFS_UCX_PUT
               ? worker->api->ucp_put_nbx(handle, operation->buffer, operation->bytes,
                                          operation->remote_addr, operation->rkey, &param)
               : worker->api->ucp_get_nbx(handle, operation->buffer, operation->bytes,
                                          operation->remote_addr, operation->rkey, &param);
}

bool mfs_ucx_express(struct mfs_ucx_ep *ep, const struct mfs_ucx_operation *operation,
                     const struct mfs_tag *tag, ucs_status_ptr_t *result)
{
    struct mfs_ucx_worker *worker = ep->worker;
    struct mfs_ucx_express_pool *pool = &worker->express;
    struct mfs_ucx_express *express;

    if (worker->classes) /* it has no level before it has been in the queue */
        return false;
    mfs_ucx_lock(worker);
    express = take(ep, operation, tag);
    mfs_ucx_unlock(worker);
    if (!express)
        return false;
    mfs_ucx_enter(worker);
    *result = post(worker, ep->handle, operation, express);
    mfs_ucx_leave(worker);
    mfs_ucx_lock(worker);
    if (UCS_PTR_IS_PTR(*result) && !express->over) {
        mfs_set(&pool->requests[express - pool->all], *result);
    } else {
        if (!express->over)
            over(express, UCS_PTR_STATUS(*result));
        put(pool, express);
    }
    mfs_ucx_unlock(worker);
    return true;
}

/* --- given back --- */

/* Its number at this worker; MFS_UCX_EXPRESS_MAX: it is not one of its. */
static unsigned number_of(const struct mfs_ucx_express_pool *pool, const void *request)
{
    for (uint64_t left = used(pool); left; left &= left - 1) {
        const unsigned at = (unsigned)__builtin_ctzll(left);

        if (mfs_get(&pool->requests[at]) == request)
            return at;
    }
    return MFS_UCX_EXPRESS_MAX;
}

/* The worker at which it is under way; NULL: it is none of these. */
static struct mfs_ucx_worker *worker_of(const void *request)
{
    struct mfs_ucx_worker *worker;

    pthread_mutex_lock(&pools.mutex);
    worker = pools.first;
    while (worker && number_of(&worker->express, request) == MFS_UCX_EXPRESS_MAX)
        worker = worker->express.next;
    pthread_mutex_unlock(&pools.mutex);
    return worker;
}

void mfs_ucx_express_free(const struct mfs_ucx_api *api, void *request)
{
    struct mfs_ucx_worker *worker = NULL;

    if (api->ucp_request_check_status(request) == UCS_INPROGRESS)
        worker = worker_of(request);
    if (worker) {
        unsigned at;

        mfs_ucx_lock(worker);
        at = number_of(&worker->express, request);
        if (at < MFS_UCX_EXPRESS_MAX)
            worker->express.all[at].silent = true;
        mfs_ucx_unlock(worker);
        api->ucp_request_release(request); /* it leaves the callback, which is ours, in place */
    } else {
        api->ucp_request_free(request);
    }
}
