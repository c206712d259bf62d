/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. At each moment: everything that is due, in a fixed order (flows that have
 * ended, groups that have been computed, arrivals, looks, messages), then plans, places,
 * and the rates; nothing else moves time.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/chunks.h"
#include "sim/state.h"

#define PROGRESS_EVENTS 4096

static int check_model(const struct mfs_sim_model *model)
{
    const double numbers[] = {model->kv_bytes,    model->allreduce_bytes, model->alltoall_bytes,
                              model->linear_flop, model->attention_flop,  model->mfu_half,
                              model->elementwise};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (!(numbers[i] >= 0.0) || !isfinite(numbers[i]))
            return -EINVAL;
    }
    if (model->layers == 0 || model->groups == 0 || !(model->flops > 0.0) ||
        !(model->mfu_max > 0.0) || !isfinite(model->flops))
        return -EINVAL;
    return 0;
}

static int check_requests(const struct mfs_sim_requests *requests)
{
    for (uint32_t i = 0; i < requests->count; i++) {
        if (!(requests->arrival_s[i] >= 0.0) || !(requests->arrival_s[i] < 1e9) ||
            (i > 0 && requests->arrival_s[i] < requests->arrival_s[i - 1]) ||
            requests->tokens[i] <= 0 || requests->prefix[i] < 0 ||
            requests->prefix[i] >= requests->tokens[i] || isnan(requests->deadline_s[i]) ||
            !(requests->store_draw[i] >= 0.0) || !(requests->store_draw[i] < 1.0) ||
            (requests->estimate && !(requests->estimate[i] > 0.0)))
            return -EINVAL;
    }
    return 0;
}

static void init(struct mfs_sim *sim)
{
    const uint32_t links = mfs_sim_links(sim->cluster);
    const uint32_t count = sim->input->count, tiers = sim->net.tiers;
    double *capacity = mfs_memory_new(&sim->memory, links, sizeof(*capacity));

    for (uint32_t i = 0; i < links; i++)
        capacity[i] = mfs_cluster_capacity(sim->cluster, i);
    mfs_net_init(&sim->net, &sim->memory, capacity, links, tiers);
    mfs_memory_free(&sim->memory, capacity);
    sim->net.sender = sim->options->enforcement != MFS_SIM_GLOBAL;
    sim->net.classes = sim->options->enforcement == MFS_SIM_CLASSES    ? sim->options->classes
                       : sim->options->enforcement == MFS_SIM_PRESSURE ? 2
                                                                       : 1;
    sim->ends.memory = sim->computes.memory = sim->looks.memory = sim->messages.memory =
        &sim->memory;
    sim->link_bytes = mfs_memory_new(&sim->memory, links, sizeof(*sim->link_bytes));
    sim->pressed = mfs_memory_new(&sim->memory, links, sizeof(*sim->pressed));
    for (uint32_t i = 0; i < links; i++)
        sim->pressed[i] = MFS_LEVELS_MAX;
    sim->epoch_s = INFINITY;
    sim->epoch_last_s = -INFINITY;
    sim->window_end_s = count > 0 ? sim->input->arrival_s[count - 1] : 0.0;
    if (sim->options->enforcement >= MFS_SIM_CHUNKS)
        mfs_chunks_init(sim);
    mfs_serving_init(sim);
    for (uint32_t i = 0; i < count; i++) {
        sim->out->first_token_s[i] = sim->out->fetch_done_s[i] = INFINITY;
        sim->out->compute_start_s[i] = sim->out->compute_done_s[i] = INFINITY;
        sim->out->unit[i] = sim->out->decode_host[i] = sim->out->store_host[i] = -1;
        sim->out->given_up[i] = 0;
    }
}

static double next_event_s(const struct mfs_sim *sim, uint32_t arrived)
{
    double time_s = fmin(mfs_timers_first_s(&sim->ends), mfs_timers_first_s(&sim->computes));

    time_s = fmin(time_s, mfs_timers_first_s(&sim->looks));
    time_s = fmin(time_s, mfs_timers_first_s(&sim->messages));
    time_s = fmin(time_s, sim->epoch_s);
    if (sim->chunks)
        time_s = fmin(time_s, mfs_chunks_next_s(sim));
    if (arrived < sim->input->count)
        time_s = fmin(time_s, sim->requests[arrived].arrival_s);
    return time_s;
}

static void close_window(struct mfs_sim *sim)
{
    mfs_sim_lines_window(sim);
    sim->window_done = true;
}

