/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a peer is, as agents of hosts tell it to each other (host/far.h): engines say their uuids
 * when they meet (hello.h), and half of that names one. And where its host is, for an agent that
 * finds its peers by connections (host/contact.h): the address at the other end of the handshake.
 */
#ifndef MFS_NCCL_FAR_H
#define MFS_NCCL_FAR_H

#include <stdint.h>

struct mfs_nccl_engine;
struct mfs_nccl_peer;

uint64_t mfs_nccl_far_uid(const unsigned char *uuid);
/* The engine is entered with its port, if that is wanted and it is not yet. */
void mfs_nccl_far_enter(struct mfs_nccl_engine *engine);
/* It ends, with its peers. */
void mfs_nccl_far_leave(struct mfs_nccl_engine *engine);

/* The two sides meet by this socket. The engine's lock is held. */
void mfs_nccl_far_met(struct mfs_nccl_peer *peer, int fd);
/* Once in a second, for all engines: the segment is told where this process's peers are. */
void mfs_nccl_far_tick(struct mfs_nccl_engine *engine, int64_t now_ns);

#endif
