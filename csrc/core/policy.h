/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy is a pure function: (tag, sizes, what is known of the request, rate,
 * now) -> (level, key, when to ask again). It keeps no state and reads no clock,
 * so the queue on the wire, the simulator and the tests run the same code.
 *
 *      level: 0 first ... K-1 last, K = scavenger (served when nothing else waits)
 *      key:   order inside the level, smaller first; equal keys go in FIFO order
 *      recheck_ns: the next moment at which the answer may become more urgent
 *
 * `mfs` and `mfs_paper` have files of their own, the baselines are in policy.c.
 */
#ifndef MFS_CORE_POLICY_H
#define MFS_CORE_POLICY_H

#include "core/facts.h"

#define MFS_PATIENCE_DEFAULT 20
#define MFS_LEVELS_MIN 4 /* the policy mfs has three, and K-1 behind them */

/* What the queue knows of a flow. */
struct mfs_flow_info {
    struct mfs_tag tag;
    int64_t active_ns; /* when it became active: its first operation was posted */
    int64_t arrival_ns; /* when its oldest waiting operation was posted */
    uint64_t bytes_left; /* queued and not yet sent */
    uint64_t bytes_sent; /* sent since the flow became active */
    uint64_t share_bytes; /* bytes_sent plus the fair share it had on becoming active */
    uint32_t level; /* where it is now; MFS_LEVELS_MAX when new */
};

/* Parameters, one set for a queue. mfs_params_init() gives the defaults in brackets. */
struct mfs_params {
    uint32_t levels; /* K, MFS_LEVELS_MIN..MFS_LEVELS_MAX-1 [8] */
    uint64_t rate_Bps; /* bandwidth of the port [0: unknown] */
    double rate_margin; /* mfs: the port may be so many times faster than rate_Bps; >= 1 [1] */
    uint32_t patience; /* mfs: a request that was given up and is late by so many times its target
                        * is not last any more; 0: it stays last [MFS_PATIENCE_DEFAULT] */
    int64_t hold_ns; /* a flow waits no longer than this, whatever the policy; 0: no bound [0] */
    double mlu_base; /* mfs_paper: E of Q_i = E^-i * U [4] */
    double mlu_top; /* mfs_paper: U [0.5] */
};

/* What moves a place, besides time and what is known of the request: the queue then asks again. */
enum mfs_place_moves {
    MFS_MOVES_STILL = 0, /* nothing but its size, when operations are added */
    MFS_MOVES_ARRIVAL, /* arrival_ns alone: when the oldest operation has left; not the size */
    MFS_MOVES_SENT, /* bytes_left, bytes_sent: after each chunk */
    MFS_MOVES_SHARE, /* share_bytes, the key: after each chunk; the least is the fair share's clock
                      */
};

struct mfs_place {
    uint32_t level;
    uint16_t moves; /* enum mfs_place_moves */
    uint16_t reason; /* why it has this level, for people: enum mfs_why_reason (core/why.h) */
    int64_t key;
    int64_t recheck_ns; /* MFS_TIME_NEVER: nothing changes with time alone */
    int64_t slack_ns; /* for people as well: as in struct mfs_why, of reasons that say so */
};

/* What it needs to be told of requests besides their deadlines (core/plan.h). */
enum mfs_policy_plan {
    MFS_PLAN_UNIT =
        0, /* mfs_plan_unit and mfs_plan_shed; the baselines read what they know of it */
    MFS_PLAN_PAPER, /* mfs_plan_red and mfs_plan_overload */
};

struct mfs_policy {
    const char *name;
    const char *help;
    bool defers; /* false: operations are handed on as they are posted */
    bool ignores_tags; /* all traffic is one flow: the order of posting exactly */
    uint32_t plan; /* enum mfs_policy_plan */
    uint32_t shares_from; /* flows of this level and of those behind it have equal shares of what
                           * the levels in front leave; MFS_LEVELS_MAX: none do, keys order all */
    bool sizes; /* some of its keys are bytes, and no times */
    bool weighs; /* in level K-1 is what has no deadline and nothing else: the members of a port
                  * share that by weight (core/weigh.h) */
    /* *place comes as last of all but the scavengers: level K-1, never asked again, all else 0 */
    void (*place)(const struct mfs_params *params, const struct mfs_flow_info *flow,
                  const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);
};

MFS_API void mfs_params_init(struct mfs_params *params);

/* By name (off, fifo, edf, ...); NULL if there is none. */
MFS_API const struct mfs_policy *mfs_policy_find(const char *name);
/* All of them, in a fixed order, for help texts; NULL behind the last. */
MFS_API const struct mfs_policy *mfs_policy_at(size_t index);
/* So that a rank means something to another host, told as the span from now to its key. */
MFS_API bool mfs_policy_keys_are_times(const struct mfs_policy *policy);

/* --- for the files of policies --- */
void mfs_place_mfs(const struct mfs_params *params, const struct mfs_flow_info *flow,
                   const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);
void mfs_place_paper(const struct mfs_params *params, const struct mfs_flow_info *flow,
                     const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);

/* In order of arrival: the key moves on when the oldest operation has left. */
static inline void mfs_place_arrival(const struct mfs_flow_info *flow, struct mfs_place *place)
{
    place->key = flow->arrival_ns;
    place->moves = MFS_MOVES_ARRIVAL;
}

/* Stage 3; what has no tag counts as that. */
static inline bool mfs_flow_is_p2d(const struct mfs_flow_info *flow)
{
    return flow->tag.stage == MFS_STAGE_P2D || flow->tag.stage == MFS_STAGE_NONE;
}

#endif
