/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/eager.h"

#include "nccl/marks.h"
#include "nccl/queue.h"

/* UCX has it, or has failed. */
static void over(struct mfs_nccl_request *request, ucs_status_t status)
{
    struct mfs_nccl_comm *comm = request->comm;

    mfs_nccl_window_done(comm->peer, request->window_bytes);
    request->window_bytes = 0;
    if (status != UCS_OK && comm->result == MFS_NCCL_OK)
        mfs_nccl_peer_fail(comm->peer, comm->engine->ucx->ucs_status_string(status));
}

static void on_sent(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_request *request = user;
    struct mfs_nccl_comm *comm = request->comm;
    const struct mfs_nccl_ucx *ucx = comm->engine->ucx;

    comm->peer->inflight[request->channel] -= request->bytes;
    mfs_nccl_mark_over(comm->peer, request->channel, request->carries);
    request->inflight--;
    comm->inflight--;
    over(request, status);
    mfs_nccl_engine_finish_later(request);
    ucx->ucp_request_free(ucx_request);
}

/*
 * THE HEADER was written when the slot's last message had gone: UCX copies it in pieces that span
 * several fields, and the processor has those only when the fields have left its store buffer
 * (docs/decisions/0019).
 */
static bool is_ready(const struct mfs_nccl_request *request, const struct mfs_nccl_comm *comm)
{
    return request->header.seq == (uint32_t)request->seq &&
           request->header.generation == comm->remote_generation;
}

void mfs_nccl_eager_send(struct mfs_nccl_request *request, unsigned level)
{
    struct mfs_nccl_comm *comm = request->comm;
    struct mfs_nccl_engine *engine = comm->engine;
    const unsigned klass = mfs_nccl_class_of(level);
    const unsigned channel = mfs_nccl_peer_channel(comm->peer, klass);
    ucp_request_param_t param; /* not all of it is given: it is larger than the message */
    ucs_status_ptr_t result;

    param.op_attr_mask =
        UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
    param.cb.send = on_sent;
    param.flags = UCP_AM_SEND_FLAG_EAGER;
    param.user_data = request;
    if (request->mr && request->mr->memh[klass]) {
        param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
        param.memh = request->mr->memh[klass];
    }
    if (!is_ready(request, comm)) {
        request->header.comm = comm->remote_index;
        request->header.generation = comm->remote_generation;
        request->header.seq = (uint32_t)request->seq;
    }
    request->sent = true;
    request->carries = mfs_nccl_mark_begin(comm->peer, channel, level);
    mfs_nccl_mark_look(comm->peer, channel);
    result = engine->ucx->ucp_am_send_nbx(comm->peer->eps[channel], MFS_NCCL_WIRE_EAGER,
                                          &request->header, sizeof(request->header), request->data,
                                          request->bytes, &param);
    mfs_nccl_mark_saw(comm->peer, channel, request->bytes);
    if (UCS_PTR_IS_PTR(result)) {
        request->channel = channel;
        request->inflight++;
        comm->inflight++;
        comm->peer->inflight[channel] += request->bytes;
        return;
    }
    mfs_nccl_mark_over(comm->peer, channel, request->carries);
    request->header.seq += MFS_NCCL_RING;
    over(request, UCS_PTR_STATUS(result));
    mfs_nccl_request_end(request, MFS_NCCL_OK); /* unless it has failed with its peer */
}
