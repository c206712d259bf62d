/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people are told of a lane: who its destinations are, what is in flight to them and that it
 * does not leave, also while nothing is queued.
 *
 *   something queued   the queue looks at the port at each progress      (dispatch.h)
 *   all in flight      nothing has to be sent, so nobody looks: watch, once in some rounds of
 *                      progress in which UCX had nothing to do, and before the caller sleeps
 *   nothing            neither
 *
 * With traffic classes each of these looks at what others read of us, too (host/answers.h).
 */
#ifndef MFS_UCX_WATCH_H
#define MFS_UCX_WATCH_H

#include "ucx/worker.h"

#define MFS_UCX_WATCH_ROUNDS 16u

/* What the lane's sender asks its transport; ctx: the lane. Mutex held. */
void mfs_ucx_lane_stalled(void *ctx, const struct mfs_destination *destination, int64_t age_ns);
void mfs_ucx_lane_describe(void *ctx, const struct mfs_destination *destination, char *name,
                           size_t size);
void mfs_ucx_lane_under_way(void *ctx, mfs_under_way each, void *found);

/* Nothing is queued: look at what is in flight, if anything is and it is time. */
void mfs_ucx_watch(struct mfs_ucx_worker *worker);
/* The caller is about to sleep, and has nothing queued: tell what is in flight. */
void mfs_ucx_watch_sleep(struct mfs_ucx_worker *worker);

/* UCX has had nothing to do. Programs poll, so this is called as often as anything can be. */
static inline void mfs_ucx_watch_round(struct mfs_ucx_worker *worker)
{
    const uint32_t rounds = mfs_get(&worker->idle_rounds) + 1;

    mfs_set(&worker->idle_rounds, rounds);
    if (!MFS_LIKELY(rounds % MFS_UCX_WATCH_ROUNDS != 0))
        mfs_ucx_watch(worker);
}

#endif
