/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The baselines that csrc/core does not have, since only a simulator knows what they need:
 * exact rates, whole coflows, the rest of a request's way.
 *
 *   fair        no order; max-min over all flows
 *   karuna      a stage 3 flow gets rem / (D - t), times 1 + karuna_margin, in front of all; the
 *               rest smallest flow first; what is left over goes to stage 3 by deadline. The due
 *               rate is set anew when it has moved by a tenth
 *   pdq         by deadline, the request's for every stage; a flow that cannot end by it
 *               at full speed is stopped (served when nothing else is)
 *   varys       coflows by the time of their bottleneck port, least first
 *   sincronia   coflows by BSSI: the one that weighs most on the fullest port goes last,
 *               and so on; worked out anew when coflows come and go, every interval_s at most
 *   lstf        D - loading left - computing left, per request
 *   slack_srpt  what can just be in time (D - t - twice what the rest takes <= 5 ms, and it can
 *               be) by deadline, all else fewest bytes left first; of a request it knows D alone
 *   sept, gittins   sizes are known as a distribution only (unknown_sizes.c)
 *   wfq         max-min over all flows, weighted by SLO class
 *   llf_oracle  D - the rest of the request's way on an idle network, clairvoyant
 *   equal       max-min over requests: each has one share, and in it goes layer by layer
 *   stall_opt   shares by what hides behind computing: stall.c
 *   inf         no network: flows take no time
 *
 * As their papers have them; baseline_options.c has what somebody who wants them to win would try.
 *
 * A coflow is a batch's collective, a request's fetch, or a request's stage 3 (with the groups
 * not yet computed: coflow schedulers are told the size).
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "sim/state.h"

#define KARUNA_DRIFT 0.1
#define URGENT_S 5e-3 /* slack_srpt */
#define BY_SIZE 1e16 /* and behind all keys that are deadlines */

int mfs_baseline_find(struct mfs_sim *sim, const char *name)
{
    static const struct {
        const char *name;
        enum mfs_rule rule;
    } rules[] = {
        {"fair", MFS_RULE_FAIR},
        {"karuna", MFS_RULE_KARUNA},
        {"pdq", MFS_RULE_PDQ},
        {"varys", MFS_RULE_VARYS},
        {"sincronia", MFS_RULE_SINCRONIA},
        {"lstf", MFS_RULE_LSTF},
        {"slack_srpt", MFS_RULE_SLACK_SRPT},
        {"sept", MFS_RULE_SEPT},
        {"gittins", MFS_RULE_GITTINS},
        {"wfq", MFS_RULE_WFQ},
        {"llf_oracle", MFS_RULE_LLF},
        {"equal", MFS_RULE_EQUAL},
        {"stall_opt", MFS_RULE_STALL},
        {"inf", MFS_RULE_INF},
    };

    if (!name || strcmp(name, "off") == 0)
        return -EINVAL;
    sim->policy = mfs_policy_find(name);
    sim->rule = MFS_RULE_CORE;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (strcmp(name, rules[i].name) == 0)
            sim->rule = rules[i].rule;
    }
    mfs_stall_init(sim);
    return sim->policy || sim->rule != MFS_RULE_CORE ? 0 : -EINVAL;
}

static double deadline_key(double deadline_s, double less_s)
{
    return isfinite(deadline_s) ? fmax(0.0, deadline_s - less_s + 1e3) * 1e9 : 1e17;
}

static void set_key(struct mfs_place *place, double key)
{
    place->level = 0;
    place->key = key < 1e17 ? (int64_t)key : (int64_t)1e17;
}

/* --- what is left of a request --- */

static double fetch_left_s(struct mfs_sim *sim, const struct mfs_sim_request *request)
{
    double left = 0.0;

    if (request->fetch == MFS_NONE)
        return 0.0;
    for (uint32_t i = 0; i < sim->bundles[request->fetch].lines; i++) {
        struct mfs_sim_line *line = &sim->lines[sim->bundles[request->fetch].first_line + i];

        mfs_sim_line_advance(sim, line);
        left += mfs_sim_line_left_all(line); /* all from one egress */
    }
    return left / sim->cluster->link_Bps;
}

