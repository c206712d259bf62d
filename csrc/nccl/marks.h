/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic classes over TCP (MFS_CLASSES, host/marks.h): each channel to a peer has a connection of
 * its own, which is marked by the levels of the messages that go by it. UCX is called through
 * pointers here, past the UCX shim, so nobody else sees what goes by which.
 *
 * Nothing but a look at peer->marks, which is NULL, where there are no classes or there is RDMA,
 * whose classes are contexts (device.h).
 */
#ifndef MFS_NCCL_MARKS_H
#define MFS_NCCL_MARKS_H

#include "host/marks.h"
#include "nccl/peer.h"

/* All with the engine's lock held. */

/* For a peer that is new. Without memory it has none. */
void mfs_nccl_marks_make(struct mfs_nccl_peer *peer);
void mfs_nccl_marks_free(struct mfs_nccl_peer *peer);

/* A chunk, or a message, of that level is about to go by the channel; what it is to carry. */
uint8_t mfs_nccl_mark_first(struct mfs_nccl_peer *peer, unsigned channel, unsigned level);
static inline uint8_t mfs_nccl_mark_begin(struct mfs_nccl_peer *peer, unsigned channel,
                                          unsigned level)
{
    return MFS_LIKELY(!peer->marks) ? MFS_MARK_NONE : mfs_nccl_mark_first(peer, channel, level);
}
static inline void mfs_nccl_mark_over(struct mfs_nccl_peer *peer, unsigned channel, uint8_t carries)
{
    if (!MFS_LIKELY(carries == MFS_MARK_NONE))
        mfs_marks_over(&peer->marks[channel], carries);
}
/* A message of our own, which the peer waits for. */
void mfs_nccl_mark_say(struct mfs_nccl_peer *peer, unsigned channel);

/* Around the call of UCX's that sends it: which of the sockets was given those bytes? */
void mfs_nccl_mark_before(struct mfs_nccl_peer *peer, unsigned channel);
void mfs_nccl_mark_after(struct mfs_nccl_peer *peer, unsigned channel, uint64_t bytes);
static inline void mfs_nccl_mark_look(struct mfs_nccl_peer *peer, unsigned channel)
{
    if (!MFS_LIKELY(!peer->marks))
        mfs_nccl_mark_before(peer, channel);
}
static inline void mfs_nccl_mark_saw(struct mfs_nccl_peer *peer, unsigned channel, uint64_t bytes)
{
    if (!MFS_LIKELY(!peer->marks))
        mfs_nccl_mark_after(peer, channel, bytes);
}

#endif
