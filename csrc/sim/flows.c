/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of flows (state.h): they advance lazily, when their rate changes or somebody
 * asks; the end of the first flow of each line stands in a heap.
 */
#include <math.h>
#include <string.h>

#include "sim/chunks.h"
#include "sim/state.h"

/* --- bundles --- */

static uint32_t line_new(struct mfs_sim *sim, uint32_t bundle)
{
    const uint32_t index = sim->line_count++;
    struct mfs_sim_line *line;

    MFS_ROOM(&sim->memory, sim->lines, sim->line_capacity, sim->line_count);
    line = &sim->lines[index];
    line->flows = mfs_memory_new(&sim->memory, sim->model->groups, sizeof(*line->flows));
    line->bundle = bundle;
    line->slot = line->spare_slot = MFS_NONE;
    return index;
}

static uint32_t bundle_add(struct mfs_sim *sim, uint32_t lines)
{
    const uint32_t index = sim->bundle_count++;
    struct mfs_bundle *bundle;

    MFS_ROOM(&sim->memory, sim->bundles, sim->bundle_capacity, sim->bundle_count);
    bundle = &sim->bundles[index];
    bundle->first_line = sim->line_count;
    bundle->lines = lines;
    for (uint32_t i = 0; i < lines; i++)
        line_new(sim, index);
    return index;
}

static void line_reset(struct mfs_sim_line *line)
{
    line->group = line->count = 0;
    line->level = MFS_LEVELS_MAX;
    line->served = line->rate = line->portion = 0.0;
    line->passed_s = -INFINITY;
    line->shared = false;
}

uint32_t mfs_bundle_new(struct mfs_sim *sim, uint32_t stage, uint32_t request, uint32_t unit)
{
    uint32_t index;
    struct mfs_bundle *bundle;

    if (sim->free_bundles.count > 0)
        index = sim->free_bundles.list[--sim->free_bundles.count];
    else
        index = bundle_add(sim, sim->cluster->unit_hosts);
    bundle = &sim->bundles[index];
    bundle->stage = stage;
    bundle->request = request;
    bundle->unit = unit;
    bundle->at = MFS_NONE;
    for (uint32_t i = 0; i < bundle->lines; i++)
        line_reset(&sim->lines[bundle->first_line + i]);
    return index;
}

static void slot_drop(struct mfs_sim *sim, uint32_t *slot)
{
    if (*slot != MFS_NONE)
        mfs_slot_free(&sim->net, *slot);
    *slot = MFS_NONE;
}

void mfs_bundle_free(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_bundle *bundle = &sim->bundles[index];

    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++) {
        slot_drop(sim, &sim->lines[i].slot);
        slot_drop(sim, &sim->lines[i].spare_slot);
        mfs_timers_drop(&sim->ends, i);
        mfs_timers_drop(&sim->looks, i);
    }
    bundle->stage = 0;
    mfs_members_add(&sim->memory, &sim->free_bundles, index);
}

/* Ring rounds: i -> i + k for k = 1..m-1, on every NIC. */
uint32_t mfs_bundle_collective(struct mfs_sim *sim, uint32_t unit)
{
    const uint32_t hosts = sim->cluster->unit_hosts, nics = sim->cluster->nics;
    const uint32_t index = bundle_add(sim, hosts * (hosts - 1) * nics);
    uint32_t line = sim->bundles[index].first_line;

    sim->bundles[index].stage = MFS_STAGE_COLLECTIVE;
    sim->bundles[index].unit = unit;
    sim->bundles[index].at = MFS_NONE;
    for (uint32_t k = 1; k < hosts; k++) {
        for (uint32_t i = 0; i < hosts; i++) {
            for (uint32_t nic = 0; nic < nics; nic++, line++) {
                line_reset(&sim->lines[line]);
                mfs_sim_line_route(sim, line, unit * hosts + i, unit * hosts + (i + k) % hosts,
                                   nic);
            }
        }
    }
    return index;
}

uint32_t mfs_bundle_owner(struct mfs_sim *sim, const struct mfs_bundle *bundle)
{
    if (bundle->stage != MFS_STAGE_COLLECTIVE)
        return bundle->request;
    return mfs_unit_collective(sim, &sim->units[bundle->unit]);
}

