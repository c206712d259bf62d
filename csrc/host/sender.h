/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order and window of one port across the senders and processes of a host.
 *
 *   sender A: rank 0x..12, 128 KiB in flight --+
 *   sender B: rank 0x..07,   0   in flight ----+--> port: window 256 KiB
 *   sender C: none waiting,  64 KiB in flight -+
 *
 * A sender (core/sender.h) has a cell of the port in the segment, in which it tells the rank of its
 * best waiting chunk and how much it has in flight, and it reads those of the others. A sender
 * whose owner is dead, or has not moved for the lease, is not waited for and its bytes in flight
 * do not count: progress never depends on another process. Lock-free: one cache line a sender.
 *
 * Policy, parameters, window, share, pace and lease are the host's settings and the process's
 * configuration; what happens to the flows is recorded (host/event.h).
 */
#ifndef MFS_HOST_SENDER_H
#define MFS_HOST_SENDER_H

#include "core/sender.h"
#include "host/port.h"

/*
 * A sender on the port of that name and direction, which is made if it is new. transport: NULL, or
 * who carries the chunks. -ENOSPC: too many ports, or too many senders; -EINVAL: a bad name, or
 * the configuration is out of bounds; -ENOMEM.
 */
MFS_API int mfs_sender_join(struct mfs_host *host, const char *port, enum mfs_direction direction,
                            const struct mfs_transport_ops *transport, struct mfs_sender **sender);
/* Its destinations were closed before. NULL: nothing is done. */
MFS_API void mfs_sender_leave(struct mfs_sender *sender);

/* Its owner goes to sleep until the transport wakes it: what waits is told now, if it was not a
 * moment ago (host/waits.h). */
MFS_API void mfs_sender_tell_waits(struct mfs_sender *sender, int64_t now_ns);

/* Where mfs_host_settings_version() looks, for who looks at every call. */
MFS_API const _Atomic uint64_t *mfs_host_settings_word(struct mfs_host *host);
/* The host's settings have changed. */
MFS_API void mfs_sender_follow(struct mfs_sender *sender);

#endif
