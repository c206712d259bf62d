/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flow-level simulator of prefill units, hosts and links (docs/simulator.md): requests
 * in, times out. The scheduler is csrc/core; what is simulated is the cluster.
 *
 *   arrivals --> serving (units, batches, stages) --> flows (lines of flows) --> net (rates)
 *                     ^                                  |   ^
 *                     +------------ a flow has ended ----+   +-- order (places by csrc/core)
 *
 * Exact between events, one thread, no clock and no random numbers: same input, same bits.
 */
#ifndef MFS_SIM_SIM_H
#define MFS_SIM_SIM_H

#include "sim/model.h"

enum mfs_sim_enforcement {
    MFS_SIM_GLOBAL = 0,   /* every link keeps the order */
    MFS_SIM_SENDER = 1,   /* egress ports do, the rest of the path is shared */
    MFS_SIM_CLASSES = 2,  /* and the fabric has strict classes */
    MFS_SIM_PRESSURE = 3, /* and receivers say what the best level is that waits for them */
    MFS_SIM_CHUNKS = 4, /* senders of csrc/core, with windows and chunks (chunks.h) */
    MFS_SIM_EXCHANGE = 5, /* and receivers tell them which ranks may send (exchange.c) */
    MFS_SIM_GRANTS = 6,   /* and receivers grant them bytes (grants.c) */
};

enum mfs_sim_less { /* what of it is left out of a deadline: each has the one before it, too */
                    MFS_SIM_LESS_NOTHING = 0,
                    MFS_SIM_LESS_COMPUTING =
                        1, /* of the groups that follow, with their collectives */
                    MFS_SIM_LESS_GROUP = 2,     /* stage 3 of one group */
                    MFS_SIM_LESS_STAGE3 = 3,    /* stage 3, what is left of it */
};

enum mfs_sim_choice { /* of a decode host, of the host that has the KV */
                      MFS_SIM_USUAL = 0, /* fewest outstanding bytes; as drawn */
                      MFS_SIM_SLACK =
                          1, /* least time to spare is most (decode); fewest bytes wait (KV) */
                      MFS_SIM_ROOM = 2, /* core/slack.h: most can be added by when they are due */
                      MFS_SIM_FIT = 3, /* fewest bytes wait, of those that can take them by when
                                          they are due */
                      MFS_SIM_STORES = 4,      /* KV: as drawn, of those that only store */
                      MFS_SIM_ROUND_ROBIN = 4, /* decode hosts: in turn */
                      MFS_SIM_NEAREST = 5,     /* of the nearest tier */
                      MFS_SIM_NETKV = 6,       /* by what the way costs: choices.c */
};

enum mfs_sim_trace_kind {
    MFS_SIM_ARRIVE = 0,
    MFS_SIM_FLOW_START = 1,
    MFS_SIM_FLOW_END = 2,
    MFS_SIM_LEVEL = 3,
    MFS_SIM_COMPUTE_START = 4,
    MFS_SIM_COMPUTE_END = 5,
    MFS_SIM_COLLECTIVE_START = 6,
    MFS_SIM_COLLECTIVE_END = 7,
    MFS_SIM_FIRST_TOKEN = 8,
};

struct mfs_sim_event {
    double time_s;
    int32_t kind, request, stage, group, host_from, host_to, level, unit;
    double bytes;
};

struct mfs_sim_options {
    const char *policy;
    int32_t hopeless;    /* -1: what the policy itself does; 0, 1 */
    int32_t shed;        /* the same */
    uint32_t enforcement; /* enum mfs_sim_enforcement */
    uint32_t classes;
    double pressure_delay_s;
    uint64_t chunk_bytes; /* least chunk of a sender that ships; 0: as it ships */
    uint64_t window_bytes; /* of such a sender; 0: as it ships, by its port's rate */
    double limits_lost; /* share of limits and grants that do not arrive, 0 to less than 1 */
    uint64_t grant_bytes; /* that a receiver grants at a time; 0: a chunk */
    uint32_t levels;
    int32_t patience; /* -1: csrc/core's default */
    double mlu_base, mlu_top;
    double interval_s;
    double
        promote_interval_s; /* looks that the policy asks for fall on multiples of it; 0: on time */
    uint32_t level_order; /* 0 key, 1 shared, 2 remaining bytes */
    bool inherit, red, prune;
    uint32_t decode_choice, store_choice; /* enum mfs_sim_choice */
    bool unit_edf, recompute, batch_deadline, route_prefix;
    uint32_t replicas;
    double routing_slack, batch_slack_s;
    /* of the baselines (baseline_options.c) */
    uint32_t stage_first, stage_second; /* enum mfs_stage; MFS_STAGE_NONE: no order of stages */
    uint32_t deadline_less; /* enum mfs_sim_less */
    double karuna_margin;
    double class_weight;
    bool weigh_deadline;
    bool hold_shares; /* stall.c */
};

/* Arrays of `count`, in order of arrival. estimate: what estimates are multiplied with. */
struct mfs_sim_requests {
    uint32_t count;
    const double *arrival_s;
    const int64_t *tokens, *prefix;
    const double *deadline_s; /* absolute; infinity: none */
    const double *store_draw; /* [0, 1) */
    const double *estimate;
    const uint32_t *slo_class; /* 0: the most important; NULL: all are of one */
};

/* Caller's arrays of one entry a request (port_bytes: links), then totals. */
struct mfs_sim_outcome {
    double *first_token_s, *fetch_done_s, *compute_start_s, *compute_done_s; /* infinity: never */
    int64_t *unit, *decode_host, *store_host;
    uint8_t *given_up;
    double *port_bytes; /* between first and last arrival; in the order of cluster.c */
    double collective_sum_s;
    uint64_t collectives, events, flows, visited;
    uint64_t told; /* limits and grants, by receivers to senders */
    double bytes;
    uint64_t memory_bytes;
    struct mfs_sim_event *trace; /* mfs_sim_trace_free() when done; NULL: not asked for */
    uint64_t trace_count;
};

/* Called now and then; not 0 ends the run with -ECANCELED. */
typedef int (*mfs_sim_progress)(void *context, uint32_t done, double now_s);

MFS_API uint32_t mfs_sim_links(const struct mfs_sim_cluster *cluster);
/*
 * 0; -EINVAL: no such policy, or a number that makes no sense; -ENOMEM; -ECANCELED;
 * -EDEADLK: something waits that nothing will end (a defect). The outcome's arrays are
 * written as far as the run came.
 */
MFS_API int mfs_sim_run(const struct mfs_sim_cluster *cluster, const struct mfs_sim_model *model,
                        const struct mfs_sim_requests *requests,
                        const struct mfs_sim_options *options, bool trace,
                        mfs_sim_progress progress, void *context, struct mfs_sim_outcome *outcome);
MFS_API void mfs_sim_trace_free(struct mfs_sim_event *trace);

/*
 * Flows alone, all starting at start_s: finish times, for tests and benches. Flow i uses
 * links route[first[i]] .. route[first[i+1]-1] (at most 6). tier 0: in order of (level, key),
 * else shared in that tier. rates_at_0 (may be NULL): rates of those that start at 0.
 * -EINVAL: a link that is not there, or more than 6; MFS_SIM_CHUNKS.
 */
MFS_API int mfs_sim_flows(uint32_t links, const double *capacity, uint32_t flows,
                          const uint32_t *first, const uint32_t *route, const double *bytes,
                          const double *start_s, const uint32_t *tier, const uint32_t *level,
                          const int64_t *key, uint32_t enforcement, double *finish_s,
                          double *rates_at_0, uint64_t *visited);

#endif