void mfs_sim_line_route(struct mfs_sim *sim, uint32_t index, uint32_t from, uint32_t to,
                        uint32_t nic)
{
    struct mfs_sim_line *line = &sim->lines[index];

    line->host_from = from;
    line->host_to = to;
    mfs_cluster_route(sim->cluster, from, to, nic, &line->route);
    if (line->route.count > 0 && !sim->chunks)
        line->slot = mfs_slot_new(&sim->net, &line->route, index);
}

/* --- service --- */

void mfs_sim_line_advance(struct mfs_sim *sim, struct mfs_sim_line *line)
{
    const double span_s = sim->now_s - line->since_s;

    line->since_s = sim->now_s;
    if (span_s <= 0.0 || line->rate <= 0.0)
        return;
    line->served += line->rate * span_s;
    if (!sim->window_done) {
        const double bytes = line->rate * span_s * (line->shared ? line->count : 1.0);

        for (uint32_t i = 0; i < line->route.count; i++)
            sim->link_bytes[line->route.link[i]] += bytes;
    }
}

double mfs_sim_line_left(const struct mfs_sim_line *line, uint32_t group)
{
    double left;

    if (group < line->group || group >= line->group + line->count)
        return 0.0;
    if (!line->shared && group > line->group)
        return line->size;
    left = line->flows[group].end - line->served;
    return left > 0.0 ? left : 0.0;
}

double mfs_sim_line_left_all(const struct mfs_sim_line *line)
{
    double left = 0.0;

    if (line->count == 0)
        return 0.0;
    if (!line->shared)
        return fmax(0.0, line->flows[line->group + line->count - 1].end - line->served);
    for (uint32_t group = line->group; group < line->group + line->count; group++)
        left += mfs_sim_line_left(line, group);
    return left;
}

void mfs_sim_line_shared(struct mfs_sim *sim, struct mfs_sim_line *line, bool shared)
{
    double left = 0.0;

    if (line->shared == shared)
        return;
    mfs_sim_line_advance(sim, line);
    for (uint32_t group = line->group; group < line->group + line->count; group++) {
        const double own = line->shared || group == line->group
                               ? line->flows[group].end - line->served
                               : line->size;

        /* after the switch: a chain adds up, sharers each have their own */
        left = shared ? own : left + own;
        line->flows[group].end = line->served + left;
    }
    line->shared = shared;
    line->rate = 0.0; /* until the net has settled: the slot moves to another tier */
}

void mfs_sim_line_dirty(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_line *line = &sim->lines[index];

    if (line->dirty || line->count == 0 || isinf(line->rate))
        return;
    if (sim->chunks) {
        mfs_chunks_changed(sim, index);
        return;
    }
    line->dirty = true;
    mfs_members_add(&sim->memory, &sim->dirty_lines, index);
}

/* When its first flow ends at the present rate. */
static void line_time(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_line *line = &sim->lines[index];

    if (line->count == 0 || line->rate <= 0.0)
        mfs_timers_drop(&sim->ends, index);
    else
        mfs_timers_set(&sim->ends, index,
                       sim->now_s +
                           fmax(0.0, line->flows[line->group].end - line->served) / line->rate);
}

void mfs_sim_line_add(struct mfs_sim *sim, uint32_t index, uint32_t group, uint32_t count,
                      double bytes, uint64_t sequence, uint64_t stride)
{
    struct mfs_sim_line *line = &sim->lines[index];

    sim->out->flows += count;
    mfs_sim_line_advance(sim, line);
    if (line->count == 0) {
        line->group = group;
        line->served = 0.0;
        line->level = MFS_LEVELS_MAX;
    }
    line->size = bytes;
    for (uint32_t i = 0; i < count; i++) {
        struct mfs_sim_line_flow *flow = &line->flows[group + i];

        flow->sequence = sequence + i * stride;
        flow->created_ns = sim->now_ns;
        flow->level = MFS_LEVELS_MAX;
        if (line->shared || line->count == 0)
            flow->end = line->served + bytes;
        else
            flow->end = line->flows[group + i - 1].end + bytes;
        line->count++;
        MFS_TRACE(sim, MFS_SIM_FLOW_START, (int32_t)sim->bundles[line->bundle].request,
                  (int32_t)sim->bundles[line->bundle].stage, (int32_t)(group + i),
                  (int32_t)line->host_from, (int32_t)line->host_to, -1,
                  (int32_t)sim->bundles[line->bundle].unit, bytes);
    }
    if (line->route.count == 0 || sim->rule == MFS_RULE_INF || bytes <= MFS_BYTES_DONE) {
        line->rate = INFINITY; /* inside a host, or no network to wait for */
        mfs_timers_set(&sim->ends, index, sim->now_s);
        return;
    }
    if (sim->chunks)
        mfs_chunks_add(sim, index, group, count);
    else
        mfs_sim_line_dirty(sim, index);
}

