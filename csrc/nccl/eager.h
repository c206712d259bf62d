/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small message: one active message, which UCX mostly takes at once; then the request ends
 * before isend returns, with no chunk, no list and no callback.
 */
#ifndef MFS_NCCL_EAGER_H
#define MFS_NCCL_EAGER_H

#include "nccl/comm.h"

/* All of the request, on a channel of that level's class; its window_bytes are given back when it
 * has gone. Engine's lock held. */
void mfs_nccl_eager_send(struct mfs_nccl_request *request, unsigned level);

#endif
