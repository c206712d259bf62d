/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port as core/slack.h sees it: what `mfs slack` says of a host, in the simulator. Of flows that
 * were given up, and of requests without a deadline, nothing is counted.
 */
#include <math.h>

#include "core/latest_finish.h"
#include "sim/chunks.h"
#include "sim/state.h"

static void begin(struct mfs_sim *sim, struct mfs_slack *slack)
{
    *slack = (struct mfs_slack){
        .rate_Bps = sim->params.rate_Bps, .room = sim->slack_capacity, .flows = sim->slack_flows};
}

static void add(struct mfs_sim *sim, struct mfs_slack *slack, int64_t due_ns, double bytes)
{
    if (slack->count == slack->room) {
        sim->slack_capacity = 2 * (slack->room + 8);
        slack->flows = sim->slack_flows = mfs_memory_grow(
            &sim->memory, sim->slack_flows, sim->slack_capacity, sizeof(*sim->slack_flows));
        slack->room = sim->slack_capacity;
    }
    mfs_slack_add(slack, mfs_time_minus(due_ns, sim->now_ns), (uint64_t)ceil(bytes));
}

static bool given_up(const struct mfs_sim_request *request)
{
    return (request->facts.flags & (MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED)) != 0;
}

static void add_line(struct mfs_sim *sim, struct mfs_slack *slack, uint32_t index)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    const uint32_t owner = mfs_bundle_owner(sim, bundle);
    const struct mfs_sim_request *request = &sim->requests[owner];

    mfs_sim_line_advance(sim, line);
    if (bundle->stage == MFS_STAGE_P2D) { /* with the groups that are not computed yet */
        if (!given_up(request) && line->level != sim->params.levels)
            add(sim, slack, request->facts.deadline_ns,
                mfs_sim_request_p2d_left(sim, owner) / sim->cluster->unit_hosts);
        return;
    }
    for (uint32_t group = line->group; group < line->group + line->count; group++)
        add(sim, slack, mfs_latest_finish(bundle->stage, group, &request->facts),
            mfs_sim_line_left(line, group));
}

/* The line of a slot of the net; once, if it has two. */
static void find_slot(struct mfs_sim *sim, uint32_t slot)
{
    const uint32_t owner = sim->net.slots[slot].owner;

    if (owner != MFS_NONE && sim->lines[owner].slot == slot)
        mfs_members_add(&sim->memory, &sim->at_port, owner);
}

/* sim->at_port: the lines that have something to send there. */
static void find_lines(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_link *link = &sim->net.links[index];

    sim->at_port.count = 0;
    if (sim->chunks) {
        mfs_chunks_lines(sim, index, &sim->at_port);
        return;
    }
    for (uint32_t i = 0; i < link->ordered.count; i++)
        find_slot(sim, mfs_entry_slot(&link->ordered.list[i]));
    for (uint32_t tier = 0; tier < sim->net.tiers; tier++) {
        for (uint32_t i = 0; i < link->shared[tier].count; i++)
            find_slot(sim, link->shared[tier].list[i]);
    }
}

double mfs_sim_egress_bytes(struct mfs_sim *sim, uint32_t index)
{
    double bytes = 0.0;

    find_lines(sim, index);
    for (uint32_t i = 0; i < sim->at_port.count; i++)
        bytes += mfs_sim_line_left_all(&sim->lines[sim->at_port.list[i]]);
    return bytes;
}

void mfs_slack_of_egress(struct mfs_sim *sim, uint32_t index, struct mfs_slack *slack)
{
    begin(sim, slack);
    find_lines(sim, index);
    for (uint32_t i = 0; i < sim->at_port.count; i++)
        add_line(sim, slack, sim->at_port.list[i]);
}

void mfs_slack_of_decode(struct mfs_sim *sim, uint32_t decode, uint32_t nic,
                         struct mfs_slack *slack)
{
    const struct mfs_members *there = &sim->decode_requests[decode];

    begin(sim, slack);
    for (uint32_t i = 0; i < there->count; i++) {
        const struct mfs_sim_request *request = &sim->requests[there->list[i]];

        if (there->list[i] % sim->cluster->nics == nic && !given_up(request))
            add(sim, slack, request->facts.deadline_ns,
                mfs_sim_request_p2d_left(sim, there->list[i]));
    }
}