/* Everything that is due now, until nothing is. */
static uint32_t run_due(struct mfs_sim *sim, uint32_t arrived)
{
    for (;;) {
        mfs_sim_lines_end_due(sim);
        if (sim->chunks)
            mfs_chunks_due(sim);
        while (mfs_timers_first_s(&sim->computes) <= sim->now_s)
            mfs_serving_computed(sim, sim->computes.heap[0].item);
        if (arrived < sim->input->count && sim->requests[arrived].arrival_s <= sim->now_s) {
            mfs_serving_arrive(sim, arrived++);
            continue;
        }
        if (mfs_timers_first_s(&sim->ends) <= sim->now_s)
            continue;
        break;
    }
    while (mfs_timers_first_s(&sim->looks) <= sim->now_s) {
        const uint32_t line = sim->looks.heap[0].item;

        sim->out->events++;
        mfs_timers_drop(&sim->looks, line);
        mfs_sim_line_dirty(sim, line);
    }
    while (mfs_timers_first_s(&sim->messages) <= sim->now_s) {
        const uint32_t link = sim->messages.heap[0].item;

        sim->out->events++;
        mfs_timers_drop(&sim->messages, link);
        mfs_pressure_told(sim, link);
    }
    if (sim->epoch_s <= sim->now_s)
        mfs_baseline_epoch(sim);
    return arrived;
}

/* Of the lines that were placed, and of those that they meet, when they pass others. */
static void watch(struct mfs_sim *sim, uint32_t placed)
{
    for (uint32_t i = 0; i < placed; i++) {
        mfs_order_watch(sim, sim->dirty_lines.list[i]);
        mfs_order_meets(sim, sim->dirty_lines.list[i]);
    }
    for (uint32_t i = 0; i < sim->met_lines.count; i++) {
        if (sim->met_lines.list[i] != MFS_NONE)
            mfs_order_watch(sim, sim->met_lines.list[i]);
    }
    sim->met_lines.count = 0;
}

static void work_out_anew(struct mfs_sim *sim)
{
    uint32_t placed;

    if (sim->paper_due)
        mfs_paper_plan(sim);
    for (uint32_t i = 0; i < sim->dirty_units.count; i++) {
        mfs_order_plan(sim, sim->dirty_units.list[i]);
        sim->units[sim->dirty_units.list[i]].dirty = false;
    }
    sim->dirty_units.count = 0;
    for (placed = 0; placed < sim->dirty_lines.count; placed++) {
        mfs_order_place(sim, sim->dirty_lines.list[placed]);
        if (sim->moving)
            mfs_order_refresh(sim, sim->dirty_lines.list[placed]);
    }
    if (sim->options->enforcement == MFS_SIM_PRESSURE)
        mfs_pressure_check(sim);
    if (sim->chunks)
        mfs_chunks_send(sim);
    mfs_net_rates_anew(&sim->net);
    mfs_sim_lines_rated(sim);
    sim->settlings++;
    if (sim->by_bytes)
        watch(sim, placed);
    for (uint32_t i = placed; i < sim->dirty_lines.count; i++) /* for the next time */
        sim->dirty_lines.list[i - placed] = sim->dirty_lines.list[i];
    sim->dirty_lines.count -= placed;
}

static int loop(struct mfs_sim *sim, mfs_sim_progress progress, void *context)
{
    uint32_t arrived = 0;
    uint64_t steps = 0;

    while (sim->done < sim->input->count) {
        const double next_s = next_event_s(sim, arrived);

        if (isinf(next_s))
            return -EDEADLK;
        if (!sim->window_done && next_s > sim->window_end_s) {
            sim->now_s = sim->window_end_s;
            close_window(sim);
        }
        if (next_s > sim->now_s)
            sim->now_s = next_s;
        sim->now_ns = mfs_sim_ns(sim->now_s);
        arrived = run_due(sim, arrived);
        work_out_anew(sim);
        if (progress && ++steps % PROGRESS_EVENTS == 0 &&
            progress(context, sim->done, sim->now_s) != 0)
            return -ECANCELED;
    }
    return 0;
}

static void report(struct mfs_sim *sim)
{
    struct mfs_sim_outcome *out = sim->out;

    if (sim->link_bytes && out->port_bytes)
        memcpy(out->port_bytes, sim->link_bytes, sim->net.link_count * sizeof(*sim->link_bytes));
    out->memory_bytes = sim->memory.peak_bytes + sim->trace_capacity * sizeof(*sim->trace);
    out->visited = sim->net.visited;
    out->trace = sim->trace;
    out->trace_count = sim->trace_count;
}

int mfs_sim_run(const struct mfs_sim_cluster *cluster, const struct mfs_sim_model *model,
                const struct mfs_sim_requests *requests, const struct mfs_sim_options *options,
                bool trace, mfs_sim_progress progress, void *context,
                struct mfs_sim_outcome *outcome)
{
    struct mfs_sim *sim;
    int error = mfs_cluster_check(cluster);

    outcome->trace = NULL;
    outcome->trace_count = 0;
    if (!error)
        error = check_model(model);
    if (!error)
        error = check_requests(requests);
    if (error)
        return error;
    sim = calloc(1, sizeof(*sim));
    if (!sim)
        return -ENOMEM;
    sim->cluster = cluster;
    sim->model = model;
    sim->input = requests;
    sim->options = options;
    sim->out = outcome;
    sim->tracing = trace;
    if (setjmp(sim->memory.failed) == 0) {
        error = mfs_order_init(sim);
        if (!error) {
            init(sim);
            error = loop(sim, progress, context);
        }
    } else {
        error = -ENOMEM;
    }
    report(sim);
    mfs_chunks_end(sim);
    mfs_memory_free_all(&sim->memory);
    free(sim);
    return error;
}
