/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits in a sender's queue, and what for: for who asks why nothing moves. Nothing is decided
 * by it, and it is not on the way of a chunk.
 *
 *   a flow     that has something queued, by its oldest operation
 *   in flight  a flow of which all is: those to peers that are slow or take no bytes; where nothing
 *              is queued at all, of every peer. As the transport knows them: MFS_WAIT_FLIGHT
 *   a peer     of the former, for which nothing is queued, of whose bytes in flight the transport
 *              does not know whose they are: MFS_WAIT_FLIGHT with no bytes sent
 */
#ifndef MFS_CORE_WAITS_H
#define MFS_CORE_WAITS_H

#include "core/sender.h"

enum mfs_wait_for {
    MFS_WAIT_LOOK, /* nothing is known to be in its way: it goes at the next look */
    MFS_WAIT_TURN, /* a better one of the same sender goes first */
    MFS_WAIT_OTHERS, /* a better one of another sender of the port does */
    MFS_WAIT_WINDOW, /* for room: the window is full */
    MFS_WAIT_PACE, /* for the pacer */
    MFS_WAIT_SLOW, /* its destination takes bytes more slowly than the port */
    MFS_WAIT_STALLED, /* its destination takes none */
    MFS_WAIT_LIMIT, /* a better one of another host goes to its receiver first */
    MFS_WAIT_FLIGHT, /* nothing of it is queued; what is in flight does not leave in time */
    MFS_WAITS_LAST
};

struct mfs_wait {
    struct mfs_tag tag; /* of a peer: nothing is known of it */
    const struct mfs_destination *destination;
    uint64_t flow; /* no other that waits has the same; 0: it does not wait in the queue */
    /* Queued, and sent since it became active; in flight: of the operations that are. */
    uint64_t bytes_left, bytes_sent;
    int64_t posted_ns; /* its oldest operation; of a peer: when a byte left last */
    uint32_t level; /* MFS_LEVELS_MAX: it has none yet */
    uint32_t why; /* enum mfs_wait_for */
};

/*
 * The `room` oldest, oldest first; of one destination, or of all (NULL). Returns how many.
 * O(flows), with an insertion for each that is older than those found before; and O(operations
 * under way * room) where peers are slow, or nothing is queued. If more flows are in flight than
 * there is room for, the last one may be shown with fewer bytes than it has.
 */
MFS_API uint32_t mfs_sender_waits(const struct mfs_sender *sender,
                                  const struct mfs_destination *destination, struct mfs_wait *waits,
                                  uint32_t room);

#endif
