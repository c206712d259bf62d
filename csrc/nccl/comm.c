/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/comm.h"
#include "nccl/dispatch.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "nccl/log.h"

#define QUIESCE_NS INT64_C(1000000000)

struct mfs_nccl_comm *mfs_nccl_comm_make(struct mfs_nccl_engine *engine, bool sender)
{
    struct mfs_nccl_comm *comm = aligned_alloc(_Alignof(struct mfs_nccl_comm), sizeof(*comm));

    if (!comm)
        return NULL;
    memset(comm, 0, sizeof(*comm));
    comm->magic = MFS_NCCL_COMM_MAGIC;
    comm->sender = sender;
    comm->engine = engine;
    comm->closed_at = comm->lost = UINT64_MAX;
    if (!sender)
        comm->unexpected = calloc(MFS_NCCL_RING, sizeof(*comm->unexpected));
    if (!sender && !comm->unexpected) {
        free(comm);
        return NULL;
    }
    for (unsigned i = 0; i < MFS_NCCL_RING; i++)
        comm->requests[i].comm = comm;
    for (unsigned i = 0; i < MFS_NCCL_FLUSHES; i++)
        comm->flushes[i].comm = comm;
    return comm;
}

/* What a request holds on to while UCX may need it. */
static void let_go(struct mfs_nccl_request *request)
{
    if (request->kind == MFS_NCCL_PUT) {
        mfs_nccl_key_put(request->comm, request->key);
        request->key = NULL;
    }
    if (request->mr) {
        request->mr->users--;
        if (request->own_mr)
            mfs_nccl_mr_free(request->mr);
    }
    request->mr = NULL;
    request->own_mr = false;
}

void mfs_nccl_comm_free(struct mfs_nccl_comm *comm)
{
    mfs_nccl_engine_disown(comm->engine, comm);
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        mfs_nccl_engine_withdraw(comm->engine, &comm->requests[i]);
        if (comm->requests[i].inflight == 0)
            let_go(&comm->requests[i]);
        mfs_nccl_key_put(comm, comm->keys[i]);
        mfs_nccl_key_put(comm, comm->grants[i].key);
        if (comm->unexpected)
            free(comm->unexpected[i].data);
    }
    while (comm->early) {
        struct mfs_nccl_early *early = comm->early;

        comm->early = early->next;
        free(early);
    }
    free(comm->unexpected);
    comm->magic = 0;
    if (comm->inflight > 0) { /* UCX still points to it: better lost than freed under it */
        mfs_nccl_warn("UCX did not give back %u operations to %s; some memory is lost",
                      comm->inflight, comm->peer ? comm->peer->name : "a peer");
        return;
    }
    free(comm);
}

struct mfs_nccl_comm *mfs_nccl_comm_none(void *pointer, int sender, const char *call)
{
    mfs_nccl_warn("%s: %p is no %s connection of ours", call, pointer,
                  sender < 0 ? ""
                  : sender   ? "sending"
                             : "receiving");
    return NULL;
}

void mfs_nccl_comm_connected(struct mfs_nccl_comm *comm, struct mfs_nccl_peer *peer, uint32_t index,
                             uint32_t generation)
{
    comm->peer = peer;
    comm->remote_index = index;
    comm->remote_generation = generation;
    while (comm->early) {
        struct mfs_nccl_early *early = comm->early;

        comm->early = early->next;
        mfs_nccl_wire_take(comm, MFS_NCCL_WIRE_GRANT, &early->header, early->payload, early->bytes);
        free(early);
    }
    if (peer->failed)
        mfs_nccl_comm_fail(comm, MFS_NCCL_REMOTE_ERROR, peer->reason);
    else if (comm->sender)
        mfs_nccl_send_answer_revoke(comm);
}

void mfs_nccl_request_end(struct mfs_nccl_request *request, mfs_nccl_result_t result)
{
    if (mfs_get(&request->state) != MFS_NCCL_BUSY)
        return;
    request->result = (uint8_t)result;
    if (request->inflight == 0)
        let_go(request);
    mfs_publish(&request->state, MFS_NCCL_DONE);
}

