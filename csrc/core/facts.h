/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of a request: written by who serves it, read by plans, policies and those who look.
 *
 * Unknown inputs have safe values, given with each field: a request about which nothing is known
 * is placed like untagged traffic, never in front of a deadline.
 */
#ifndef MFS_CORE_FACTS_H
#define MFS_CORE_FACTS_H

#include "core/types.h"

enum mfs_request_flags {
    MFS_REQUEST_HOPELESS = 1u << 0, /* cannot meet its deadline even on an empty network */
    MFS_REQUEST_SHED = 1u << 1, /* given up so that others can meet theirs */
    MFS_REQUEST_COMPUTED = 1u << 2, /* its last layer has been computed */
};

/* mfs_facts_init() makes all of it unknown. */
struct mfs_facts {
    int64_t arrival_ns;       /* when the request arrived; 0 if unknown */
    int64_t deadline_ns;      /* D: first token due; MFS_TIME_NEVER if it has none */
    int64_t next_start_ns;    /* S': by when others need its batch to have been computed: the
                               * latest start of the batch behind it in the unit's queue, or less
                               * for those of its own; MFS_TIME_NEVER if nobody waits */
    int64_t red_ns;           /* RED of its batch (the paper); MFS_TIME_NEVER: use deadline_ns */
    int64_t start_ns;         /* when group 0 is expected to start (or started) computing;
                               * MFS_TIME_NEVER if unknown */
    int64_t layer_since_ns; /* when layer_now started computing (mfs_paper judges a request that
                             * computes as of then); 0 if unknown: at any look */
    int64_t layer_ns; /* w: computing plus collective of one layer (group); 0 if unknown */
    int64_t collective_ns; /* c: of w the collective's time on an empty port; 0 if unknown (then
                            * it is taken for a long one) */
    int64_t p2d_layer_ns; /* x3: stage 3 of one layer on an empty port; 0 if unknown */
    int64_t hold_ns; /* its transfers wait no longer than this from their posting, nor than the
                      * parameters say: then they go first; 0: it has no bound of its own */
    uint64_t p2d_left_bytes; /* R: stage 3 bytes still to deliver, with layers that are
                              * not computed yet; 0 if unknown (then what is queued) */
    uint32_t layers; /* G: layers (groups) of the model; 0 if unknown */
    uint32_t layer_now; /* layer that computes now */
    uint32_t flags; /* enum mfs_request_flags */
    uint32_t slo_class; /* for reports only */
    uint64_t shed_for; /* for reports only: the request whose deadline SHED is to save, by its key;
                        * MFS_REQUEST_NONE: none, or not known */
};

/*
 * Where the queue reads what is known of a request. `version` lets it find
 * changes without asking for every flow: it moves whenever any request changes.
 * Both may be NULL: then nothing is known of any request.
 */
struct mfs_facts_source {
    void *ctx;
    uint64_t (*version)(void *ctx);
    /* false: unknown request (facts stay as mfs_facts_init() left them). */
    bool (*read)(void *ctx, uint64_t request, struct mfs_facts *facts);
};

MFS_API void mfs_facts_init(struct mfs_facts *facts);

#endif
