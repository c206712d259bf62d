/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/comm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nccl/log.h"
#include "nccl/queue.h"

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

void mfs_nccl_request_let_go(struct mfs_nccl_request *request)
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
            mfs_nccl_request_let_go(&comm->requests[i]);
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

void mfs_nccl_request_end(struct mfs_nccl_request *request, mfs_nccl_result_t result)
{
    if (mfs_get(&request->state) != MFS_NCCL_BUSY)
        return;
    request->result = (uint8_t)result;
    if (request->inflight == 0)
        mfs_nccl_request_let_go(request);
    mfs_publish(&request->state, MFS_NCCL_DONE);
}

/* --- connections by id --- */

int mfs_nccl_engine_adopt(struct mfs_nccl_engine *engine, struct mfs_nccl_comm *comm)
{
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX; i++) {
        const uint32_t at = (engine->comm_hint + i) % MFS_NCCL_COMMS_MAX;

        if (engine->comms[at])
            continue;
        engine->comms[at] = comm;
        engine->comm_hint = at + 1;
        engine->comm_count++;
        comm->index = at;
        comm->generation = ++engine->generation;
        return 0;
    }
    return -ENOSPC;
}

void mfs_nccl_engine_disown(struct mfs_nccl_engine *engine, struct mfs_nccl_comm *comm)
{
    struct mfs_nccl_request **at = &engine->put_first;

    for (engine->put_last = NULL; *at;) { /* what was due for it is not any more */
        if ((*at)->comm == comm) {
            *at = (*at)->next;
        } else {
            engine->put_last = *at;
            at = &(*at)->next;
        }
    }
    if (engine->comms[comm->index] != comm)
        return;
    engine->comms[comm->index] = NULL;
    engine->comm_count--;
}

struct mfs_nccl_comm *mfs_nccl_engine_comm(struct mfs_nccl_engine *engine, uint32_t index,
                                           uint32_t generation)
{
    struct mfs_nccl_comm *comm = index < MFS_NCCL_COMMS_MAX ? engine->comms[index] : NULL;

    return comm && comm->generation == generation ? comm : NULL;
}
