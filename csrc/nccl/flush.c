/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iflush: make what a NIC wrote into GPU memory visible to the GPU, by reading a byte of it
 * back over an endpoint to ourselves. Nothing to do for host memory, unless MFS_TEST_NCCL_FLUSH
 * asks for it (to try the way without a GPU).
 */
#include "nccl/comm.h"
#include "nccl/log.h"

static ucs_status_t self_open(struct mfs_nccl_engine *engine)
{
    const struct mfs_nccl_ucx *ucx = engine->ucx;
    ucp_address_t *address;
    size_t bytes;
    ucs_status_t status = ucx->ucp_worker_get_address(engine->workers[0], &address, &bytes);
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS};

    if (status != UCS_OK)
        return status;
    params.address = address;
    status = ucx->ucp_ep_create(engine->workers[0], &params, &engine->self);
    if (status != UCS_OK)
        engine->self = NULL;
    ucx->ucp_worker_release_address(engine->workers[0], address);
    return status;
}

static void over(struct mfs_nccl_request *request, ucs_status_t status)
{
    request->inflight--;
    request->comm->inflight--;
    request->comm->engine->ucx->ucp_rkey_destroy(request->flush_key);
    mfs_nccl_request_end(request, status == UCS_OK ? MFS_NCCL_OK : MFS_NCCL_SYSTEM_ERROR);
}

static void on_read(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_request *request = user;
    const struct mfs_nccl_ucx *ucx = request->comm->engine->ucx;

    over(request, status);
    ucx->ucp_request_free(ucx_request);
}

static struct mfs_nccl_request *free_slot(struct mfs_nccl_comm *comm)
{
    for (unsigned i = 0; i < MFS_NCCL_FLUSHES; i++) {
        if (mfs_see(&comm->flushes[i].state) == MFS_NCCL_FREE)
            return &comm->flushes[i];
    }
    return NULL;
}

static mfs_nccl_result_t read_back(struct mfs_nccl_comm *comm, const struct mfs_nccl_mr *mr,
                                   void *data, void **out)
{
    struct mfs_nccl_engine *engine = comm->engine;
    struct mfs_nccl_request *request = free_slot(comm);
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = on_read,
    };
    ucs_status_t status = engine->self ? UCS_OK : self_open(engine);
    ucs_status_ptr_t result;

    if (!request) {
        mfs_nccl_warn("iflush: more than %u at one time", MFS_NCCL_FLUSHES);
        return MFS_NCCL_INTERNAL_ERROR;
    }
    if (status == UCS_OK)
        status = engine->ucx->ucp_ep_rkey_unpack(engine->self, mr->key[0], &request->flush_key);
    if (status != UCS_OK) {
        mfs_nccl_warn("iflush: UCX says %s", engine->ucx->ucs_status_string(status));
        return MFS_NCCL_SYSTEM_ERROR;
    }
    request->kind = MFS_NCCL_FLUSH;
    request->received = 0;
    request->inflight++;
    comm->inflight++;
    param.user_data = request;
    mfs_set(&request->state, MFS_NCCL_BUSY);
    result = engine->ucx->ucp_get_nbx(engine->self, &request->remote, 1, (uint64_t)(uintptr_t)data,
                                      request->flush_key, &param);
    if (!UCS_PTR_IS_PTR(result))
        over(request, UCS_PTR_STATUS(result));
    *out = request;
    return MFS_NCCL_OK;
}

mfs_nccl_result_t mfs_nccl_iflush(void *recv_comm, int n, void **data, int *sizes, void **mhandles,
                                  void **out)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(recv_comm, false, "iflush");
    mfs_nccl_result_t result = MFS_NCCL_OK;

    *out = NULL;
    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    for (int i = n - 1; i >= 0; i--) { /* one read after all that arrived will do */
        const struct mfs_nccl_mr *mr = mhandles ? mhandles[i] : NULL;

        if (!mr || (sizes && sizes[i] == 0) ||
            (mr->type == MFS_NCCL_PTR_HOST && !mfs_config_get()->nccl_flush))
            continue;
        mfs_nccl_lock_take(&comm->engine->lock);
        result = comm->result == MFS_NCCL_OK ? read_back(comm, mr, data[i], out) : comm->result;
        mfs_nccl_lock_give(&comm->engine->lock);
        break;
    }
    return result;
}
