/* SPDX-License-Identifier: Apache-2.0 */
/* A message in the engine's queue, and the bytes of the port's window that are its. The engine's
 * lock is held. */
#ifndef MFS_NCCL_QUEUE_H
#define MFS_NCCL_QUEUE_H

#include "nccl/engine.h"

/* Take it out, before all of it was sent. */
void mfs_nccl_dequeue(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request);
/* The same if it is there, and nothing more of it will be sent. */
void mfs_nccl_engine_withdraw(struct mfs_nccl_engine *engine, struct mfs_nccl_request *request);
/* Bytes of the window are free again. */
void mfs_nccl_window_done(struct mfs_nccl_peer *peer, uint64_t bytes);
/* UCX gave something of the request back; if that was all, the next is due (finish_puts),
 * outside of UCX's callback. */
void mfs_nccl_engine_finish_later(struct mfs_nccl_request *request);

#endif
