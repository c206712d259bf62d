/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a control plane knows of a unit's queue, kept in the facts of its requests by csrc/core's
 * own plans: mfs_plan_unit when the queue or the group that computes has changed, and
 * mfs_plan_shed over those whose stage 3 leaves the unit.
 *
 * BATCHES: the queue is cut into the batches that it will form. What is known of a batch's
 * computing (estimate included) is that of its first request.
 */
#include "sim/state.h"

#define SAME_NS 1000 /* plans that differ by less are not worth placing flows anew */

void mfs_unit_dirty(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];

    sim->paper_due = sim->paper;
    if (unit->dirty || !(sim->plans || sim->paper || sim->less != MFS_SIM_LESS_NOTHING ||
                         sim->rule == MFS_RULE_LSTF || sim->rule == MFS_RULE_LLF))
        return;
    unit->dirty = true;
    mfs_members_add(&sim->memory, &sim->dirty_units, index);
}

void mfs_bundle_dirty(struct mfs_sim *sim, uint32_t index)
{
    if (index == MFS_NONE)
        return;
    for (uint32_t i = 0; i < sim->bundles[index].lines; i++)
        mfs_sim_line_dirty(sim, sim->bundles[index].first_line + i);
}

void mfs_sim_request_dirty(struct mfs_sim *sim, uint32_t index)
{
    mfs_bundle_dirty(sim, sim->requests[index].fetch);
    mfs_bundle_dirty(sim, sim->requests[index].p2d);
}

static bool same(int64_t a, int64_t b)
{
    return a == b ||
           (a != MFS_TIME_NEVER && b != MFS_TIME_NEVER && a - b < SAME_NS && b - a < SAME_NS);
}

struct batch_group { /* one group of a batch, as estimated */
    uint32_t number;
    double compute_s, collective_s;
};

static void plan_entry(struct mfs_sim *sim, uint32_t at, uint32_t request,
                       const struct batch_group *group)
{
    const struct mfs_sim_request *one = &sim->requests[request];
    struct mfs_facts *facts = &sim->plan[at];

    *facts = one->facts;
    facts->layer_now = group->number;
    facts->layer_ns = mfs_sim_span_ns(group->compute_s + group->collective_s);
    facts->collective_ns = mfs_sim_span_ns(group->collective_s);
    facts->p2d_layer_ns = mfs_sim_span_ns(mfs_sim_p2d_bytes(sim->cluster, sim->model, one->tokens) /
                                          sim->cluster->link_Bps * one->estimate);
    sim->plan_request[at] = request;
}

/* What the plan says of one batch, into the facts of its requests. */
static bool adopt_batch(struct mfs_sim *sim, uint32_t first, uint32_t count)
{
    bool moved = false;

    for (uint32_t i = first; i < first + count; i++) {
        struct mfs_facts *facts = &sim->requests[sim->plan_request[i]].facts;
        const struct mfs_facts *plan = &sim->plan[i];
        const int64_t next_ns = sim->options->inherit ? plan->next_start_ns : MFS_TIME_NEVER;
        const uint32_t flags = sim->hopeless ? plan->flags & MFS_REQUEST_HOPELESS : 0;

        if (same(facts->start_ns, plan->start_ns) && same(facts->next_start_ns, next_ns) &&
            facts->layer_ns == plan->layer_ns && (facts->flags & MFS_REQUEST_HOPELESS) == flags)
            continue;
        facts->start_ns = plan->start_ns;
        facts->next_start_ns = next_ns;
        facts->layer_ns = plan->layer_ns;
        facts->collective_ns = plan->collective_ns;
        facts->p2d_layer_ns = plan->p2d_layer_ns;
        facts->flags = (facts->flags & ~(uint32_t)MFS_REQUEST_HOPELESS) | flags;
        mfs_sim_request_dirty(sim, sim->plan_request[i]);
        moved = true;
    }
    return moved;
}

static void plan_room(struct mfs_sim *sim, uint32_t count)
{
    if (count <= sim->plan_capacity)
        return;
    sim->plan_capacity = 2 * count;
    sim->plan = mfs_memory_grow(&sim->memory, sim->plan, sim->plan_capacity, sizeof(*sim->plan));
    sim->plan_request = mfs_memory_grow(&sim->memory, sim->plan_request, sim->plan_capacity,
                                        sizeof(*sim->plan_request));
}

