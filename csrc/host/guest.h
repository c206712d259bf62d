/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest on a port of this host: what other hosts want of it, told by the agent, in a cell like a
 * sender's. Reads of our memory leave through our egress and writes into it come through our
 * ingress, whoever posts them; so our own senders yield to a guest with a better rank, and it to
 * them, by the limit that its host is told.
 *
 * It is believed within bounds, as it speaks for others: its bytes in flight fill half of the
 * window at most; who waits and moves no bytes for the lease is not waited for; and it goes first
 * for five leases in a row, then as long not (core/exchange.h). One that has not told for the lease
 * counts no more, as with any sender.
 */
#ifndef MFS_HOST_GUEST_H
#define MFS_HOST_GUEST_H

#include "host/port.h"

struct mfs_guest;
struct mfs_sender_cell;

/* The port stays open until it has left. -ENOSPC: too many senders; -ENOMEM; -EAGAIN. */
MFS_API int mfs_guest_join(struct mfs_port *port, struct mfs_guest **guest);
/* level: of the best that waits (MFS_FAR_NO_LEVEL: nothing does), span_ns: from now to its key;
 * done_bytes: ever. -ENOENT: somebody has written over its place, so it does not count; it is to
 * leave and to join anew. */
MFS_API int mfs_guest_tell(struct mfs_guest *guest, uint32_t level, int64_t span_ns,
                           uint64_t inflight_bytes, uint64_t done_bytes, int64_t now_ns);
MFS_API void mfs_guest_leave(struct mfs_guest *guest);
/* Its place among the port's senders. */
const struct mfs_sender_cell *mfs_guest_cell(const struct mfs_guest *guest);

#endif