void mfs_sim_request_group_s(struct mfs_sim *sim, uint32_t index, double *compute_s,
                             double *collective_s)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    const struct mfs_unit *unit = &sim->units[request->unit];
    const double new = request->tokens - request->prefix;

    for (uint32_t i = 0; i < unit->running; i++) {
        if (mfs_unit_request(unit, i) == index) {
            *compute_s = unit->compute_s;
            *collective_s = unit->collective_s;
            return;
        }
    }
    *compute_s = mfs_sim_compute_s(sim->model, new, new * (new + 2.0 * request->prefix));
    *collective_s = mfs_sim_collective_s(sim->cluster, sim->model, new);
}

static double computing_left_s(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    double compute_s, collective_s;

    if (request->computed)
        return 0.0;
    mfs_sim_request_group_s(sim, index, &compute_s, &collective_s);
    return (compute_s + collective_s) *
           ((double)sim->model->groups - (double)request->facts.layer_now);
}

/* The rest of its way if it had the network alone: as mfs_sim_alone_s, from where it is. */
static double way_left_s(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    const uint32_t groups = sim->model->groups, first = request->facts.layer_now;
    const double p2d_s =
        mfs_sim_p2d_bytes(sim->cluster, sim->model, request->tokens) / sim->cluster->link_Bps;
    const double all_p2d_s = mfs_sim_request_p2d_left(sim, index) / sim->cluster->link_Bps;
    double fetch_s = fetch_left_s(sim, request), now_s = 0.0, paused_s = 0.0, drained_s;
    double compute_s, collective_s, each_s;

    if (request->computed)
        return all_p2d_s;
    mfs_sim_request_group_s(sim, index, &compute_s, &collective_s);
    drained_s = all_p2d_s - p2d_s * (groups - request->p2d_groups);
    each_s = fetch_s / (groups - first);
    for (uint32_t group = first; group < groups; group++) {
        now_s = fmax(now_s, (group - first + 1.0) * each_s + paused_s) + compute_s + collective_s;
        paused_s += collective_s;
        drained_s = fmax(drained_s, now_s - paused_s) + p2d_s;
    }
    return drained_s + paused_s;
}

/* --- coflows --- */

static double bottleneck_s(struct mfs_sim *sim, uint32_t bundle_index)
{
    const struct mfs_bundle *bundle = &sim->bundles[bundle_index];
    double left = 0.0;

    if (bundle->stage == MFS_STAGE_P2D)
        return mfs_sim_request_p2d_left(sim, bundle->request) / sim->cluster->link_Bps;
    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        mfs_sim_line_advance(sim, &sim->lines[i]);
        left += mfs_sim_line_left_all(&sim->lines[i]);
    }
    if (bundle->stage == MFS_STAGE_COLLECTIVE) /* spread over the unit's ports */
        left /= (double)sim->cluster->unit_hosts * sim->cluster->nics;
    return left / sim->cluster->link_Bps;
}

static void coflow_join(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_bundle *bundle = &sim->bundles[index];

    if (bundle->at != MFS_NONE)
        return;
    bundle->at = sim->coflows.count;
    bundle->key = 1e15; /* behind all until the next look */
    mfs_members_add(&sim->memory, &sim->coflows, index);
    if (isinf(sim->epoch_s))
        sim->epoch_s = fmax(sim->now_s, sim->epoch_last_s + sim->options->interval_s);
}

/* Bytes of coflow j on the links it uses, summed up into loads. */
static void add_load(struct mfs_sim *sim, const struct mfs_bundle *bundle, double *loads,
                     double sign)
{
    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        const struct mfs_sim_line *line = &sim->lines[i];
        const double left = mfs_sim_line_left_all(line);

        for (uint32_t k = 0; k < line->route.count; k++)
            loads[line->route.link[k]] += sign * left;
    }
}

static double load_on(struct mfs_sim *sim, const struct mfs_bundle *bundle, uint32_t link)
{
    double left = 0.0;

    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        const struct mfs_sim_line *line = &sim->lines[i];

        for (uint32_t k = 0; k < line->route.count; k++) {
            if (line->route.link[k] == link)
                left += mfs_sim_line_left_all(line);
        }
    }
    return left;
}

