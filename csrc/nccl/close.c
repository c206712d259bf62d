/* SPDX-License-Identifier: Apache-2.0 */
/* A connection ends, or memory of it is taken back, while the other side may still use it. */
#include <sched.h>
#include <string.h>

#include "nccl/comm.h"
#include "nccl/log.h"
#include "nccl/queue.h"

#define QUIESCE_NS INT64_C(1000000000)

/* --- memory that NCCL takes back while it is in use --- */

static bool uses(const struct mfs_nccl_request *request, const struct mfs_nccl_mr *mr)
{
    return !mr || request->mr == mr;
}

/* Requests of `mr` that the other side or UCX may still touch. */
static bool in_use(const struct mfs_nccl_comm *comm, const struct mfs_nccl_mr *mr)
{
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        const struct mfs_nccl_request *request = &comm->requests[i];
        const bool busy = mfs_get(&request->state) == MFS_NCCL_BUSY;

        if (uses(request, mr) && (request->inflight > 0 || (busy && request->granted)))
            return true;
    }
    return false;
}

static void ask_to_revoke(struct mfs_nccl_comm *comm, bool answer)
{
    struct mfs_nccl_header header = {
        .comm = comm->remote_index,
        .generation = comm->remote_generation,
        .bytes = comm->index | (uint64_t)comm->generation << 32,
        .flags = answer ? MFS_NCCL_HEADER_ANSWER : 0,
    };

    memcpy(&header.at, comm->engine->uuid, 8);
    memcpy(&header.posted, comm->engine->uuid + 8, 8);
    comm->revoked = 0;
    mfs_nccl_wire_send(comm->peer, 0, MFS_NCCL_WIRE_REVOKE, &header, NULL, 0);
}

/*
 * Nobody answers. Over RDMA it can reach us no more without its endpoints; anything else is
 * written by our own progress, which then has to end for good. (Shared memory is the
 * exception: what the other process writes by itself nobody can stop.)
 */
static void cut_off(struct mfs_nccl_peer *peer)
{
    void *requests[MFS_NCCL_CHANNELS_MAX] = {NULL};

    mfs_nccl_warn("%s did not answer within a second that its messages are given up: "
                  "cutting it off",
                  peer->name);
    mfs_nccl_peer_fail(peer, "it did not answer when its messages were given up");
    if (!peer->engine->device->rdma) {
        mfs_nccl_engine_stop(peer->engine);
        return;
    }
    mfs_nccl_peer_close(peer, true, requests);
    for (unsigned channel = 0; channel < peer->channels; channel++) {
        if (requests[channel])
            peer->engine->ucx->ucp_request_free(requests[channel]);
    }
}

static bool is_quiet(struct mfs_nccl_comm *comm, const struct mfs_nccl_mr *mr, bool asked)
{
    bool flying = !mr && comm->inflight > 0;

    for (unsigned i = 0; i < MFS_NCCL_RING && mr; i++)
        flying |= uses(&comm->requests[i], mr) && comm->requests[i].inflight > 0;
    return !flying &&
           (!asked || comm->revoked >= comm->peer->channels ||
            comm->closes >= comm->peer->channels || comm->peer->failed) &&
           (!comm->sender || comm->result == MFS_NCCL_OK || mfs_nccl_send_landed(comm));
}

void mfs_nccl_comm_quiesce(struct mfs_nccl_comm *comm, struct mfs_nccl_mr *mr)
{
    struct mfs_nccl_engine *engine = comm->engine;
    const int64_t start_ns = mfs_now_ns();
    const bool asked = !comm->sender && comm->peer && !comm->peer->failed && in_use(comm, mr);
    bool cut = false;

    if (!comm->peer)
        return;
    if (asked)
        ask_to_revoke(comm, true);
    else if (!comm->sender && !mr && comm->closed_at == UINT64_MAX)
        ask_to_revoke(comm, false);
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        struct mfs_nccl_request *request = &comm->requests[i];

        if (!uses(request, mr) || mfs_get(&request->state) != MFS_NCCL_BUSY)
            continue;
        mfs_nccl_engine_withdraw(engine, request);
        mfs_nccl_request_end(request, MFS_NCCL_INTERNAL_ERROR);
        if (request->seq < comm->lost)
            comm->lost = request->seq;
        if (comm->result == MFS_NCCL_OK)
            comm->result = MFS_NCCL_INTERNAL_ERROR;
    }
    while (!is_quiet(comm, mr, asked)) {
        const int64_t waited_ns = mfs_now_ns() - start_ns;

        if (waited_ns > 2 * QUIESCE_NS || mfs_get(&engine->stopped))
            break;
        if (waited_ns > QUIESCE_NS && !cut) {
            cut = true;
            cut_off(comm->peer);
        }
        mfs_nccl_engine_progress(engine);
        mfs_nccl_lock_give(&engine->lock);
        sched_yield();
        mfs_nccl_lock_take(&engine->lock);
    }
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        if (uses(&comm->requests[i], mr) && comm->requests[i].inflight == 0 &&
            mfs_get(&comm->requests[i].state) != MFS_NCCL_BUSY)
            mfs_nccl_request_let_go(&comm->requests[i]);
    }
}

void mfs_nccl_comm_drain(struct mfs_nccl_comm *comm)
{
    struct mfs_nccl_engine *engine = comm->engine;
    const int64_t until_ns = mfs_now_ns() + QUIESCE_NS;

    mfs_nccl_engine_disown(engine,
                           comm); /* what comes for it now is answered as for a closed one */
    while (comm->peer && comm->peer->controls > 0 && !comm->peer->failed &&
           !mfs_get(&engine->stopped) && mfs_now_ns() < until_ns) {
        mfs_nccl_engine_progress(engine);
        mfs_nccl_lock_give(&engine->lock);
        sched_yield();
        mfs_nccl_lock_take(&engine->lock);
    }
}

/* --- the calls --- */

static mfs_nccl_result_t close_side(void *pointer, bool sender, const char *call)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(pointer, sender, call);
    struct mfs_nccl_engine *engine;

    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    engine = comm->engine;
    mfs_nccl_lock_take(&engine->lock);
    mfs_nccl_comm_quiesce(comm, NULL);
    if (sender && comm->peer) {
        mfs_nccl_send_answer_revoke(comm);
        mfs_nccl_send_say_to_all(comm, MFS_NCCL_WIRE_CLOSE,
                                 comm->lost < comm->next_seq ? comm->lost : comm->next_seq);
    }
    mfs_nccl_comm_drain(comm);
    mfs_nccl_comm_free(comm);
    mfs_nccl_lock_give(&engine->lock);
    return MFS_NCCL_OK;
}

mfs_nccl_result_t mfs_nccl_close_send(void *send_comm)
{
    return close_side(send_comm, true, "closeSend");
}

mfs_nccl_result_t mfs_nccl_close_recv(void *recv_comm)
{
    return close_side(recv_comm, false, "closeRecv");
}