void mfs_nccl_comm_fail(struct mfs_nccl_comm *comm, mfs_nccl_result_t result, const char *reason)
{
    unsigned pending = 0;

    if (comm->result == MFS_NCCL_OK)
        comm->result = result;
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        struct mfs_nccl_request *request = &comm->requests[i];

        if (mfs_get(&request->state) != MFS_NCCL_BUSY)
            continue;
        pending++;
        mfs_nccl_engine_withdraw(comm->engine, request);
        mfs_nccl_request_end(request, comm->result);
    }
    if (pending > 0 && !comm->said) {
        comm->said = true;
        mfs_nccl_warn("%s %s: %s; %u messages fail", comm->sender ? "sending to" : "receiving from",
                      comm->peer ? comm->peer->name : "a peer that is being connected", reason,
                      pending);
    }
}

mfs_nccl_result_t mfs_nccl_comm_refuse(struct mfs_nccl_comm *comm)
{
    if (!comm->said) {
        comm->said = true;
        mfs_nccl_warn("%s %s: %s", comm->sender ? "sending to" : "receiving from",
                      comm->peer ? comm->peer->name : "a peer that is being connected",
                      comm->peer && comm->peer->failed ? comm->peer->reason : "it has failed");
    }
    return comm->result;
}

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
            let_go(&comm->requests[i]);
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

/* --- the calls that are the same on both sides --- */

mfs_nccl_result_t mfs_nccl_reg(void *pointer, void *data, size_t size, int type, void **mhandle)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(pointer, -1, "regMr");
    struct mfs_nccl_mr *mr = NULL;
    mfs_nccl_result_t result;

    *mhandle = NULL;
    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    if (type != MFS_NCCL_PTR_HOST && !(type == MFS_NCCL_PTR_CUDA && comm->engine->device->cuda)) {
        mfs_nccl_warn("regMr: UCX at hand cannot reach memory of type %d", type);
        return MFS_NCCL_INTERNAL_ERROR;
    }
    result = mfs_nccl_mr_make(comm->engine->device, data, size, type, &mr);
    *mhandle = mr;
    return result;
}

/* UCX finds the dma-buf of CUDA memory by itself, by the address, where the NIC can use it. */
mfs_nccl_result_t mfs_nccl_reg_dmabuf(void *comm, void *data, size_t size, int type,
                                      uint64_t offset, int fd, void **mhandle)
{
    (void)offset;
    (void)fd;
    return mfs_nccl_reg(comm, data, size, type, mhandle);
}

mfs_nccl_result_t mfs_nccl_dereg(void *pointer, void *mhandle)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(pointer, -1, "deregMr");
    struct mfs_nccl_mr *mr = mhandle;
    bool in_use_still;

    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    if (!mr)
        return MFS_NCCL_OK;
    mfs_nccl_lock_take(&comm->engine->lock);
    if (mr->users > 0)
        mfs_nccl_comm_quiesce(comm, mr);
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX && mr->users > 0; i++) {
        if (comm->engine->comms[i] && comm->engine->comms[i] != comm)
            mfs_nccl_comm_quiesce(comm->engine->comms[i], mr);
    }
    in_use_still = mr->users > 0;
    mfs_nccl_lock_give(&comm->engine->lock);
    if (in_use_still) /* UCX and requests point to it, and will for ever */
        mfs_nccl_warn(
            "deregMr: UCX did not give back operations on [%p, +%zu); some memory is lost",
            mr->data, mr->size);
    else
        mfs_nccl_mr_free(mr);
    return MFS_NCCL_OK;
}

mfs_nccl_result_t mfs_nccl_test(void *pointer, int *done, int *sizes)
{
    struct mfs_nccl_request *request = pointer;
    struct mfs_nccl_engine *engine;
    uint32_t state;

    *done = 0;
    if (!request || !request->comm || request->comm->magic != MFS_NCCL_COMM_MAGIC) {
        mfs_nccl_warn("test: %p is no request of ours", pointer);
        return MFS_NCCL_INTERNAL_ERROR;
    }
    engine = request->comm->engine;
    state = mfs_see(&request->state);
    if (state != MFS_NCCL_DONE && mfs_nccl_lock_try(&engine->lock)) {
        mfs_nccl_engine_progress(engine);
        mfs_nccl_lock_give(&engine->lock);
        state = mfs_see(&request->state);
    }
    if (state == MFS_NCCL_FREE) {
        mfs_nccl_warn("test: the request is over, or none");
        return MFS_NCCL_INTERNAL_ERROR;
    }
    if (state != MFS_NCCL_DONE)
        return MFS_NCCL_OK;
    if (request->result != MFS_NCCL_OK)
        return request->result;
    if (sizes)
        *sizes = (int)request->received;
    *done = 1;
    mfs_publish(&request->state, MFS_NCCL_FREE);
    return MFS_NCCL_OK;
}
