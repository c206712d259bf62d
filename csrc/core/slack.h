/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a port can still be given, and by when, without making late what is in time. For who decides
 * where bytes go (a router, an engine, the simulator); nothing on the way of a chunk asks it.
 *
 * The port is taken to serve by due time: if any order has all in time, that one has. With rate C,
 * bytes F that go first whatever is added, and flows of b_i bytes due at d_i, d_1 <= d_2 <= ...:
 *
 *   sum_i   = F + b_1 + ... + b_i      of those that are in time
 *   in time iff sum_i / C <= d_i       one that is not is left out: nothing that is added made it
 * so spare_i = d_i - sum_i / C          the time that may still be taken before d_i
 *
 *   bytes(D)    = C * least of D - (sum of those due by D) / C, and spare_i of those due behind D
 *   soonest(B)  = (sum_j + B) / C, j: the last with C * spare_j < B; F for sum_j if there is none
 *
 * soonest(B) is the least D with bytes(D) >= B: bytes(D) only grows with D. Times are spans from
 * the moment that is looked at.
 */
#ifndef MFS_CORE_SLACK_H
#define MFS_CORE_SLACK_H

#include "types.h"

struct mfs_slack_flow {
    int64_t due_ns; /* by when its last byte has to leave; < 0: that has passed */
    uint64_t bytes; /* left of it */
};

/* One port at one moment. The caller has the flows' memory, of `room` entries. */
struct mfs_slack {
    uint64_t rate_Bps; /* C; 0: not known, then nothing is promised */
    uint64_t first_bytes; /* F: in flight, and what is waiting and not known better */
    uint32_t count, room; /* flows */
    struct mfs_slack_flow *flows; /* earliest first: by mfs_slack_add() alone */
};

/*
 * Another flow. MFS_TIME_NEVER: it has no due time, goes behind all that have, and changes nothing.
 * -ENOSPC: no room is left; then its bytes go first, so that less is promised than there is.
 * Linear in the flows that are due behind it.
 */
MFS_API int mfs_slack_add(struct mfs_slack *slack, int64_t due_ns, uint64_t bytes);

/* Bytes that can be added, due at due_ns. Linear in the flows, as all below. */
MFS_API uint64_t mfs_slack_bytes(const struct mfs_slack *slack, int64_t due_ns);
/* When so many added bytes can have left at the earliest; MFS_TIME_NEVER: the rate is not known. */
MFS_API int64_t mfs_slack_soonest(const struct mfs_slack *slack, uint64_t bytes);
/* Bytes of flows that are not in time, whatever is added. */
MFS_API uint64_t mfs_slack_late(const struct mfs_slack *slack);

#endif