/* BSSI (bottleneck, select, scale, iterate) over the coflows that have flows now. */
static void bssi(struct mfs_sim *sim)
{
    const uint32_t links = sim->net.link_count, count = sim->coflows.count;
    double *loads = mfs_memory_new(&sim->memory, links + count, sizeof(*loads));
    double *weights = loads + links;

    for (uint32_t i = 0; i < count; i++) {
        struct mfs_bundle *bundle = &sim->bundles[sim->coflows.list[i]];

        for (uint32_t k = 0; k < bundle->lines; k++)
            mfs_sim_line_advance(sim, &sim->lines[bundle->first_line + k]);
        add_load(sim, bundle, loads, 1.0);
        weights[i] = mfs_baseline_weight(sim, sim->coflows.list[i], mfs_bundle_owner(sim, bundle));
        bundle->key = -1.0;
    }
    for (uint32_t place = count; place-- > 0;) {
        uint32_t fullest = 0, last = MFS_NONE;
        double least = INFINITY, on_last;

        for (uint32_t i = 1; i < links; i++) {
            if (loads[i] / sim->net.links[i].capacity >
                loads[fullest] / sim->net.links[fullest].capacity)
                fullest = i;
        }
        for (uint32_t i = 0; i < count; i++) {
            const struct mfs_bundle *bundle = &sim->bundles[sim->coflows.list[i]];
            double load;

            if (bundle->key >= 0.0)
                continue;
            load = load_on(sim, bundle, fullest);
            if (last == MFS_NONE || (load > 0.0 && weights[i] / load < least)) {
                least = load > 0.0 ? weights[i] / load : INFINITY;
                last = i;
            }
        }
        on_last = load_on(sim, &sim->bundles[sim->coflows.list[last]], fullest);
        for (uint32_t i = 0; i < count && on_last > 0.0; i++) {
            const struct mfs_bundle *bundle = &sim->bundles[sim->coflows.list[i]];

            if (bundle->key < 0.0 && i != last)
                weights[i] -= weights[last] * load_on(sim, bundle, fullest) / on_last;
        }
        sim->bundles[sim->coflows.list[last]].key = place;
        add_load(sim, &sim->bundles[sim->coflows.list[last]], loads, -1.0);
    }
    mfs_memory_free(&sim->memory, loads);
}

void mfs_baseline_epoch(struct mfs_sim *sim)
{
    uint32_t kept = 0;

    sim->epoch_last_s = sim->now_s;
    sim->epoch_s = INFINITY;
    for (uint32_t i = 0; i < sim->coflows.count; i++) {
        const uint32_t index = sim->coflows.list[i];
        struct mfs_bundle *bundle = &sim->bundles[index];
        bool active = false;

        if (bundle->at != i)
            continue; /* of one that has ended */
        for (uint32_t k = 0; k < bundle->lines; k++)
            active = active || sim->lines[bundle->first_line + k].count > 0;
        bundle->at = MFS_NONE;
        if (!active || bundle->stage == 0)
            continue;
        bundle->at = kept;
        sim->coflows.list[kept++] = index;
    }
    sim->coflows.count = kept;
    bssi(sim);
    for (uint32_t i = 0; i < kept; i++) {
        const struct mfs_bundle *bundle = &sim->bundles[sim->coflows.list[i]];

        for (uint32_t k = 0; k < bundle->lines; k++)
            mfs_sim_line_dirty(sim, bundle->first_line + k);
    }
}

/* --- placing --- */

static void place_karuna(struct mfs_sim *sim, uint32_t index, struct mfs_place *place, double *cap)
{
    const struct mfs_sim_line *line = &sim->lines[index];
    const double deadline_s = sim->requests[sim->bundles[line->bundle].request].deadline_s;
    const double time_s = deadline_s - sim->now_s, left = mfs_sim_line_left_all(line);
    double least, due, apart;

    set_key(place, deadline_key(deadline_s, 0.0));
    if (!isfinite(deadline_s) || time_s <= 0.0)
        return; /* late: stays in front */
    least = left / time_s;
    due = least * (1.0 + sim->options->karuna_margin);
    *cap = due;
    if (due >= sim->cluster->link_Bps) {
        *cap = INFINITY;
        return;
    }
    /* when left(t) / (D - t) will be a tenth more, or less, at the present rate */
    apart = line->rate > least ? 1.0 - KARUNA_DRIFT : 1.0 + KARUNA_DRIFT;
    apart = (left - apart * left) / (line->rate - apart * least);
    place->recheck_ns = mfs_sim_ns(sim->now_s + fmin(fmax(apart, 1e-4), time_s));
}

