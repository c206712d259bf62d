/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of one run, shared by the files of csrc/sim. One thread owns it.
 *
 * LINES AND BUNDLES: All flows of one (request, stage) between two hosts follow the same
 * route and are alike, one for each group. They are one line: flows wait in it in the order
 * of their groups. In an ordered tier the first one sends alone (a chain: a later one could
 * only have what it leaves, on a route that it fills); in a shared tier all send at the same
 * rate, and `served` is what each has had since the line was last empty. So a request costs
 * as many slots as it has pairs of hosts, not groups times as many. The lines of one request
 * and stage, or of one unit's collective, are a bundle.
 *
 *   line   flows[group].end: `served` at which that flow has ended
 *          chain   ends add up            shared   end = served at its start + size
 */
#ifndef MFS_SIM_STATE_H
#define MFS_SIM_STATE_H

#include "core/plan.h"
#include "core/policy.h"
#include "core/slack.h"
#include "sim/net.h"
#include "sim/sim.h"
#include "sim/timers.h"

#define MFS_NONE UINT32_MAX
#define MFS_SERVED_LOOK_S 50e-6 /* between two looks at a line that is served */
#define MFS_BYTES_DONE 1e-3 /* a flow with so little left has ended */

struct mfs_sim_line_flow {
    double end;
    uint64_t sequence; /* of creation */
    int64_t created_ns;
    uint32_t level; /* what it was promoted to while it waited behind others of its line */
};

struct mfs_sim_line {
    struct mfs_route route;
    uint32_t slot;
    uint32_t spare_slot; /* karuna: what it gets beyond its due rate; MFS_NONE */
    uint32_t bundle;
    uint32_t host_from, host_to;
    uint32_t group; /* of the first flow that has not ended */
    uint32_t count; /* flows that have not ended: groups group..group+count-1 */
    uint32_t level; /* as placed last; MFS_LEVELS_MAX: new */
    double size;    /* of each flow */
    double served, since_s;
    double rate;    /* of each flow (shared), or of the first (chain); as of since_s */
    double look_gap_s; /* while it is served: least time to its next look */
    double portion; /* stall.c: of its port, in bytes/s; 0: to be worked out */
    double passed_s, pass_gap_s; /* by_bytes: last time it was about to pass another; least time */
    uint64_t watched; /* by_bytes: sim->settlings when it was */
    bool shared;
    bool dirty; /* to be placed before time moves */
    struct mfs_sim_line_flow *flows; /* [groups] */
    struct mfs_sim_operations *operations; /* chunks.c; NULL: none yet */
};

struct mfs_bundle {
    uint32_t request; /* of a collective: the first of the batch */
    uint32_t unit;
    uint32_t stage; /* enum mfs_stage; 0: free */
    uint32_t first_line, lines;
    double key; /* varys, sincronia, pdq: of the coflow */
    uint32_t at; /* position in the list of active coflows */
};

struct mfs_sim_request {
    double arrival_s, deadline_s;
    double tokens, prefix; /* prefix 0 once it is to be computed anew */
    double estimate;
    uint32_t unit, decode, store;
    uint32_t fetch, p2d; /* bundles; MFS_NONE */
    uint32_t p2d_waiting; /* stage 3 flows that have not ended, of started groups */
    uint32_t p2d_groups; /* groups whose stage 3 has started */
    uint32_t next_p2d; /* list of the unit's requests with stage 3 */
    bool fetched, computed, queued, done;
    struct mfs_facts facts;
};

enum mfs_unit_phase { MFS_UNIT_IDLE, MFS_UNIT_FETCHING, MFS_UNIT_COMPUTING, MFS_UNIT_COLLECTIVE };

struct mfs_unit {
    uint32_t *queue; /* ring of requests: running batch first */
    uint32_t head, count, capacity;
    uint32_t running; /* of them are the batch */
    uint32_t phase, group;
    uint32_t waiting; /* flows of the collective that have not ended */
    double compute_s, collective_bytes, collective_s; /* of a group of the running batch */
    double phase_since_s;
    double outstanding; /* new tokens of routed requests not yet computed */
    uint32_t bundle; /* of its collectives; MFS_NONE */
    uint32_t sending; /* list of requests with stage 3; MFS_NONE */
    bool dirty; /* to be planned before time moves */
};

struct mfs_batch {
    uint32_t count; /* requests */
    double new_tokens;
    double compute_s, collective_s; /* of a group, the collective on idle ports */
};

/* How far it is from one host to another: same server, same pod, same zone, further. */
enum mfs_tier { MFS_TIER_NODE, MFS_TIER_POD, MFS_TIER_ZONE, MFS_TIER_CORE, MFS_TIERS };

