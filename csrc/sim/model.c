/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/model.h"

#include <math.h>

double mfs_sim_compute_s(const struct mfs_sim_model *model, double new_tokens, double work)
{
    const double linear = model->linear_flop * (new_tokens + model->mfu_half);
    const double attention = model->attention_flop * work;

    return (linear + attention) / (model->mfu_max * model->flops) * (1.0 + model->elementwise) *
           model->layers / model->groups;
}

double mfs_sim_collective_bytes(const struct mfs_sim_model *model, double new_tokens,
                                uint32_t unit_hosts)
{
    const double others = (unit_hosts - 1.0) / unit_hosts;

    return others * (2.0 * model->allreduce_bytes + model->alltoall_bytes / unit_hosts) *
           new_tokens * model->layers / model->groups;
}

double mfs_sim_collective_s(const struct mfs_sim_cluster *cluster,
                            const struct mfs_sim_model *model, double new_tokens)
{
    return mfs_sim_collective_bytes(model, new_tokens, cluster->unit_hosts) /
           (cluster->nics * cluster->link_Bps);
}

double mfs_sim_kv_bytes(const struct mfs_sim_model *model, double tokens)
{
    return model->kv_bytes * tokens * model->layers / model->groups;
}

double mfs_sim_p2d_bytes(const struct mfs_sim_cluster *cluster, const struct mfs_sim_model *model,
                         double tokens)
{
    return cluster->decode_hosts > 0 ? mfs_sim_kv_bytes(model, tokens) : 0.0;
}

/*
 * Collectives fill all ports of the unit, so nothing else moves meanwhile: fetches and
 * stage 3 advance on a clock of their own, that stands still during collectives. Fetch of
 * group g is done when it shows (g+1) f; stage 3 has a backlog that it drains.
 */
double mfs_sim_alone_s(const struct mfs_sim_cluster *cluster, const struct mfs_sim_model *model,
                       double tokens, double prefix, bool together)
{
    const double new_tokens = tokens - prefix;
    const double compute_s =
        mfs_sim_compute_s(model, new_tokens, new_tokens * (new_tokens + 2.0 * prefix));
    const double collective_s = mfs_sim_collective_s(cluster, model, new_tokens);
    const double fetch_s = mfs_sim_kv_bytes(model, prefix) / cluster->link_Bps;
    const double p2d_s = mfs_sim_p2d_bytes(cluster, model, tokens) / cluster->link_Bps;
    double now_s = 0.0, paused_s = 0.0, drained_s = 0.0; /* stage 3 done up to, on its clock */

    for (uint32_t group = 0; group < model->groups; group++) {
        const double fetched_s = (together ? model->groups : group + 1.0) * fetch_s + paused_s;

        now_s = fmax(now_s, fetched_s) + compute_s + collective_s;
        paused_s += collective_s;
        drained_s = fmax(drained_s, now_s - paused_s) + p2d_s;
    }
    return drained_s + paused_s;
}