static void place_pdq(struct mfs_sim *sim, uint32_t index, uint32_t request,
                      struct mfs_place *place)
{
    const struct mfs_sim_line *line = &sim->lines[index];
    const double deadline_s = mfs_baseline_deadline_s(sim, line, request);
    const double latest_s =
        deadline_s - mfs_sim_line_left(line, line->group) / sim->cluster->link_Bps;

    set_key(place, deadline_key(deadline_s, 0.0));
    if (!sim->hopeless || !isfinite(deadline_s))
        return;
    if (latest_s < sim->now_s)
        place->level = sim->params.levels;
    else
        place->recheck_ns = mfs_sim_ns(latest_s) + 1;
}

/* Once urgent it stays so (levels only fall), but goes behind all that can be in time if it cannot.
 */
static void place_slack_srpt(struct mfs_sim *sim, uint32_t index, uint32_t request,
                             struct mfs_place *place)
{
    const double deadline_s = mfs_baseline_deadline_s(sim, &sim->lines[index], request);
    struct mfs_flow_info info;
    double needed_s, urgent_s, late_s;

    mfs_order_flow(sim, index, &info);
    needed_s = (double)info.bytes_left / sim->cluster->link_Bps;
    urgent_s = deadline_s - 2.0 * needed_s - URGENT_S;
    late_s = deadline_s - needed_s;
    set_key(place, BY_SIZE + (double)info.bytes_left);
    place->level = 1;
    if (!isfinite(deadline_s) || sim->now_s > late_s)
        return;
    if (sim->now_s < urgent_s && info.level > 0) {
        place->recheck_ns = mfs_sim_ns(urgent_s) + 1;
    } else {
        set_key(place, deadline_key(deadline_s, 0.0));
        place->recheck_ns = mfs_sim_ns(late_s) + 1;
    }
}

bool mfs_baseline_place(struct mfs_sim *sim, uint32_t index, struct mfs_place *place, double *cap)
{
    const struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    uint32_t request;
    double deadline_s, less_s;

    if (sim->rule == MFS_RULE_CORE)
        return false;
    request = mfs_bundle_owner(sim, bundle);
    deadline_s = sim->requests[request].deadline_s;
    switch (sim->rule) {
    case MFS_RULE_FAIR:
    case MFS_RULE_WFQ:
        place->level = 0;
        return true;
    case MFS_RULE_EQUAL:
    case MFS_RULE_STALL:
        set_key(place, 0.0);
        if (sim->portions)
            mfs_stall_cap(sim, index, cap);
        return true;
    case MFS_RULE_KARUNA:
        if (bundle->stage != MFS_STAGE_P2D)
            return false; /* smallest flow first: core has that */
        place_karuna(sim, index, place, cap);
        return true;
    case MFS_RULE_PDQ:
        place_pdq(sim, index, request, place);
        return true;
    case MFS_RULE_VARYS:
        set_key(place, bottleneck_s(sim, line->bundle) /
                           mfs_baseline_weight(sim, line->bundle, request) * 1e9);
        return true;
    case MFS_RULE_SINCRONIA:
        coflow_join(sim, line->bundle);
        set_key(place, sim->bundles[line->bundle].key);
        return true;
    case MFS_RULE_LSTF:
        less_s = fetch_left_s(sim, &sim->requests[request]) + computing_left_s(sim, request);
        if (bundle->stage != MFS_STAGE_P2D)
            less_s += mfs_baseline_stage3_s(sim, request);
        set_key(place, deadline_key(deadline_s, less_s));
        return true;
    case MFS_RULE_SLACK_SRPT:
        place_slack_srpt(sim, index, request, place);
        return true;
    case MFS_RULE_SEPT:
    case MFS_RULE_GITTINS:
        set_key(place, mfs_unknown_key(sim, line->bundle));
        return true;
    case MFS_RULE_LLF:
        set_key(place, deadline_key(deadline_s, way_left_s(sim, request)));
        return true;
    default:
        return false;
    }
}