/* What the policy is, in the simulator's words. */
enum mfs_rule {
    MFS_RULE_CORE, /* csrc/core places */
    MFS_RULE_FAIR,
    MFS_RULE_KARUNA,
    MFS_RULE_PDQ,
    MFS_RULE_VARYS,
    MFS_RULE_SINCRONIA,
    MFS_RULE_LSTF,
    MFS_RULE_LLF,
    MFS_RULE_SLACK_SRPT,
    MFS_RULE_SEPT,
    MFS_RULE_GITTINS,
    MFS_RULE_WFQ,
    MFS_RULE_EQUAL,
    MFS_RULE_STALL,
    MFS_RULE_INF,
};

struct mfs_sim {
    struct mfs_memory memory;
    const struct mfs_sim_cluster *cluster;
    const struct mfs_sim_model *model;
    const struct mfs_sim_options *options;
    const struct mfs_sim_requests *input;
    struct mfs_sim_outcome *out;

    /* policy */
    const struct mfs_policy *policy, *ours; /* ours: asked who is given up */
    struct mfs_params params;
    enum mfs_rule rule;
    bool hopeless, shed, plans, paper;
    bool chained; /* a line in a shared tier has one share, for its first flow */
    bool portions; /* fetches have shares of their port: stall.c */
    bool by_bytes; /* keys are bytes left: lines pass each other at known times */
    bool moving; /* keys move as bytes leave, these or others: order.c */
    double look_s; /* and what is served is looked at so often; 0: it is not */
    struct mfs_sim_sizes *sizes; /* by stage; NULL: unknown_sizes.c is not asked */
    uint32_t last_class; /* of the requests' SLO classes: the least important */
    uint32_t stage_first, less; /* as in the options; 0 where the policy has none */
    uint8_t tier_of_level[MFS_LEVELS_MAX + 1]; /* 0: ordered */

    /* time */
    double now_s;
    int64_t now_ns;
    struct mfs_timers ends; /* by line: its first flow */
    struct mfs_timers computes; /* by unit */
    struct mfs_timers looks; /* by line: to place again */
    struct mfs_timers messages; /* by ingress link: pressure */
    double epoch_s; /* next look at all keys that move (sincronia); infinity */
    double window_end_s; /* port_bytes are counted to here */
    bool window_done;

    /* things */
    struct mfs_net net;
    struct mfs_chunks *chunks; /* NULL: rates by net */
    struct mfs_exchange *exchange; /* NULL: receivers tell their senders no limits */
    struct mfs_grants *grants; /* NULL: and grant them nothing */
    struct mfs_sim_request *requests;
    struct mfs_unit *units;
    struct mfs_sim_line *lines;
    uint32_t line_count, line_capacity;
    struct mfs_bundle *bundles;
    uint32_t bundle_count, bundle_capacity;
    struct mfs_members free_bundles; /* of unit_hosts lines */
    struct mfs_members dirty_lines, dirty_units;
    struct mfs_members
        met_lines; /* by_bytes: of another rate, or behind one that was placed or ended */
    uint64_t settlings; /* so far */
    struct mfs_members coflows; /* active bundles (varys, sincronia) */
    double epoch_last_s;
    bool paper_due; /* a batch came or went */
    double *decode_bytes; /* outstanding, by decode host */
    struct mfs_members *decode_requests; /* by decode host, if choices ask for it */
    uint32_t tier_requests[MFS_TIERS]; /* not delivered yet, by how far their KV goes */
    double *link_bytes; /* by link, up to window_end_s */
    uint32_t *pressed; /* by link: level announced; pressure */
    uint64_t sequence;

    /* scratch of the planner */
    struct mfs_facts *plan;
    uint32_t *plan_request;
    uint32_t plan_capacity;
    uint32_t *scratch;
    uint32_t scratch_capacity;
    struct mfs_slack_flow *slack_flows; /* scratch of port_slack.c */
    uint32_t slack_capacity;
    struct mfs_members at_port; /* lines: scratch of port_slack.c */

    /* trace */
    struct mfs_sim_event *trace;
    uint64_t trace_count, trace_capacity;
    bool tracing;
    uint32_t done;
};

/* csrc/core's clock when the run begins: as on a host that has been up for a while, so that what
 * was due before is not at the end of its keys (they are not negative). */
#define MFS_SIM_EPOCH_NS (INT64_C(10000) * 1000000000)

static inline int64_t mfs_sim_span_ns(double span_s)
{
    return span_s < 9e9 ? (int64_t)(span_s * 1e9 + 0.5) : MFS_TIME_NEVER;
}

/* A moment of the run on csrc/core's clock, and back. */
static inline int64_t mfs_sim_ns(double time_s)
{
    return time_s < 9e9 ? mfs_sim_span_ns(time_s) + MFS_SIM_EPOCH_NS : MFS_TIME_NEVER;
}

