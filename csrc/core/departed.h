/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that have left their queue, until their last byte has been acknowledged: for records, so
 * only while somebody watches (struct mfs_flow_watch). Nothing is decided by it.
 *
 *   destination, in flight:   | A A A B A |  B B B  |  C      |
 *                                       ^ A left   ^ B left  ^ C left the queue
 *   its list, in bytes:             A: 5     B: 3      C: 1
 *
 * A flow is complete once as many bytes have been acknowledged at its destination as were in flight
 * there when its last byte left. So it is told exactly where a destination acknowledges in order,
 * as a connection does, and otherwise early or late by what overtook it, a window at most.
 *
 * Nothing is done for a destination of which no flow is awaited: that is one comparison with the
 * question whether it is open (struct mfs_destination, `judged`). Guarded by the sender's owner.
 */
#ifndef MFS_CORE_DEPARTED_H
#define MFS_CORE_DEPARTED_H

#include "core/rmlq.h"

#define MFS_DEPARTED_MAX 1024u /* awaited at one time by one sender; of others no end is told */

struct mfs_destination;
struct mfs_departures;

/* For the flows of a queue. NULL: no memory. */
struct mfs_departures *mfs_departures_make(const struct mfs_rmlq *queue);
void mfs_departures_free(struct mfs_departures *all); /* NULL: nothing is done */
/* Its last byte has just left the queue, and is in flight to that destination. */
void mfs_departed_add(struct mfs_departures *all, struct mfs_destination *destination,
                      const struct mfs_flow_info *flow);
/* So many bytes of an awaited destination have been acknowledged: tell what is complete. */
void mfs_departed_done(struct mfs_departures *all, struct mfs_destination *destination,
                       uint64_t bytes, int64_t now_ns);
/* Nothing more will be acknowledged there. */
void mfs_departed_forget(struct mfs_departures *all, struct mfs_destination *destination);

#endif
