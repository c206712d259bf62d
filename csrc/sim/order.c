/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ORDER: what the schedulers of all hosts would say of each flow, by csrc/core: the facts
 * of a request are kept as a control plane would (foresight.c; the paper's plan in paper.c), and
 * the policy's place() gives level, key and when to ask again. A line is placed anew when its first
 * flow changes, when what is known of its request has changed, and at the time that the policy
 * named.
 *
 * Crossing times are exact for flows that wait. For one that is served the policy names a
 * moment that comes too early, since the bytes left fall meanwhile: looks that find the same
 * level are spaced out, from MFS_SERVED_LOOK_S to SERVED_LOOK_MOST_S, and a crossing is put off
 * by as much at most.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "core/span.h"
#include "sim/chunks.h"
#include "sim/state.h"

#define SERVED_LOOK_MOST_S 1e-3

/* --- set-up --- */

static void map_tiers(struct mfs_sim *sim)
{
    uint32_t tiers = 0;

    for (uint32_t level = 0; level <= sim->params.levels; level++)
        sim->tier_of_level[level] = mfs_baseline_shares(sim, level) ? (uint8_t)++tiers : 0;
    sim->net.tiers = tiers;
}

static bool option(int32_t chosen, bool normal)
{
    return chosen < 0 ? normal : chosen != 0;
}

/* With the bytes that leave. */
static bool keys_move(enum mfs_rule rule)
{
    return rule == MFS_RULE_VARYS || rule == MFS_RULE_LSTF || rule == MFS_RULE_SLACK_SRPT ||
           rule == MFS_RULE_GITTINS;
}

int mfs_order_init(struct mfs_sim *sim)
{
    const struct mfs_sim_options *options = sim->options;
    int error = mfs_baseline_find(sim, options->policy);
    bool own;

    if (error)
        return error;
    mfs_params_init(&sim->params);
    sim->params.levels = options->levels;
    sim->params.rate_Bps = (uint64_t)sim->cluster->link_Bps;
    if (options->patience >= 0)
        sim->params.patience = (uint32_t)options->patience;
    sim->params.mlu_base = options->mlu_base;
    sim->params.mlu_top = options->mlu_top;
    if (options->levels < MFS_LEVELS_MIN || options->levels >= MFS_LEVELS_MAX ||
        sim->params.rate_Bps == 0 || !(options->mlu_base > 1.0) || !(options->mlu_top > 0.0) ||
        !(options->promote_interval_s >= 0.0) || options->level_order > 2 ||
        options->enforcement > MFS_SIM_GRANTS || options->classes < 1 ||
        options->decode_choice > MFS_SIM_NETKV || options->store_choice > MFS_SIM_STORES ||
        (options->store_choice == MFS_SIM_STORES && sim->cluster->store_hosts == 0) ||
        options->classes > MFS_CLASSES_MAX || !(options->pressure_delay_s >= 0.0) ||
        !isfinite(options->pressure_delay_s) || !(options->limits_lost >= 0.0) ||
        !(options->limits_lost < 1.0))
        return -EINVAL;
    sim->ours = mfs_policy_find("mfs");
    own = sim->policy == sim->ours;
    sim->paper = sim->policy && sim->policy->plan == MFS_PLAN_PAPER;
    sim->hopeless = option(options->hopeless, own || sim->rule == MFS_RULE_PDQ);
    sim->shed = option(options->shed, own && sim->hopeless);
    error = mfs_baseline_init(sim);
    if (error)
        return error;
    sim->plans = own || sim->hopeless || sim->shed;
    sim->by_bytes = options->level_order >= 2 || sim->policy == mfs_policy_find("srpt");
    sim->moving = sim->by_bytes || own || keys_move(sim->rule);
    if (keys_move(sim->rule) || sim->rule == MFS_RULE_LLF)
        sim->look_s = options->interval_s;
    if (sim->rule == MFS_RULE_SEPT || sim->rule == MFS_RULE_GITTINS)
        mfs_unknown_init(sim);
    if (own && !sim->hopeless)
        sim->params.rate_margin = 1e18; /* whatever is left could be sent in time */
    if (options->enforcement >= MFS_SIM_CHUNKS)
        return mfs_chunks_policy(sim);
    map_tiers(sim);
    return 0;
}

/* --- placing --- */

void mfs_order_flow(struct mfs_sim *sim, uint32_t index, struct mfs_flow_info *info)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    double left = 0.0, size = 0.0;

    memset(info, 0, sizeof(*info));
    info->tag.request = bundle->request + 1;
    info->tag.stage = bundle->stage;
    info->tag.layer = line->group;
    info->active_ns = info->arrival_ns = line->flows[line->group].created_ns;
    info->level = line->level;
    /* a flow is all bytes of a tag on one port: here the egress */
    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        struct mfs_sim_line *other = &sim->lines[i];

        if (other->count == 0 || other->route.link[0] != line->route.link[0])
            continue;
        mfs_sim_line_advance(sim, other);
        left += mfs_sim_line_left(other, line->group);
        size += line->size;
    }
    info->bytes_left = (uint64_t)ceil(left);
    info->bytes_sent = (uint64_t)(size - left > 0.0 ? size - left : 0.0);
    if (info->bytes_left == 0)
        info->bytes_left = 1;
}