static inline double mfs_sim_s(int64_t time_ns)
{
    return (double)(time_ns - MFS_SIM_EPOCH_NS) * 1e-9;
}

/* --- cluster.c --- */
int mfs_cluster_check(const struct mfs_sim_cluster *cluster);
double mfs_cluster_capacity(const struct mfs_sim_cluster *cluster, uint32_t link);
void mfs_cluster_route(const struct mfs_sim_cluster *cluster, uint32_t from, uint32_t to,
                       uint32_t nic, struct mfs_route *route);
uint32_t mfs_cluster_hosts(const struct mfs_sim_cluster *cluster);
enum mfs_tier mfs_cluster_tier(const struct mfs_sim_cluster *cluster, uint32_t from, uint32_t to);
/* What a host has of a port's rate there if all hosts send as far. */
double mfs_cluster_tier_Bps(const struct mfs_sim_cluster *cluster, enum mfs_tier tier);

/* --- flows.c --- */
uint32_t mfs_bundle_new(struct mfs_sim *sim, uint32_t stage, uint32_t request, uint32_t unit);
void mfs_bundle_free(struct mfs_sim *sim, uint32_t bundle);
uint32_t mfs_bundle_collective(struct mfs_sim *sim, uint32_t unit);
uint32_t mfs_bundle_owner(struct mfs_sim *sim, const struct mfs_bundle *bundle); /* a request */
void mfs_sim_line_route(struct mfs_sim *sim, uint32_t line, uint32_t from, uint32_t to,
                        uint32_t nic);
/*
 * `count` flows of `bytes` each, of groups group.., created in the order sequence, sequence +
 * stride, ...; they end at once if there is no way to go.
 */
void mfs_sim_line_add(struct mfs_sim *sim, uint32_t line, uint32_t group, uint32_t count,
                      double bytes, uint64_t sequence, uint64_t stride);
void mfs_sim_line_advance(struct mfs_sim *sim, struct mfs_sim_line *line);
double mfs_sim_line_left(const struct mfs_sim_line *line,
                         uint32_t group); /* of one flow, as of since_s */
double mfs_sim_line_left_all(const struct mfs_sim_line *line);
void mfs_sim_line_shared(struct mfs_sim *sim, struct mfs_sim_line *line, bool shared);
void mfs_sim_line_dirty(struct mfs_sim *sim, uint32_t line);
/* Its first flow has ended. */
void mfs_sim_line_end_first(struct mfs_sim *sim, uint32_t line);
void mfs_sim_lines_end_due(struct mfs_sim *sim); /* flows that have ended by now */
void mfs_sim_lines_rated(struct mfs_sim *sim); /* take over net->changed */
void mfs_sim_lines_window(struct mfs_sim *sim); /* port bytes as of now */

/* --- batches.c --- */
uint32_t mfs_unit_request(const struct mfs_unit *unit, uint32_t at);
void mfs_unit_push(struct mfs_sim *sim, struct mfs_unit *unit, uint32_t request);
/* The batch that would begin at position `at` of the queue, where a request is. */
void mfs_unit_batch(const struct mfs_sim *sim, const struct mfs_unit *unit, uint32_t at,
                    struct mfs_batch *batch);

/* --- serving.c --- */
void mfs_serving_init(struct mfs_sim *sim);
void mfs_serving_arrive(struct mfs_sim *sim, uint32_t request);
void mfs_serving_computed(struct mfs_sim *sim, uint32_t unit);
void mfs_serving_flow_ended(struct mfs_sim *sim, uint32_t line, uint32_t level);
/* Stage 3 bytes of all hosts that are still to be delivered, with groups not yet computed. */
double mfs_sim_request_p2d_left(struct mfs_sim *sim, uint32_t request);

/* --- choices.c --- */
uint32_t mfs_choose_unit(struct mfs_sim *sim, uint32_t request);
uint32_t mfs_choose_decode(struct mfs_sim *sim, uint32_t request);
/* Where it decodes: its first own host, where the units do. */
uint32_t mfs_sim_decode_host(const struct mfs_sim *sim, uint32_t request);
enum mfs_tier mfs_sim_decode_tier(const struct mfs_sim *sim, uint32_t request);
uint32_t mfs_choose_store(struct mfs_sim *sim, uint32_t request);
bool mfs_choose_recompute(struct mfs_sim *sim, uint32_t request);
bool mfs_choose_at_home(const struct mfs_sim *sim, uint32_t request); /* the unit has the prefix */

/* --- port_slack.c --- */
/* Bytes that wait for an egress port. */
double mfs_sim_egress_bytes(struct mfs_sim *sim, uint32_t link);
/* What waits for an egress port, and for a decode host's ingress port of that NIC; good until the
 * next call. */
