/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's rounds: UCX, what is due, the queue, and now and then a look at the clock. */
#include "nccl/comm.h"
#include "nccl/dispatch.h"
#include "nccl/far.h"

#define TICK_NS INT64_C(10000000)
#define LOOKS_A_CLOCK 64u /* rounds between two looks at the clock */

void mfs_nccl_workers_progress(struct mfs_nccl_engine *engine)
{
    unsigned klass = 0;

    do
        (void)engine->ucx->ucp_worker_progress(engine->workers[klass]);
    while (++klass < engine->classes);
}

/* --- progress --- */

static void tick(struct mfs_nccl_engine *engine, int64_t now_ns)
{
    engine->tick_ns = now_ns + TICK_NS;
    mfs_nccl_peers_tick(engine, now_ns);
    mfs_nccl_far_tick(engine, now_ns);
    for (uint32_t i = 0, left = engine->comm_count; i < MFS_NCCL_COMMS_MAX && left > 0; i++) {
        if (!engine->comms[i])
            continue;
        left--;
        if (engine->comms[i]->sender)
            mfs_nccl_send_tick(engine->comms[i], now_ns);
    }
}

static __attribute__((noinline)) void look_at_clock(struct mfs_nccl_engine *engine)
{
    const int64_t now_ns = mfs_now_ns();

    if (now_ns >= engine->tick_ns)
        tick(engine, now_ns);
}

void mfs_nccl_engine_finish_puts(struct mfs_nccl_engine *engine)
{
    while (engine->put_first) {
        struct mfs_nccl_request *request = engine->put_first;

        engine->put_first = request->next;
        if (!engine->put_first)
            engine->put_last = NULL;
        request->in_list = false;
        mfs_nccl_send_all_put(request);
    }
}

void mfs_nccl_engine_stop(struct mfs_nccl_engine *engine)
{
    mfs_set(&engine->stopped, true);
    for (struct mfs_nccl_peer *peer = engine->peers; peer; peer = peer->next)
        mfs_nccl_peer_fail(peer, "this side of its connections was stopped");
}

void mfs_nccl_engine_progress(struct mfs_nccl_engine *engine)
{
    if (mfs_get(&engine->stopped))
        return;
    mfs_nccl_workers_progress(engine);
    if (engine->put_first)
        mfs_nccl_engine_finish_puts(engine);
    if (engine->waiting) {
        mfs_nccl_engine_dispatch(engine);
        mfs_nccl_engine_finish_puts(engine);
    }
    if (++engine->looks % LOOKS_A_CLOCK == 0)
        look_at_clock(engine);
}
