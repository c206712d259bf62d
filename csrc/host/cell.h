/* SPDX-License-Identifier: Apache-2.0 */
/* Inside csrc/host only: a place on a port, as a sender has one, and a guest. */
#ifndef MFS_HOST_CELL_H
#define MFS_HOST_CELL_H

#include "core/atomic.h"
#include "core/sender.h"
#include "host/segment.h"

/* Free, or what the dead held; ours from here on. waits: NULL: it tells of nothing that waits.
 * key: of the member that it sends as, *member is its number on the port then; 0: as none.
 * -ENOSPC: too many senders; -EAGAIN: see mfs_segment_lock. */
int mfs_cell_take(struct mfs_host *host, struct mfs_port_cell *port, struct mfs_waits *waits,
                  uint64_t key, uint8_t *member, struct mfs_sender_cell **out);
/* It is free. */
void mfs_cell_clear(struct mfs_sender_cell *cell);

static inline void mfs_cell_tell(struct mfs_sender_cell *cell, const struct mfs_told *told,
                                 int64_t now_ns)
{
    mfs_set(&cell->untagged_bytes, (uint32_t)told->untagged_bytes); /* of a chunk */
    mfs_set(&cell->slow_kib, (uint32_t)(told->slow_bytes >> 10));
    mfs_set(&cell->untagged_rank, told->untagged_rank);
    mfs_set(&cell->rank, told->rank);
    mfs_set(&cell->inflight_bytes, told->inflight_bytes);
    mfs_set(&cell->done_bytes, told->done_bytes);
    mfs_set(&cell->stalled, told->stalled);
    mfs_publish(&cell->stamp_ns, now_ns);
}

#endif