static void place_request(struct mfs_sim *sim, const struct mfs_flow_info *info, uint32_t request,
                          const struct mfs_policy *policy, struct mfs_place *place)
{
    struct mfs_facts facts = sim->requests[request].facts;

    if (info->tag.stage == MFS_STAGE_P2D)
        facts.p2d_left_bytes =
            (uint64_t)(mfs_sim_request_p2d_left(sim, request) * sim->requests[request].estimate);
    if (sim->less != MFS_SIM_LESS_NOTHING && policy == sim->policy &&
        facts.deadline_ns != MFS_TIME_NEVER)
        facts.deadline_ns -=
            mfs_sim_span_ns(mfs_baseline_less_s(sim, request, info->tag.stage, info->tag.layer));
    policy->place(&sim->params, info, &facts, sim->now_ns, place);
}

/* By csrc/core. */
static void place_core(struct mfs_sim *sim, uint32_t index, struct mfs_place *place)
{
    const struct mfs_bundle *bundle = &sim->bundles[sim->lines[index].bundle];
    struct mfs_flow_info info;

    mfs_order_flow(sim, index, &info);
    place_request(sim, &info, mfs_bundle_owner(sim, bundle), sim->policy, place);
}

/* For the baselines: would ours give this stage 3 up? Then it goes last here, too. */
static void place_given_up(struct mfs_sim *sim, uint32_t index, struct mfs_place *place)
{
    const struct mfs_bundle *bundle = &sim->bundles[sim->lines[index].bundle];
    struct mfs_place ours = {.level = sim->params.levels - 1, .recheck_ns = MFS_TIME_NEVER};
    struct mfs_flow_info info;

    if (!sim->hopeless || bundle->stage != MFS_STAGE_P2D || sim->policy == sim->ours)
        return;
    mfs_order_flow(sim, index, &info);
    place_request(sim, &info, bundle->request, sim->ours, &ours);
    if (ours.level == sim->params.levels)
        place->level = ours.level;
    place->recheck_ns = mfs_time_earlier(place->recheck_ns, ours.recheck_ns);
}

static uint32_t fabric_class(const struct mfs_sim *sim, const struct mfs_sim_line *line)
{
    const uint32_t classes = sim->options->classes;

    if (sim->options->enforcement == MFS_SIM_PRESSURE)
        return mfs_pressure_class(sim, line);
    if (sim->options->enforcement != MFS_SIM_CLASSES || classes < 2)
        return 0;
    if (line->level >= sim->params.levels)
        return classes - 1;
    return line->level < classes - 2 ? line->level : classes - 2;
}

bool mfs_order_served(const struct mfs_sim *sim, const struct mfs_sim_line *line)
{
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    for (uint32_t i = 0; i < bundle->lines; i++) {
        if (sim->lines[bundle->first_line + i].rate > 0.0)
            return true;
    }
    return false;
}

/* When a look that the policy wants at a time is made. */
static double look_s(const struct mfs_sim *sim, int64_t recheck_ns)
{
    const double time_s = mfs_sim_s(recheck_ns), grid_s = sim->options->promote_interval_s;

    return grid_s > 0.0 ? ceil(time_s / grid_s) * grid_s : time_s;
}

void mfs_order_look_by(struct mfs_sim *sim, uint32_t index, double time_s)
{
    mfs_timers_set(&sim->looks, index, fmin(mfs_timers_at_s(&sim->looks, index), time_s));
}

/* Stage 3 is judged by all bytes of its request: who waits behind the first is promoted with it. */
static void promote_waiting(struct mfs_sim *sim, struct mfs_sim_line *line, uint32_t wanted)
{
    for (uint32_t i = 1; i < line->count; i++) {
        struct mfs_sim_line_flow *flow = &line->flows[line->group + i];

        flow->level = mfs_level_next(sim->params.levels, flow->level, wanted);
    }
}