static void plan_queue(struct mfs_sim *sim, struct mfs_unit *unit)
{
    uint32_t at = 0, batches = 0;

    plan_room(sim, unit->count);
    MFS_ROOM(&sim->memory, sim->scratch, sim->scratch_capacity, unit->count);
    while (at < unit->count) {
        uint32_t count = unit->running;
        double estimate;
        struct batch_group group = {unit->group, unit->compute_s, unit->collective_s};

        if (at > 0 || count == 0) {
            struct mfs_batch batch;

            mfs_unit_batch(sim, unit, at, &batch);
            count = batch.count;
            group = (struct batch_group){0, batch.compute_s, batch.collective_s};
        }
        estimate = sim->requests[mfs_unit_request(unit, at)].estimate;
        group.compute_s *= estimate;
        group.collective_s *= estimate;
        for (uint32_t i = 0; i < count; i++)
            plan_entry(sim, at + i, mfs_unit_request(unit, at + i), &group);
        sim->scratch[batches++] = count;
        at += count;
    }
    mfs_plan_unit(sim->plan, sim->scratch, batches, sim->now_ns);
    at = 0;
    for (uint32_t b = 0; b < batches; at += sim->scratch[b++]) {
        if (adopt_batch(sim, at, sim->scratch[b]) && at == 0 && unit->running > 0)
            mfs_bundle_dirty(sim, unit->bundle);
    }
}

/* Shedding among those whose stage 3 leaves the unit's hosts; every host has the same share. */
static void plan_shed(struct mfs_sim *sim, const struct mfs_unit *unit)
{
    uint32_t count = 0;

    for (uint32_t r = unit->sending; r != MFS_NONE; r = sim->requests[r].next_p2d)
        count++;
    if (count == 0)
        return;
    plan_room(sim, count);
    MFS_ROOM(&sim->memory, sim->scratch, sim->scratch_capacity, count);
    count = 0;
    for (uint32_t r = unit->sending; r != MFS_NONE; r = sim->requests[r].next_p2d, count++) {
        sim->plan[count] = sim->requests[r].facts;
        sim->plan[count].p2d_left_bytes =
            (uint64_t)(mfs_sim_request_p2d_left(sim, r) * sim->requests[r].estimate /
                       sim->cluster->unit_hosts);
        sim->plan_request[count] = r;
    }
    mfs_plan_shed(sim->plan, count, sim->params.rate_Bps, sim->now_ns, sim->scratch);
    for (uint32_t i = 0; i < count; i++) {
        struct mfs_facts *facts = &sim->requests[sim->plan_request[i]].facts;
        const uint32_t flag = sim->plan[i].flags & MFS_REQUEST_SHED;

        if ((facts->flags & MFS_REQUEST_SHED) == flag)
            continue;
        facts->flags = (facts->flags & ~(uint32_t)MFS_REQUEST_SHED) | flag;
        mfs_bundle_dirty(sim, sim->requests[sim->plan_request[i]].p2d);
    }
}

static void plan_computed(struct mfs_sim *sim, const struct mfs_unit *unit)
{
    for (uint32_t r = unit->sending; r != MFS_NONE; r = sim->requests[r].next_p2d) {
        struct mfs_facts *facts = &sim->requests[r].facts;
        const uint32_t flags = facts->flags;

        if (!sim->requests[r].computed)
            continue;
        mfs_plan_computed(facts, sim->now_ns);
        if (!sim->hopeless)
            facts->flags &= ~(uint32_t)MFS_REQUEST_HOPELESS;
        if (facts->flags != flags)
            mfs_bundle_dirty(sim, sim->requests[r].p2d);
    }
}

uint32_t mfs_unit_collective(struct mfs_sim *sim, const struct mfs_unit *unit)
{
    plan_room(sim, unit->running);
    for (uint32_t i = 0; i < unit->running; i++) {
        const uint32_t request = mfs_unit_request(unit, i);
        struct mfs_facts *facts = &sim->plan[i];

        *facts = sim->requests[request].facts;
        if (sim->less != MFS_SIM_LESS_NOTHING && facts->deadline_ns != MFS_TIME_NEVER)
            facts->deadline_ns -= mfs_sim_span_ns(
                mfs_baseline_less_s(sim, request, MFS_STAGE_COLLECTIVE, unit->group));
    }
    return mfs_unit_request(unit, (uint32_t)mfs_plan_collective(sim->plan, unit->running));
}

void mfs_order_plan(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];

    if (sim->plans && unit->count > 0)
        plan_queue(sim, unit);
    if (sim->plans)
        plan_computed(sim, unit);
    if (sim->shed)
        plan_shed(sim, unit);
    for (uint32_t i = 0; i < unit->running; i++) /* the group that computes has moved */
        mfs_sim_request_dirty(sim, mfs_unit_request(unit, i));
}
