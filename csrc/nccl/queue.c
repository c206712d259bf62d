/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/queue.h"

#include "nccl/comm.h"

void mfs_nccl_window_done(struct mfs_nccl_peer *peer, uint64_t bytes)
{
    if (bytes > 0)
        mfs_sender_done_now(peer->engine->sender, &peer->to, bytes, false);
}

void mfs_nccl_engine_finish_later(struct mfs_nccl_request *request)
{
    struct mfs_nccl_engine *engine = request->comm->engine;

    if (!request->sent || request->inflight > 0 || request->in_list)
        return;
    request->in_list = true;
    request->next = NULL;
    *(engine->put_last ? &engine->put_last->next : &engine->put_first) = request;
    engine->put_last = request;
}

void mfs_nccl_dequeue(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    request->queued = false;
    (void)mfs_sender_remove(engine->sender, &request->op, mfs_now_ns());
    engine->waiting = mfs_sender_operations(engine->sender) > 0;
}

void mfs_nccl_engine_withdraw(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request)
{
    if (!request->queued)
        return;
    request->sent = true; /* as much of it as ever will be */
    mfs_nccl_dequeue(engine, request);
    mfs_nccl_window_done(request->comm->peer, request->window_bytes);
    request->window_bytes = 0;
}
