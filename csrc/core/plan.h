/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a unit's queue implies for each request in it: who cannot make it, and by when others
 * need it to have been computed. The requests of a batch are computed together, and all wait for
 * the one that takes longest. For batch b of the queue, request r of it:
 *
 *   forward  finish_r = start_b + W_b + x3_r             on an empty network
 *            hopeless iff finish_r > D_r                 W_b = most of G*w_r: what is left of it
 *   backward E_b = min(S_{b+1}, D_r - x3_r of all r)     without those of the hopeless
 *            S_b = E_b - W_b
 *            S'_r = E_b without r's own term
 *
 * Units serve their queue in FIFO order, so a request inherits the urgency of those that wait for
 * it. Linear in the queue's length.
 *
 * And the paper's own plan across batches: RED, which orders them, and the overload
 * control that drops requests in that order (mfs_plan_red, mfs_plan_overload).
 */
#ifndef MFS_CORE_PLAN_H
#define MFS_CORE_PLAN_H

#include "core/facts.h"

/*
 * batches[0..count): how many requests each has, [0] running (or next to run); facts: of all of
 * them, in queue order. Reads deadline_ns, layers, layer_now, layer_ns, p2d_layer_ns, flags &
 * COMPUTED; writes start_ns (expected, from now_ns on), next_start_ns, and HOPELESS in flags. A
 * request without layers or layer_ns takes no time.
 */
MFS_API void mfs_plan_unit(struct mfs_facts *facts, const uint32_t *batches, size_t count,
                           int64_t now_ns);

/*
 * One that has left the queue since it has been computed: nobody waits for it, and it is hopeless
 * once its deadline has passed, whatever was thought of it while it waited. The policy sees by the
 * bytes left whether it can make it.
 */
MFS_API void mfs_plan_computed(struct mfs_facts *facts, int64_t now_ns);

/* W: how long a batch of `count` requests will still be computed. */
MFS_API int64_t mfs_plan_computing_ns(const struct mfs_facts *facts, size_t count);

/*
 * The request (its number) that a batch's collective belongs to, count > 0: the one with the
 * earliest deadline, the first of equals. It counts even if it was given up: its unit waits for the
 * collective all the same, and what the others need of it is in its S'.
 */
MFS_API size_t mfs_plan_collective(const struct mfs_facts *facts, size_t count);

/*
 * Shedding on one egress (Moore-Hodgson): requests with stage 3 bytes left, in any
 * order. By deadline, accumulate the bytes; when their sum at rate_Bps passes a
 * deadline, the largest so far is SHED. SHED is cleared first, so a request
 * comes back when there is room; hopeless ones are not counted. shed_for of one that is shed: the
 * number of that deadline's request, from 1 on; its caller, who knows the keys, makes it one.
 * scratch: count entries of caller memory. -EINVAL: rate 0.
 */
MFS_API int mfs_plan_shed(struct mfs_facts *facts, size_t count, uint64_t rate_Bps, int64_t now_ns,
                          uint32_t *scratch);

/*
 * RED (the paper): sort a batch's deadlines, split them at the largest gap, f = share of the
 * tight part; RED = f * least of the tight + (1 - f) * least of the loose. A few tight
 * requests thus do not lift a whole loose batch. Ambiguities, as we read them: requests
 * without a deadline do not count; of equal gaps the first one splits; one deadline, or all
 * equal, is that deadline. loose_ns (may be NULL): least of the loose part, the batch's own
 * deadline for the overload control. MFS_TIME_NEVER if no request has a deadline. scratch:
 * count entries.
 */
MFS_API int64_t mfs_plan_red(const int64_t *deadlines_ns, size_t count, int64_t *scratch,
                             int64_t *loose_ns);

/* One batch as the overload control sees it. Requests are numbered through all batches. */
struct mfs_plan_batch {
    uint32_t first, count; /* its requests: [first, first + count) */
    int64_t red_ns;        /* written: mfs_plan_red of its requests */
    int64_t loose_ns;      /* written */
    int64_t compute_ns;    /* profiled computing time */
    int64_t finish_ns;     /* written: worst-case finish time F after the drops */
};

#define MFS_DROPS_PER_BATCH 8u /* a value for B: the paper gives no number */

struct mfs_plan_overload {
    uint32_t ports;          /* u = 0..ports-1 */
    uint32_t budget;         /* B: requests that may be dropped for one batch */
    bool budget_is_global;   /* ambiguity: B for all batches together instead [false] */
    bool drop_earlier;       /* the pool has the requests of the batches before, as published;
                              * false: only the batch's own [true] */
    bool compute_accumulates; /* ambiguity: F counts the computing of the batches before, as for
                               * one unit in turn; false: only the batch's own [false] */
    const uint64_t *rates_Bps; /* of each port, > 0 */
};

/*
 * Overload control (the paper's Algorithm 1), on arrival and departure of a batch. In RED
 * order (ties by index): F_i = now + computing + (largest over ports of (S + L_i) / rate).
 * While F_i is later than loose_ns, fewer than B were dropped and the pool is not empty: on
 * the port with the largest (S + L_i) / rate, drop the request of the pool with the most load
 * there, the first of equals. The pool holds what was not dropped of this batch and of those
 * before it; a request without load on that port is not dropped, since it would not help.
 *
 * loads[request * ports + u]: bytes. order: batches by RED; dropped[request]: true if it is.
 * scratch: 2 * ports + requests entries. -EINVAL: no port or a rate of 0.
 */
MFS_API int mfs_plan_overload(const struct mfs_plan_overload *control,
                              struct mfs_plan_batch *batches, size_t count,
                              const int64_t *deadlines_ns, const uint64_t *loads, int64_t now_ns,
                              uint32_t *order, bool *dropped, uint64_t *scratch);

#endif
