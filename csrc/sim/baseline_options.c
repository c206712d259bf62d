/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody who wants a baseline to win would try besides what its paper says; nothing by
 * default, and nothing of it is for mfs and mfs_paper.
 *
 *   stage_first, stage_second   a stage goes before all others whatever the policy's key is, then
 *                               another one: of levels 0 1 | 2 3 | 4 5 each stage has two, which
 *                               is what a baseline knows
 *   deadline_less               of stages 1 and 2 the deadline is earlier by what has to follow:
 *                               computing (with its collectives), and stage 3 of one group, or
 *                               all that is left of it. A collective's is the earliest of its batch
 *   coflow_weight               of a coflow 1, or 1 / time left to its deadline
 *   karuna_margin               in baselines.c
 *   class_weight                of wfq: a class weighs so many times the one behind it, in whole
 *                               numbers, the last one 1
 */
#include <errno.h>
#include <math.h>

#include "sim/state.h"

#define LEVELS_EACH 2
#define LEVELS_ALL (3 * LEVELS_EACH)
#define TIME_LEFT_LEAST_S 1e-3
#define WEIGHT_MOST 1e6

static bool by_deadline(const struct mfs_sim *sim)
{
    if (sim->rule == MFS_RULE_VARYS || sim->rule == MFS_RULE_SINCRONIA)
        return sim->options->weigh_deadline;
    return sim->rule == MFS_RULE_PDQ || sim->rule == MFS_RULE_LSTF ||
           sim->rule == MFS_RULE_SLACK_SRPT || sim->policy == mfs_policy_find("edf");
}

int mfs_baseline_init(struct mfs_sim *sim)
{
    const struct mfs_sim_options *options = sim->options;

    if (options->stage_first > MFS_STAGE_P2D || options->stage_second > MFS_STAGE_P2D ||
        options->deadline_less > MFS_SIM_LESS_STAGE3 || !(options->karuna_margin >= 0.0) ||
        !isfinite(options->karuna_margin) || !(options->class_weight >= 0.0) ||
        !isfinite(options->class_weight) ||
        (options->stage_second != MFS_STAGE_NONE &&
         (options->stage_first == MFS_STAGE_NONE ||
          options->stage_first == options->stage_second)) ||
        (options->stage_first != MFS_STAGE_NONE && options->levels < LEVELS_ALL))
        return -EINVAL;
    for (uint32_t i = 0; sim->input->slo_class && i < sim->input->count; i++) {
        if (sim->input->slo_class[i] > sim->last_class)
            sim->last_class = sim->input->slo_class[i];
    }
    if (sim->policy == sim->ours || sim->paper)
        return 0;
    sim->stage_first = options->stage_first;
    if (by_deadline(sim))
        sim->less = options->deadline_less;
    return 0;
}

/* --- the order of stages --- */

uint32_t mfs_baseline_level(const struct mfs_sim *sim, uint32_t stage, uint32_t level)
{
    uint32_t first;

    if (sim->stage_first == MFS_STAGE_NONE || level >= sim->params.levels)
        return level;
    first = stage == sim->stage_first             ? 0
            : stage == sim->options->stage_second ? LEVELS_EACH
                                                  : 2 * LEVELS_EACH;
    level += first;
    return level < sim->params.levels ? level : sim->params.levels - 1;
}

/*
 * Do flows of that level share, or go in order? An ordered level cannot come behind one that
 * shares: what edf_paper has in front of stage 3 goes in order of arrival instead.
 */
bool mfs_baseline_shares(const struct mfs_sim *sim, uint32_t level)
{
    const uint32_t from = sim->policy                                 ? sim->policy->shares_from
                          : sim->chained || sim->rule == MFS_RULE_WFQ ? 0
                                                                      : MFS_LEVELS_MAX;
    uint32_t most = sim->params.levels;

    if (from < MFS_LEVELS_MAX)
        most = sim->stage_first != MFS_STAGE_NONE ? LEVELS_ALL - 1 : from;
    if (level > most && level < sim->params.levels)
        return false; /* nobody is there */
    return from == 0 || sim->options->level_order == 1 ||
           (from < MFS_LEVELS_MAX && level > mfs_baseline_level(sim, MFS_STAGE_P2D, from - 1));
}

double mfs_baseline_share(const struct mfs_sim *sim, uint32_t request)
{
    double weight = 1.0;

    if (sim->rule == MFS_RULE_WFQ && sim->input->slo_class)
        weight = pow(sim->options->class_weight,
                     (double)sim->last_class - (double)sim->input->slo_class[request]);
    return fmin(fmax(rint(weight), 1.0), WEIGHT_MOST); /* maxmin.c: whole numbers */
}

/* --- deadlines of stages --- */

double mfs_baseline_stage3_s(struct mfs_sim *sim, uint32_t request)
{
    const struct mfs_sim_request *one = &sim->requests[request];
    double bytes = 0.0;

    if (sim->less == MFS_SIM_LESS_GROUP)
        bytes = mfs_sim_p2d_bytes(sim->cluster, sim->model, one->tokens);
    else if (sim->less == MFS_SIM_LESS_STAGE3)
        bytes = mfs_sim_request_p2d_left(sim, request);
    return bytes / sim->cluster->link_Bps * one->estimate;
}

double mfs_baseline_less_s(struct mfs_sim *sim, uint32_t request, uint32_t stage, uint32_t group)
{
    const uint32_t next = stage == MFS_STAGE_COLLECTIVE ? group + 1 : group;
    double compute_s, collective_s;

    if (sim->less == MFS_SIM_LESS_NOTHING || stage == MFS_STAGE_P2D)
        return 0.0;
    mfs_sim_request_group_s(sim, request, &compute_s, &collective_s);
    return (compute_s + collective_s) * (sim->model->groups - next) *
               sim->requests[request].estimate +
           mfs_baseline_stage3_s(sim, request);
}

double mfs_baseline_deadline_s(struct mfs_sim *sim, const struct mfs_sim_line *line,
                               uint32_t request)
{
    return sim->requests[request].deadline_s -
           mfs_baseline_less_s(sim, request, sim->bundles[line->bundle].stage, line->group);
}

/* --- coflows --- */

double mfs_baseline_weight(struct mfs_sim *sim, uint32_t bundle, uint32_t request)
{
    const struct mfs_sim_line *line = &sim->lines[sim->bundles[bundle].first_line];

    if (!sim->options->weigh_deadline)
        return 1.0;
    return 1.0 / fmax(mfs_baseline_deadline_s(sim, line, request) - sim->now_s, TIME_LEFT_LEAST_S);
}
