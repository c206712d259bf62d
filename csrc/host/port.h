/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order and window of one port across the queues and processes of a host.
 *
 *   member A: rank 0x..12, 128 KiB in flight --+
 *   member B: rank 0x..07,   0   in flight ----+--> port: window 256 KiB
 *   member C: none waiting,  64 KiB in flight -+
 *
 * A member is one queue (of one UCX worker, one NCCL device) on one port. It
 * publishes the rank of its best waiting chunk and how much it has in flight. It
 * may send when the window has room and no live member has a better rank waiting.
 * A member whose owner is dead, or has not moved for the lease, is not waited for
 * and its bytes in flight no longer count: progress never depends on another
 * process. Lock-free: one cache line per member, read by the others.
 *
 * Untagged traffic keeps its share s (MFS_UNTAGGED_SHARE, in thousandths; > 0) of
 * the port: while a live member has some waiting, n bytes of it leave the host before
 *
 *     n * 1000 / s + one chunk a member
 *
 * bytes in all have left through the port. Among untagged chunks the best rank goes.
 */
#ifndef MFS_HOST_PORT_H
#define MFS_HOST_PORT_H

#include "core/window.h"
#include "host/host.h"

#define MFS_PORTS_MAX 16u /* open at one time on a host */

enum mfs_direction { MFS_EGRESS = 0, MFS_INGRESS = 1 };

struct mfs_port;
struct mfs_member;

/* Port of the NIC `name`; made if new, with the speed of that device as the first estimate.
 * -ENOSPC: live processes have too many ports open; -EINVAL: name empty or long. */
MFS_API int mfs_port_open(struct mfs_host *host, const char *name, enum mfs_direction direction,
                          struct mfs_port **port);
/* The same, but only one that is there, and to look at: nobody joins it. -ENOENT. */
MFS_API int mfs_port_find(struct mfs_host *host, const char *name, enum mfs_direction direction,
                          struct mfs_port **port);
/* Name (MFS_PORT_NAME_MAX + 1 bytes) of the port at index 0 to MFS_PORTS_MAX - 1, for lists.
 * -ENOENT: none is there. */
MFS_API int mfs_port_name_at(struct mfs_host *host, uint32_t index, char *name);
/* After its members have left. A port that no live process has open gives way to a new name. */
MFS_API void mfs_port_close(struct mfs_port *port);
/* -ENOSPC: too many members. */
MFS_API int mfs_port_join(struct mfs_host *host, struct mfs_port *port, struct mfs_member **member);
/* Its owner's threads use it at the same time; without, one at a time does. Before its first use.
 */
MFS_API void mfs_member_share(struct mfs_member *member);
MFS_API void mfs_port_leave(struct mfs_member *member);

/* Say what waits (MFS_RANK_NONE: nothing; none of it untagged) and that the owner is moving. */
MFS_API void mfs_member_publish(struct mfs_member *member, mfs_rank_t rank, int64_t now_ns);
/*
 * May a chunk of `bytes` at `rank` be sent now? 0: yes, and the bytes are counted
 * as in flight until mfs_member_done. -ENOBUFS: the window is full. -EBUSY: another
 * member has something better waiting. -EAGAIN: the pacer (MFS_PACE) says not yet.
 * For a queue without untagged traffic.
 */
MFS_API int mfs_member_acquire(struct mfs_member *member, mfs_rank_t rank, uint64_t bytes,
                               int64_t now_ns);
/*
 * The same for a queue that may hold untagged traffic. 0: *bytes are counted, and the
 * chunk to take is next's best, or its best untagged one when *turn is set (the share
 * of untagged traffic is due). -EBUSY: another member's untagged chunk is due, too.
 */
MFS_API int mfs_member_acquire_next(struct mfs_member *member, const struct mfs_next *next,
                                    int64_t now_ns, bool *turn, uint64_t *bytes);
/*
 * The same, now, for a queue in which nothing waits: behind whatever waits elsewhere on this host.
 * Nothing is published but that the owner moves: what goes at once makes nobody wait. -EMSGSIZE:
 * more than `largest` bytes (0: than a chunk of this member's).
 */
MFS_API int mfs_member_express(struct mfs_member *member, uint64_t bytes, uint64_t largest);
/* `bytes` more are in flight, whatever the window: they go with a chunk that was acquired. */
MFS_API void mfs_member_overdraw(struct mfs_member *member, uint64_t bytes);
/* mfs_port_chunk() of its port, kept while the rate stays: for its owner, once a chunk. */
MFS_API uint64_t mfs_member_chunk(struct mfs_member *member);
/* `bytes` have left (or failed); moves the port's bandwidth estimate. */
MFS_API void mfs_member_done(struct mfs_member *member, uint64_t bytes, int64_t now_ns);
/* The same, now, but only released_bytes leave the window: the owner has sent others in the room
 * of the rest, without acquire. */
MFS_API void mfs_member_done_now(struct mfs_member *member, uint64_t bytes,
                                 uint64_t released_bytes);

MFS_API uint64_t mfs_port_rate_Bps(const struct mfs_port *port);  /* 0: unknown yet */
/* How many times faster the port may be: 1 when its rate is configured, 2 when it is learned. */
MFS_API double mfs_port_rate_margin(const struct mfs_port *port);
/* Of a member that looks at its queue in time. */
MFS_API uint64_t mfs_port_window(const struct mfs_port *port);
MFS_API uint64_t mfs_port_chunk(const struct mfs_port *port);
MFS_API uint64_t mfs_port_inflight(struct mfs_port *port, int64_t now_ns);

#endif
