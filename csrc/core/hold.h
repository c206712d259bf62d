/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who posts a transfer gives it up after a time of his own: an engine frees the memory, a program
 * reports an error. A policy may hold a transfer back for as long as the port has anything better,
 * and that time then runs out in our queue. So there is a bound for every policy:
 *
 *   posted                                      due                     posted + hold
 *     |--------------- as the policy says -------|--- in front of all ---|
 *                                                 min(2 R/C, hold/2)
 *
 * R: what is left of the flow, C: the port's rate. Twice the time that it needs, since others may
 * be in front of all as well; but one that needs longer than a quarter of the bound waits for half
 * of it all the same. Among themselves they go in the order in which they began.
 *
 * It is the oldest waiting operation that counts. The flow's level stays what the policy made it,
 * so when that operation has left the flow is where it was: else traffic that never ends, as that
 * without a tag, would be in front of all for ever once it had been late.
 */
#ifndef MFS_CORE_HOLD_H
#define MFS_CORE_HOLD_H

#include "core/policy.h"

/* After the policy has placed it. */
void mfs_place_in_time(const struct mfs_params *params, const struct mfs_flow_info *flow,
                       const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);

#endif
