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
 * Unknown inputs have safe values, given with each field: a request about which
 * nothing is known is placed like untagged traffic, never in front of a deadline.
 */
#ifndef MFS_CORE_POLICY_H
#define MFS_CORE_POLICY_H

#include "types.h"

#define MFS_PATIENCE_DEFAULT 20
#define MFS_LEVELS_MIN 4 /* the policy mfs has three, and K-1 behind them */

enum mfs_request_flags {
    MFS_REQUEST_HOPELESS = 1u << 0, /* cannot meet its deadline even on an empty network */
    MFS_REQUEST_SHED = 1u << 1, /* given up so that others can meet theirs */
    MFS_REQUEST_COMPUTED = 1u << 2, /* its last layer has been computed */
};

/* What is known of a request. Zero-initialise, then mfs_facts_init() for the rest. */
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
    uint32_t untagged_stage; /* stage of untagged traffic [MFS_STAGE_P2D] */
    uint64_t rate_Bps; /* bandwidth of the port [0: unknown] */
    double rate_margin; /* mfs: the port may be so many times faster than rate_Bps; >= 1 [1] */
    uint32_t patience; /* mfs: a request that was given up and is late by so many times its target
                        * is not last any more; 0: it stays last [MFS_PATIENCE_DEFAULT] */
    int64_t hold_ns; /* a flow waits no longer than this, whatever the policy; 0: no bound [0] */
    double mlu_base; /* mfs_paper: E of Q_i = E^-i * U [4] */
    double mlu_top; /* mfs_paper: U [0.5] */
    double load; /* mfs_paper: rho, share of the port that others use [0] */
    int64_t promote_interval_ns; /* mfs_paper: grid of promotions once computed;
                                  * 0 = at the exact crossing [0] */
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
    uint32_t moves; /* enum mfs_place_moves */
    int64_t key;
    int64_t recheck_ns; /* MFS_TIME_NEVER: nothing changes with time alone */
};

/* Why a flow has its level: for people, nothing is decided by it. */
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
    /* *place comes as {K-1, STILL, 0, NEVER}: last of all but the scavengers */
    void (*place)(const struct mfs_params *params, const struct mfs_flow_info *flow,
                  const struct mfs_facts *facts, int64_t now_ns, struct mfs_place *place);
    /* NULL: by its order alone. *why comes with MFS_WHY_ORDER, and with the time until the deadline
     * less what is queued takes at the port's rate */
    void (*why)(const struct mfs_params *params, const struct mfs_flow_info *flow,
                const struct mfs_facts *facts, int64_t now_ns, struct mfs_why *why);
};

/* Why a flow that was placed at now_ns has the level flow->level. */
MFS_API void mfs_policy_why(const struct mfs_policy *policy, const struct mfs_params *params,
                            const struct mfs_flow_info *flow, const struct mfs_facts *facts,
                            int64_t now_ns, struct mfs_why *why);
/* By when its last byte has to leave (LATEST FINISH TIME in policy_mfs.c); MFS_TIME_NEVER: nothing
 * says so. */
MFS_API int64_t mfs_latest_finish(uint32_t stage, uint32_t layer, const struct mfs_facts *facts);
MFS_API void mfs_params_init(struct mfs_params *params);
MFS_API void mfs_facts_init(struct mfs_facts *facts);

/* By name (off, fifo, edf, ...); NULL if there is none. */
MFS_API const struct mfs_policy *mfs_policy_find(const char *name);
/* All of them, in a fixed order, for help texts; NULL behind the last. */
MFS_API const struct mfs_policy *mfs_policy_at(size_t index);
MFS_API const char *mfs_policy_name(const struct mfs_policy *policy);
MFS_API const char *mfs_policy_help(const struct mfs_policy *policy);
MFS_API bool mfs_policy_defers(const struct mfs_policy *policy);
MFS_API uint32_t mfs_policy_plan(const struct mfs_policy *policy);
/* So that a rank means something to another host, told as the span from now to its key. */
MFS_API bool mfs_policy_keys_are_times(const struct mfs_policy *policy);

/* "kv_reuse", "collective", "p2d", "none"; NULL for a number that is no stage. */
MFS_API const char *mfs_stage_name(uint32_t stage);

#endif
