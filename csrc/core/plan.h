/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a unit's queue implies for each request in it: who cannot make it, and
 * how late each may start without making one behind it late.
 *
 *   forward  finish_i = start_i + G*w_i + x3_i          on an empty network
 *            hopeless iff finish_i > D_i
 *   backward E_i = min(D_i - x3_i, S_{i+1})              own term dropped if hopeless
 *            S_i = E_i - G*w_i
 *
 * Units serve their queue in FIFO order, so a request inherits the urgency of
 * those behind it. Linear in the queue's length.
 */
#ifndef MFS_CORE_PLAN_H
#define MFS_CORE_PLAN_H

#include "policy.h"

/*
 * facts[0..count) in queue order, [0] running (or next to run). Reads deadline_ns,
 * layers, layer_now, layer_ns, p2d_layer_ns, flags & COMPUTED; writes start_ns
 * (expected, from now_ns on), next_start_ns, and HOPELESS in flags. A request
 * without layers or layer_ns takes no time.
 */
MFS_API void mfs_plan_unit(struct mfs_facts *facts, size_t count, int64_t now_ns);

/*
 * Shedding on one egress (Moore-Hodgson): requests with stage 3 bytes left, in any
 * order. By deadline, accumulate the bytes; when their sum at rate_Bps passes a
 * deadline, the largest so far is SHED. SHED is cleared first, so a request
 * comes back when there is room; hopeless ones are not counted. scratch: count
 * entries of caller memory. -EINVAL: rate 0.
 */
MFS_API int mfs_plan_shed(struct mfs_facts *facts, size_t count, uint64_t rate_Bps, int64_t now_ns,
                          uint32_t *scratch);

#endif
