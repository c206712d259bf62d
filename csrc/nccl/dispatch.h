/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's queue and its chunks: what waits, and sending it.
 *
 *   submit --+-- small, nothing waits; or no order: straight to UCX
 *            +-- RMLQ -- dispatch: best chunk, room in the window -- put (or EAGER, whole)
 *
 * A chunk's level picks the traffic class, and the class the channels; of those the one with
 * the least on its way. All with the engine's lock held.
 */
#ifndef MFS_NCCL_DISPATCH_H
#define MFS_NCCL_DISPATCH_H

#include "nccl/engine.h"

/* The sender on the device's port. -errno: there will be no order. */
int mfs_nccl_sender_open(struct mfs_nccl_engine *engine);
/* Send the best chunks while the port allows. */
void mfs_nccl_engine_dispatch(struct mfs_nccl_engine *engine);
/* Hand a message that may be sent (its kind and place are known) to the queue, or send it. */
void mfs_nccl_engine_submit(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request);

#endif
