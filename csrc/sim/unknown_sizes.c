/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders for who does not know sizes: of a transfer it is known which stage it is of, how the sizes
 * of that stage are distributed, and what it has had so far. A transfer is a coflow (baselines.c),
 * its size what its fullest port carries.
 *
 *   sept      shortest expected size first: of a stage all alike, so in order of arrival
 *   gittins   the index of Gittins: of one that has had a, the least of all d > a of
 *                 E[min(S, d) - a | S > a] / P(S <= d | S > a)
 *             bytes to be spent for an end that they may bring; optimal for the mean on one link
 *             where nothing else is known (Gittins 1979; Aalto, Ayesta, Righter 2009)
 *
 * The distributions are those of this run's own requests, each in a batch of its own, as QUANTILES
 * equally likely sizes; nobody could know more of them. A transfer that has had more than the
 * largest is taken for one of the largest that has just begun.
 */
#include <math.h>

#include "sim/state.h"

#define QUANTILES 64u

struct mfs_sim_sizes {
    uint32_t count;
    double bytes[QUANTILES]; /* ascending */
    double mean;
};

static double size_of(const struct mfs_sim *sim, uint32_t index, uint32_t stage)
{
    const double tokens = (double)sim->input->tokens[index];
    const double prefix = (double)sim->input->prefix[index];

    switch (stage) {
    case MFS_STAGE_KV_REUSE:
        return mfs_sim_kv_bytes(sim->model, prefix) * sim->model->groups;
    case MFS_STAGE_COLLECTIVE:
        return mfs_sim_collective_bytes(sim->model, tokens - prefix, sim->cluster->unit_hosts) /
               sim->cluster->nics;
    default:
        return mfs_sim_kv_bytes(sim->model, tokens) * sim->model->groups;
    }
}

static void sift(double *list, uint32_t at, uint32_t count)
{
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        double swap;

        if (child + 1 < count && list[child + 1] > list[child])
            child++;
        if (list[child] <= list[at])
            return;
        swap = list[at];
        list[at] = list[child];
        list[child] = swap;
    }
}

static void sort(double *list, uint32_t count)
{
    for (uint32_t at = count / 2; at-- > 0;)
        sift(list, at, count);
    for (uint32_t end = count; end-- > 1;) {
        const double swap = list[0];

        list[0] = list[end];
        list[end] = swap;
        sift(list, 0, end);
    }
}

static void sizes_find(struct mfs_sim *sim, uint32_t stage, double *scratch)
{
    struct mfs_sim_sizes *sizes = &sim->sizes[stage];
    uint32_t count = 0;

    for (uint32_t i = 0; i < sim->input->count; i++) {
        const double bytes = size_of(sim, i, stage);

        if (bytes <= 0.0)
            continue;
        scratch[count++] = bytes;
        sizes->mean += bytes;
    }
    if (count == 0)
        return;
    sizes->mean /= count;
    sort(scratch, count);
    sizes->count = count < QUANTILES ? count : QUANTILES;
    for (uint32_t i = 0; i < sizes->count; i++) /* the middle of each part */
        sizes->bytes[i] = scratch[(uint32_t)((i + 0.5) * count / sizes->count)];
}

void mfs_unknown_init(struct mfs_sim *sim)
{
    double *scratch =
        mfs_memory_new(&sim->memory, sim->input->count ? sim->input->count : 1, sizeof(*scratch));

    sim->sizes = mfs_memory_new(&sim->memory, MFS_STAGE_P2D + 1, sizeof(*sim->sizes));
    for (uint32_t stage = MFS_STAGE_KV_REUSE; stage <= MFS_STAGE_P2D; stage++)
        sizes_find(sim, stage, scratch);
    mfs_memory_free(&sim->memory, scratch);
}

/* What its fullest port has carried of it. */
static double attained(struct mfs_sim *sim, const struct mfs_bundle *bundle)
{
    double left = 0.0, size = 0.0;

    if (bundle->stage == MFS_STAGE_P2D)
        return size_of(sim, bundle->request, MFS_STAGE_P2D) -
               mfs_sim_request_p2d_left(sim, bundle->request);
    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        mfs_sim_line_advance(sim, &sim->lines[i]);
        left += mfs_sim_line_left_all(&sim->lines[i]);
        size += sim->lines[i].size;
    }
    if (bundle->stage == MFS_STAGE_COLLECTIVE)
        return (size - left) / ((double)sim->cluster->unit_hosts * sim->cluster->nics);
    return size_of(sim, bundle->request, MFS_STAGE_KV_REUSE) - left;
}

static double gittins(const struct mfs_sim_sizes *sizes, double had)
{
    double spent = 0.0, best = INFINITY;
    uint32_t first = 0;

    while (first < sizes->count && sizes->bytes[first] <= had + MFS_BYTES_DONE)
        first++;
    if (first == sizes->count)
        return sizes->bytes[sizes->count - 1];
    for (uint32_t i = first; i < sizes->count; i++) {
        const double more = sizes->bytes[i] - had;

        spent += more; /* of those that end by then */
        best = fmin(best, (spent + more * (sizes->count - 1 - i)) / (i - first + 1));
    }
    return best;
}

double mfs_unknown_key(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_bundle *bundle = &sim->bundles[index];
    const struct mfs_sim_sizes *sizes = &sim->sizes[bundle->stage];

    if (sizes->count == 0)
        return 0.0;
    return sim->rule == MFS_RULE_SEPT ? sizes->mean : gittins(sizes, attained(sim, bundle));
}
