/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a peer is, as agents of hosts tell it to each other (host/far.h): engines say their uuids
 * when they meet (hello.h), and half of that names one.
 */
#ifndef MFS_NCCL_FAR_H
#define MFS_NCCL_FAR_H

#include <stdint.h>

struct mfs_nccl_engine;

uint64_t mfs_nccl_far_uid(const unsigned char *uuid);
/* The engine is entered with its port, if that is wanted and it is not yet. */
void mfs_nccl_far_enter(struct mfs_nccl_engine *engine);
void mfs_nccl_far_leave(struct mfs_nccl_engine *engine);

#endif
