/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a message on the sending side, and of the side itself: see comm.h. */
#include "nccl/comm.h"
#include "nccl/log.h"

/*
 * THE END OF A MESSAGE:  all put -> flush, unless puts land by themselves -> FIN -> done
 *
 * The flush is for order: FIN must not overtake a put. Over TCP it is for the end as well:
 * when test() has said "done", NCCL may make no more calls for a long time, so no FIN may be
 * left in front of a socket that is full. When the puts have landed the receiver has read all of
 * the message, and there is room, unless another one is on its way, and then there will be calls.
 * The same holds for a small message. (FIN first and the flush behind it does not do: UCX flushes
 * what it does not know to be read by asking the receiver, and that one has its message and may
 * make no calls any more.)
 */
static void over(struct mfs_nccl_request *request);

static void fins(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;

    for (unsigned channel = 0; channel < comm->peer->channels; channel++) {
        const struct mfs_nccl_header header = {
            .comm = comm->remote_index,
            .generation = comm->remote_generation,
            .seq = request->seq,
            .bytes = request->bytes,
            .at = request->channel_bytes[channel],
        };

        if (header.at > 0)
            mfs_nccl_wire_send_of(request, channel, MFS_NCCL_WIRE_FIN, &header);
    }
}

static void flush_over(struct mfs_nccl_request *request, ucs_status_t status)
{
    struct mfs_nccl_comm *comm = request->comm;

    request->inflight--;
    comm->inflight--;
    if (status != UCS_OK)
        mfs_nccl_peer_fail(comm->peer, comm->engine->ucx->ucs_status_string(status));
    else if (request->inflight == 0 && mfs_get(&request->state) == MFS_NCCL_BUSY)
        over(request);
    mfs_nccl_send_answer_revoke(comm);
}

static void on_flushed(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_request *request = user;
    const struct mfs_nccl_ucx *ucx = request->comm->engine->ucx;

    flush_over(request, status);
    ucx->ucp_request_free(ucx_request);
}

static void flush(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = on_flushed,
        .user_data = request,
    };

    request->inflight++; /* not over before all are begun */
    comm->inflight++;
    for (unsigned channel = 0; channel < comm->peer->channels && !comm->peer->failed; channel++) {
        ucs_status_ptr_t result;

        if (request->channel_bytes[channel] == 0)
            continue;
        result = comm->engine->ucx->ucp_ep_flush_nbx(comm->peer->eps[channel], &param);
        request->inflight += UCS_PTR_IS_PTR(result);
        comm->inflight += UCS_PTR_IS_PTR(result);
        if (UCS_PTR_IS_ERR(result))
            mfs_nccl_peer_fail(comm->peer,
                               comm->engine->ucx->ucs_status_string(UCS_PTR_STATUS(result)));
    }
    flush_over(request, UCS_OK);
}

/* What is next, with nothing of the request in flight. */
static void over(struct mfs_nccl_request *request)
{
    const unsigned stage = request->stage++;

    if (request->kind == MFS_NCCL_PUT && stage == 0 &&
        mfs_nccl_peer_needs_flush(request->comm->peer, request->host)) {
        flush(request);
        return;
    }
    if (request->kind == MFS_NCCL_PUT && stage <= 1) {
        request->stage = 2;
        fins(request);
        if (request->inflight > 0)
            return; /* UCX has not sent them yet: comes back here */
    }
    mfs_nccl_request_end(request,
                         request->kind == MFS_NCCL_REFUSED ? MFS_NCCL_INVALID_USAGE : MFS_NCCL_OK);
}

/* UCX is done with all chunks (or the eager message) of a request. */
void mfs_nccl_send_all_put(struct mfs_nccl_request *request)
{
    if (mfs_get(&request->state) == MFS_NCCL_BUSY)
        over(request);
    mfs_nccl_send_answer_revoke(request->comm);
}

/* --- the end of the sending side --- */

static void on_landed(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_comm *comm = user;
    const struct mfs_nccl_ucx *ucx = comm->engine->ucx;

    comm->inflight--;
    if (status != UCS_OK && status != UCS_ERR_CANCELED)
        mfs_nccl_peer_fail(comm->peer, ucx->ucs_status_string(status));
    mfs_nccl_send_answer_revoke(comm);
    ucx->ucp_request_free(ucx_request);
}

bool mfs_nccl_send_landed(struct mfs_nccl_comm *comm)
{
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = on_landed,
        .user_data = comm,
    };

    if (comm->inflight > 0)
        return false;
    if (comm->flushed || !comm->has_put || comm->peer->failed ||
        !mfs_nccl_peer_needs_flush(comm->peer, !comm->has_put_cuda))
        return true;
    comm->flushed = true;
    for (unsigned channel = 0; channel < comm->peer->channels; channel++) {
        ucs_status_ptr_t result =
            comm->engine->ucx->ucp_ep_flush_nbx(comm->peer->eps[channel], &param);

        comm->inflight += UCS_PTR_IS_PTR(result);
    }
    return comm->inflight == 0;
}

void mfs_nccl_send_say_to_all(struct mfs_nccl_comm *comm, unsigned id, uint64_t seq)
{
    const struct mfs_nccl_header header = {
        .comm = comm->remote_index,
        .generation = comm->remote_generation,
        .seq = seq,
    };

    for (unsigned channel = 0; channel < comm->peer->channels; channel++)
        mfs_nccl_wire_send(comm->peer, channel, id, &header, NULL, 0);
}

/* Nothing of ours is on its way any more: the receiver may have its memory back. */
void mfs_nccl_send_answer_revoke(struct mfs_nccl_comm *comm)
{
    if (!comm->revoke_asked || comm->revoke_answered || !comm->peer || !mfs_nccl_send_landed(comm))
        return; /* without a peer: connect() is not over, and comes here when it is */
    comm->revoke_answered = true;
    mfs_nccl_send_say_to_all(comm, MFS_NCCL_WIRE_REVOKED, 0);
}

void mfs_nccl_send_on_revoke(struct mfs_nccl_comm *comm, bool answer)
{
    comm->revoke_asked |= answer;
    mfs_nccl_comm_fail(comm, MFS_NCCL_REMOTE_ERROR, "it has closed the connection");
    mfs_nccl_send_answer_revoke(comm);
}