/* The line's place into the net. */
static void apply(struct mfs_sim *sim, uint32_t index, const struct mfs_place *place, double cap)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const uint32_t scavenger = sim->params.levels;
    const uint32_t level = mfs_level_next(scavenger, line->level, place->level);
    uint32_t tier;

    line->look_gap_s =
        level != line->level ? MFS_SERVED_LOOK_S : fmin(2.0 * line->look_gap_s, SERVED_LOOK_MOST_S);
    if (level != line->level)
        MFS_TRACE(sim, MFS_SIM_LEVEL, (int32_t)sim->bundles[line->bundle].request,
                  (int32_t)sim->bundles[line->bundle].stage, (int32_t)line->group,
                  (int32_t)line->host_from, (int32_t)line->host_to, (int32_t)level,
                  (int32_t)sim->bundles[line->bundle].unit, mfs_sim_line_left_all(line));
    line->level = level;
    if (sim->policy == sim->ours && sim->bundles[line->bundle].stage == MFS_STAGE_P2D)
        promote_waiting(sim, line, place->level);
    tier = sim->tier_of_level[level];
    mfs_sim_line_shared(sim, line, tier > 0 && !sim->chained);
    mfs_slot_class(&sim->net, line->slot, fabric_class(sim, line));
    if (tier > 0) {
        mfs_slot_share(
            &sim->net, line->slot, tier,
            (sim->chained ? 1.0 : line->count) *
                mfs_baseline_share(sim, mfs_bundle_owner(sim, &sim->bundles[line->bundle])));
    } else {
        const uint64_t sequence = line->flows[line->group].sequence;

        mfs_slot_order(&sim->net, line->slot, mfs_rank_make(level, place->key), sequence, cap);
        if ((sim->rule == MFS_RULE_KARUNA || sim->portions) && !sim->options->hold_shares &&
            isfinite(cap)) {
            if (line->spare_slot == MFS_NONE)
                line->spare_slot = mfs_slot_new(&sim->net, &line->route, index);
            mfs_slot_order(&sim->net, line->spare_slot, mfs_rank_make(scavenger, place->key),
                           sequence, INFINITY);
        } else if (line->spare_slot != MFS_NONE) {
            mfs_slot_leave(&sim->net, line->spare_slot);
        }
    }
    if (place->recheck_ns == MFS_TIME_NEVER) {
        mfs_timers_drop(&sim->looks, index);
    } else {
        const double gap_s = mfs_order_served(sim, line) ? line->look_gap_s : 1e-9;

        mfs_timers_set(&sim->looks, index,
                       fmax(look_s(sim, place->recheck_ns), sim->now_s + gap_s));
    }
    if (sim->look_s > 0.0 && line->rate > 0.0)
        mfs_order_look_by(sim, index, sim->now_s + sim->look_s);
}

static void place_line(struct mfs_sim *sim, uint32_t index, struct mfs_place *place, double *cap)
{
    mfs_sim_line_advance(sim, &sim->lines[index]);
    if (!mfs_baseline_place(sim, index, place, cap))
        place_core(sim, index, place);
    place->level =
        mfs_baseline_level(sim, sim->bundles[sim->lines[index].bundle].stage, place->level);
    place_given_up(sim, index, place);
    if (sim->options->level_order == 2)
        place->key = (int64_t)mfs_sim_line_left(&sim->lines[index], sim->lines[index].group);
}

mfs_rank_t mfs_order_rank(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_place place = {.level = sim->params.levels - 1, .recheck_ns = MFS_TIME_NEVER};
    double cap = INFINITY;

    place_line(sim, index, &place, &cap);
    return mfs_rank_make(mfs_level_next(sim->params.levels, sim->lines[index].level, place.level),
                         place.key);
}

void mfs_order_place(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    struct mfs_place place = {.level = sim->params.levels - 1, .recheck_ns = MFS_TIME_NEVER};
    double cap = INFINITY;

    if (!line->dirty)
        return;
    line->dirty = false;
    if (line->count == 0 || line->slot == MFS_NONE)
        return;
    place_line(sim, index, &place, &cap);
    if (sim->by_bytes)
        mfs_order_meets(sim, index);
    apply(sim, index, &place, cap);
    if (bundle->stage != MFS_STAGE_COLLECTIVE || sim->by_bytes ||
        sim->rule == MFS_RULE_SLACK_SRPT) /* bytes left are a line's own */
        return;
    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        if (!sim->lines[i].dirty) /* all of a collective alike */
            continue;
        sim->lines[i].dirty = false;
        if (sim->lines[i].count > 0)
            apply(sim, i, &place, cap);
    }
}
