/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a flow has its level: for people, nothing is decided by it. The policy names the reason where
 * it has one of its own (struct mfs_place); what is the same for all of them is added here.
 */
#ifndef MFS_CORE_WHY_H
#define MFS_CORE_WHY_H

#include "core/policy.h"

enum mfs_why_reason {
    MFS_WHY_ORDER, /* the policy's order alone */
    MFS_WHY_TIME, /* it has time */
    MFS_WHY_URGENT, /* it has little time left */
    MFS_WHY_BLOCKS, /* hosts wait for it and do nothing else */
    MFS_WHY_TURN, /* it is not its turn yet: computing has not come so far */
    MFS_WHY_UNDATED, /* it has no deadline */
    MFS_WHY_HOPELESS, /* given up: the request cannot be in time even on an empty network */
    MFS_WHY_SHED, /* given up so that the request facts->shed_for is in time */
    MFS_WHY_LATE, /* given up: what is left needs longer than there is time */
    MFS_WHY_PATIENCE, /* given up, but it has waited for so long that it is not last any more */
    MFS_WHY_LAST
};

struct mfs_why {
    uint32_t reason; /* enum mfs_why_reason */
    int64_t slack_ns; /* the time until it is due, less what the rest of it takes at rate_Bps; < 0:
                       * it is late by so much; MFS_TIME_NEVER: it is not due */
    uint64_t rate_Bps; /* 0: not known */
};

/* Given up by what is known of the request; MFS_WHY_ORDER: it is not. */
static inline uint16_t mfs_why_given_up(const struct mfs_facts *facts)
{
    return facts->flags & MFS_REQUEST_HOPELESS ? MFS_WHY_HOPELESS
           : facts->flags & MFS_REQUEST_SHED   ? MFS_WHY_SHED
                                               : MFS_WHY_ORDER;
}

/* Of a flow that a policy has placed so at now_ns. */
void mfs_why_find(const struct mfs_params *params, const struct mfs_flow_info *flow,
                  const struct mfs_facts *facts, const struct mfs_place *place, int64_t now_ns,
                  struct mfs_why *why);

#endif