void mfs_sim_line_end_first(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    const uint32_t group = line->group, level = line->level;

    if (line->served < line->flows[group].end)
        line->served = line->flows[group].end;
    line->group++;
    line->count--;
    sim->out->bytes += line->size;
    sim->out->events++;
    MFS_TRACE(sim, MFS_SIM_FLOW_END, (int32_t)bundle->request, (int32_t)bundle->stage,
              (int32_t)group, (int32_t)line->host_from, (int32_t)line->host_to,
              (int32_t)line->level, (int32_t)bundle->unit, line->size);
    if (sim->by_bytes)
        mfs_order_meets(sim, index);
    if (sim->moving)
        mfs_bundle_dirty(sim, line->bundle);
    if (line->count == 0) {
        if (sim->portions && !sim->options->hold_shares)
            mfs_stall_moved(sim, index);
        if (line->slot != MFS_NONE)
            mfs_slot_leave(&sim->net, line->slot);
        if (line->spare_slot != MFS_NONE)
            mfs_slot_leave(&sim->net, line->spare_slot);
        mfs_timers_drop(&sim->looks, index);
        line->rate = 0.0;
    } else {
        line->level = line->flows[line->group].level;
        mfs_sim_line_dirty(sim, index);
    }
    line_time(sim, index);
    mfs_serving_flow_ended(sim, index, level);
}

void mfs_sim_lines_end_due(struct mfs_sim *sim)
{
    const double tick_s = 8.0 * (nextafter(sim->now_s, INFINITY) - sim->now_s);

    while (sim->ends.count > 0) {
        const uint32_t index = sim->ends.heap[0].item;
        struct mfs_sim_line *line = &sim->lines[index];
        const double over_s = sim->ends.heap[0].time_s - sim->now_s;

        if (over_s > tick_s && over_s * line->rate > MFS_BYTES_DONE)
            break;
        mfs_sim_line_advance(sim, line);
        mfs_sim_line_end_first(sim, index);
    }
}

void mfs_sim_lines_rated(struct mfs_sim *sim)
{
    for (uint32_t i = 0; i < sim->net.changed.count; i++) {
        const uint32_t index = sim->net.slots[sim->net.changed.list[i]].owner;
        struct mfs_sim_line *line;
        double rate;

        if (index == MFS_NONE)
            continue;
        line = &sim->lines[index];
        if (line->slot == MFS_NONE || line->count == 0)
            continue;
        rate = sim->net.slots[line->slot].rate;
        if (line->spare_slot != MFS_NONE)
            rate += sim->net.slots[line->spare_slot].rate;
        if (line->shared)
            rate /= line->count;
        mfs_sim_line_advance(sim, line);
        if (sim->moving && line->rate > 0.0 && rate <= 0.0)
            mfs_sim_line_dirty(sim, index); /* it waits with the key of now */
        if (sim->look_s > 0.0 && line->rate <= 0.0 && rate > 0.0)
            mfs_order_look_by(sim, index, sim->now_s + sim->look_s);
        line->rate = rate;
        line_time(sim, index);
        if (sim->by_bytes)
            mfs_members_add(&sim->memory, &sim->met_lines, index);
    }
    mfs_net_settled(&sim->net);
}

void mfs_sim_lines_window(struct mfs_sim *sim)
{
    for (uint32_t i = 0; i < sim->line_count; i++) {
        if (sim->lines[i].count > 0)
            mfs_sim_line_advance(sim, &sim->lines[i]);
    }
}