void mfs_slack_of_egress(struct mfs_sim *sim, uint32_t link, struct mfs_slack *slack);
void mfs_slack_of_decode(struct mfs_sim *sim, uint32_t decode, uint32_t nic,
                         struct mfs_slack *slack);

/* --- order.c, foresight.c, baselines.c --- */
int mfs_order_init(struct mfs_sim *sim);
void mfs_order_place(struct mfs_sim *sim, uint32_t line);
void mfs_order_plan(struct mfs_sim *sim, uint32_t unit);
void mfs_unit_dirty(struct mfs_sim *sim, uint32_t unit);
void mfs_bundle_dirty(struct mfs_sim *sim, uint32_t bundle); /* MFS_NONE: nothing */
/* The request of the running batch that its collective belongs to. */
uint32_t mfs_unit_collective(struct mfs_sim *sim, const struct mfs_unit *unit);
void mfs_sim_request_dirty(struct mfs_sim *sim, uint32_t request); /* all its lines */
void mfs_order_flow(struct mfs_sim *sim, uint32_t line, struct mfs_flow_info *info);
/* Where a line would be placed now. */
mfs_rank_t mfs_order_rank(struct mfs_sim *sim, uint32_t line);
/* Do bytes of its request and stage move? Then what the policy judges it by does. */
bool mfs_order_served(const struct mfs_sim *sim, const struct mfs_sim_line *line);
void mfs_order_look_by(struct mfs_sim *sim, uint32_t line, double time_s);

/* --- passing.c --- */
void mfs_order_refresh(struct mfs_sim *sim, uint32_t line); /* it came: those it would pass */
void mfs_order_meets(struct mfs_sim *sim, uint32_t line); /* remembers those right behind it */
void mfs_order_watch(struct mfs_sim *sim, uint32_t line); /* when its key passes another */
int mfs_baseline_find(struct mfs_sim *sim, const char *name); /* sets rule; -EINVAL */
bool mfs_baseline_place(struct mfs_sim *sim, uint32_t line, struct mfs_place *place, double *cap);
void mfs_baseline_epoch(struct mfs_sim *sim);
/* Of one group of its batch, if it runs, or of itself. */
void mfs_sim_request_group_s(struct mfs_sim *sim, uint32_t request, double *compute_s,
                             double *collective_s);
void mfs_paper_plan(struct mfs_sim *sim);

/* --- unknown_sizes.c --- */
void mfs_unknown_init(struct mfs_sim *sim); /* sept, gittins */
double mfs_unknown_key(struct mfs_sim *sim, uint32_t bundle); /* bytes; less goes first */

/* --- baseline_options.c --- */
int mfs_baseline_init(struct mfs_sim *sim); /* -EINVAL */
/* The level of a stage's flow that the policy puts into `level`. */
uint32_t mfs_baseline_level(const struct mfs_sim *sim, uint32_t stage, uint32_t level);
bool mfs_baseline_shares(const struct mfs_sim *sim, uint32_t level);
/* Of a flow of the request in a shared level. */
double mfs_baseline_share(const struct mfs_sim *sim, uint32_t request);
/* By how much a flow's deadline is earlier than its request's, and the part of stage 3 in it. */
double mfs_baseline_less_s(struct mfs_sim *sim, uint32_t request, uint32_t stage, uint32_t group);
double mfs_baseline_stage3_s(struct mfs_sim *sim, uint32_t request);
/* Of the line's first flow, and of a coflow; request: whose they are. */
double mfs_baseline_deadline_s(struct mfs_sim *sim, const struct mfs_sim_line *line,
                               uint32_t request);
double mfs_baseline_weight(struct mfs_sim *sim, uint32_t bundle, uint32_t request);

/* --- stall.c --- */
void mfs_stall_init(struct mfs_sim *sim);
void mfs_stall_cap(struct mfs_sim *sim, uint32_t line, double *cap);
void mfs_stall_moved(struct mfs_sim *sim, uint32_t line); /* it came or ended: others' shares */

/* --- pressure.c --- */
uint32_t mfs_pressure_class(const struct mfs_sim *sim, const struct mfs_sim_line *line);
void mfs_pressure_told(struct mfs_sim *sim, uint32_t link); /* the message has arrived */
void mfs_pressure_check(struct mfs_sim *sim);

/* --- trace.c --- */
void mfs_trace_add(struct mfs_sim *sim, const struct mfs_sim_event *event);

#define MFS_TRACE(sim, ...)                                                                        \
    do {                                                                                           \
        if ((sim)->tracing)                                                                        \
            mfs_trace_add(sim, &(struct mfs_sim_event){.time_s = (sim)->now_s, __VA_ARGS__});      \
    } while (0)

#endif
