/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unit's work, one batch at a time, group by group:
 *
 *   FETCHING g   until the batch's stage 1 flows of g have ended on all hosts
 *   COMPUTING g  compute_s
 *   COLLECTIVE g until the stage 2 flows between all pairs of hosts have ended
 *   then stage 3 of g begins for each request, and g + 1; after the last the unit is free
 *
 * A request's stage 1 begins when it is routed, all groups of it.
 */
#include <math.h>

#include "sim/state.h"

void mfs_serving_init(struct mfs_sim *sim)
{
    const struct mfs_sim_requests *in = sim->input;
    const uint32_t decode_hosts = sim->cluster->decode_hosts ? sim->cluster->decode_hosts : 1;

    sim->requests = mfs_memory_new(&sim->memory, in->count ? in->count : 1, sizeof(*sim->requests));
    sim->units = mfs_memory_new(&sim->memory, sim->cluster->units, sizeof(*sim->units));
    sim->decode_bytes = mfs_memory_new(&sim->memory, decode_hosts, sizeof(*sim->decode_bytes));
    if (sim->options->decode_choice != MFS_SIM_USUAL)
        sim->decode_requests =
            mfs_memory_new(&sim->memory, decode_hosts, sizeof(*sim->decode_requests));
    for (uint32_t i = 0; i < sim->cluster->units; i++) {
        sim->units[i].bundle = MFS_NONE;
        sim->units[i].sending = MFS_NONE;
        if (sim->cluster->unit_hosts > 1 && mfs_sim_collective_bytes(sim->model, 1.0, 2) > 0.0)
            sim->units[i].bundle = mfs_bundle_collective(sim, i);
    }
    for (uint32_t i = 0; i < in->count; i++) {
        struct mfs_sim_request *request = &sim->requests[i];

        request->arrival_s = in->arrival_s[i];
        request->deadline_s = in->deadline_s[i];
        request->tokens = (double)in->tokens[i];
        request->prefix = (double)in->prefix[i];
        request->estimate = in->estimate ? in->estimate[i] : 1.0;
        request->fetch = request->p2d = MFS_NONE;
        request->next_p2d = MFS_NONE;
        mfs_facts_init(&request->facts);
        request->facts.arrival_ns = mfs_sim_ns(request->arrival_s);
        request->facts.deadline_ns = mfs_sim_ns(request->deadline_s);
        request->facts.layers = sim->model->groups;
    }
}

/* --- batches --- */

static bool batch_fetched(const struct mfs_sim *sim, const struct mfs_unit *unit)
{
    for (uint32_t i = 0; i < unit->running; i++) {
        const struct mfs_sim_request *request = &sim->requests[mfs_unit_request(unit, i)];
        const struct mfs_bundle *bundle;

        if (request->fetched)
            continue;
        bundle = &sim->bundles[request->fetch];
        for (uint32_t k = bundle->first_line; k < bundle->first_line + bundle->lines; k++) {
            if (sim->lines[k].count > 0 && sim->lines[k].group <= unit->group)
                return false;
        }
    }
    return true;
}

static void compute_begin(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];

    unit->phase = MFS_UNIT_COMPUTING;
    unit->phase_since_s = sim->now_s;
    mfs_timers_set(&sim->computes, index, sim->now_s + unit->compute_s);
    if (unit->group == 0) {
        for (uint32_t i = 0; i < unit->running; i++)
            sim->out->compute_start_s[mfs_unit_request(unit, i)] = sim->now_s;
    }
    MFS_TRACE(sim, MFS_SIM_COMPUTE_START, (int32_t)mfs_unit_request(unit, 0), 0,
              (int32_t)unit->group, -1, -1, -1, (int32_t)index, 0.0);
}

static void group_begin(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];

    unit->phase = MFS_UNIT_FETCHING;
    unit->phase_since_s = sim->now_s;
    for (uint32_t i = 0; i < unit->running; i++) {
        struct mfs_facts *facts = &sim->requests[mfs_unit_request(unit, i)].facts;

        facts->layer_now = unit->group;
        facts->layer_since_ns = sim->now_ns;
    }
    mfs_unit_dirty(sim, index);
    if (batch_fetched(sim, unit))
        compute_begin(sim, index);
}

static void batch_begin(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];
    struct mfs_batch batch;

    mfs_unit_batch(sim, unit, 0, &batch);
    unit->running = batch.count;
    unit->group = 0;
    unit->compute_s = batch.compute_s;
    unit->collective_s = batch.collective_s;
    unit->collective_bytes =
        mfs_sim_collective_bytes(sim->model, batch.new_tokens, sim->cluster->unit_hosts);
    if (unit->bundle != MFS_NONE)
        sim->bundles[unit->bundle].request = mfs_unit_request(unit, 0);
    group_begin(sim, index);
}

/* --- stage 3 --- */

static void first_token(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_request *request = &sim->requests[index];
    struct mfs_unit *unit = &sim->units[request->unit];
    uint32_t *link = &unit->sending;

    while (*link != MFS_NONE && *link != index)
        link = &sim->requests[*link].next_p2d;
    if (*link == index)
        *link = request->next_p2d;
    request->done = true;
    sim->done++;
    sim->tier_requests[mfs_sim_decode_tier(sim, index)]--;
    sim->out->first_token_s[index] = sim->now_s;
    MFS_TRACE(sim, MFS_SIM_FIRST_TOKEN, (int32_t)index, 0, -1, -1, (int32_t)request->decode, -1,
              (int32_t)request->unit, 0.0);
    if (request->p2d != MFS_NONE) {
        mfs_bundle_free(sim, request->p2d);
        request->p2d = MFS_NONE;
    }
    if (sim->decode_requests) {
        struct mfs_members *there = &sim->decode_requests[request->decode];

        for (uint32_t i = 0; i < there->count; i++) {
            if (there->list[i] == index)
                there->list[i] = there->list[--there->count];
        }
    }
    mfs_unit_dirty(sim, request->unit);
}

static void p2d_begin(struct mfs_sim *sim, uint32_t index, uint32_t group)
{
    struct mfs_sim_request *request = &sim->requests[index];
    const uint32_t hosts = sim->cluster->unit_hosts;
    const double bytes = mfs_sim_p2d_bytes(sim->cluster, sim->model, request->tokens) / hosts;

    if (request->p2d == MFS_NONE) {
        const uint32_t bundle = mfs_bundle_new(sim, MFS_STAGE_P2D, index, request->unit);
        uint32_t *link = &sim->units[request->unit].sending;

        request->p2d = bundle;
        for (uint32_t i = 0; i < hosts; i++)
            mfs_sim_line_route(sim, sim->bundles[bundle].first_line + i, request->unit * hosts + i,
                               mfs_sim_decode_host(sim, index), index % sim->cluster->nics);
        while (*link != MFS_NONE)
            link = &sim->requests[*link].next_p2d;
        *link = index;
    }
    request->p2d_groups = group + 1;
    request->p2d_waiting += hosts;
    for (uint32_t i = 0; i < hosts; i++)
        mfs_sim_line_add(sim, sim->bundles[request->p2d].first_line + i, group, 1, bytes,
                         sim->sequence++, 0);
}

double mfs_sim_request_p2d_left(struct mfs_sim *sim, uint32_t index)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    double left = mfs_sim_p2d_bytes(sim->cluster, sim->model, request->tokens) *
                  (sim->model->groups - request->p2d_groups);

    if (request->p2d == MFS_NONE)
        return left;
    for (uint32_t i = 0; i < sim->cluster->unit_hosts; i++) {
        struct mfs_sim_line *line = &sim->lines[sim->bundles[request->p2d].first_line + i];

        mfs_sim_line_advance(sim, line);
        left += mfs_sim_line_left_all(line);
    }
    return left;
}

/* Was given up, and is so late that csrc/core has let it go on (Options.patience). */
static bool out_of_patience(const struct mfs_sim *sim, const struct mfs_sim_request *request)
{
    const double target_s = request->deadline_s - request->arrival_s;

    return (sim->hopeless || sim->shed) && sim->params.patience > 0 &&
           sim->now_s >= request->deadline_s + target_s * sim->params.patience;
}

static void p2d_ended(struct mfs_sim *sim, uint32_t index, uint32_t line_index, uint32_t level)
{
    struct mfs_sim_request *request = &sim->requests[index];
    const struct mfs_sim_line *line = &sim->lines[line_index];

    sim->decode_bytes[request->decode] -= line->size;
    request->p2d_waiting--;
    if (level == sim->params.levels || out_of_patience(sim, request))
        sim->out->given_up[index] = 1;
    if (request->computed && request->p2d_waiting == 0)
        first_token(sim, index);
}

/* --- groups --- */

static void group_complete(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];
    const bool last = unit->group + 1 == sim->model->groups;

    for (uint32_t i = 0; i < unit->running; i++) {
        const uint32_t r = mfs_unit_request(unit, i);
        struct mfs_sim_request *request = &sim->requests[r];

        if (last) {
            request->computed = true;
            request->facts.layer_now = sim->model->groups;
            request->facts.flags |= MFS_REQUEST_COMPUTED;
            sim->out->compute_done_s[r] = sim->now_s;
            unit->outstanding -= request->tokens - request->prefix;
        }
        p2d_begin(sim, r, unit->group);
    }
    if (!last) {
        unit->group++;
        group_begin(sim, index);
        return;
    }
    unit->head = (unit->head + unit->running) % unit->capacity;
    unit->count -= unit->running;
    unit->running = 0;
    unit->phase = MFS_UNIT_IDLE;
    mfs_unit_dirty(sim, index);
    if (unit->count > 0)
        batch_begin(sim, index);
}

void mfs_serving_computed(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];
    const struct mfs_bundle *bundle;

    sim->out->events++;
    mfs_timers_drop(&sim->computes, index);
    MFS_TRACE(sim, MFS_SIM_COMPUTE_END, (int32_t)mfs_unit_request(unit, 0), 0, (int32_t)unit->group,
              -1, -1, -1, (int32_t)index, 0.0);
    if (unit->bundle == MFS_NONE) {
        group_complete(sim, index);
        return;
    }
    bundle = &sim->bundles[unit->bundle];
    unit->phase = MFS_UNIT_COLLECTIVE;
    unit->phase_since_s = sim->now_s;
    unit->waiting = bundle->lines;
    MFS_TRACE(sim, MFS_SIM_COLLECTIVE_START, (int32_t)bundle->request, MFS_STAGE_COLLECTIVE,
              (int32_t)unit->group, -1, -1, -1, (int32_t)index, 0.0);
    for (uint32_t i = 0; i < bundle->lines; i++)
        mfs_sim_line_add(sim, bundle->first_line + i, unit->group, 1,
                         unit->collective_bytes /
                             ((sim->cluster->unit_hosts - 1.0) * sim->cluster->nics),
                         sim->sequence++, 0);
}

static void collective_ended(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_unit *unit = &sim->units[index];

    if (--unit->waiting > 0)
        return;
    sim->out->collectives++;
    sim->out->collective_sum_s += sim->now_s - unit->phase_since_s;
    MFS_TRACE(sim, MFS_SIM_COLLECTIVE_END, (int32_t)mfs_unit_request(unit, 0), MFS_STAGE_COLLECTIVE,
              (int32_t)unit->group, -1, -1, -1, (int32_t)index, 0.0);
    group_complete(sim, index);
}

static void fetch_ended(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_request *request = &sim->requests[index];
    struct mfs_unit *unit = &sim->units[request->unit];
    const struct mfs_bundle *bundle = &sim->bundles[request->fetch];
    bool fetched = true;

    for (uint32_t i = bundle->first_line; i < bundle->first_line + bundle->lines; i++)
        fetched = fetched && sim->lines[i].count == 0;
    if (fetched) {
        sim->out->fetch_done_s[index] = sim->now_s;
        request->fetched = true;
        mfs_bundle_free(sim, request->fetch);
        request->fetch = MFS_NONE;
    }
    if (unit->phase == MFS_UNIT_FETCHING && batch_fetched(sim, unit))
        compute_begin(sim, request->unit);
}

void mfs_serving_flow_ended(struct mfs_sim *sim, uint32_t line, uint32_t level)
{
    const struct mfs_bundle *bundle = &sim->bundles[sim->lines[line].bundle];

    if (bundle->stage == MFS_STAGE_COLLECTIVE)
        collective_ended(sim, bundle->unit);
    else if (bundle->stage == MFS_STAGE_KV_REUSE)
        fetch_ended(sim, bundle->request);
    else
        p2d_ended(sim, bundle->request, line, level);
}

void mfs_serving_arrive(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_request *request = &sim->requests[index];
    const uint32_t hosts = sim->cluster->unit_hosts;
    struct mfs_unit *unit;

    sim->out->events++;
    request->unit = mfs_choose_unit(sim, index);
    request->decode = mfs_choose_decode(sim, index);
    request->store = request->prefix > 0.0 ? mfs_choose_store(sim, index) : MFS_NONE;
    if (request->store != MFS_NONE && mfs_choose_at_home(sim, index)) {
        request->store = MFS_NONE;
    } else if (request->store != MFS_NONE && mfs_choose_recompute(sim, index)) {
        request->prefix = 0.0;
        request->store = MFS_NONE;
    }
    unit = &sim->units[request->unit];
    unit->outstanding += request->tokens - request->prefix;
    sim->decode_bytes[request->decode] +=
        mfs_sim_p2d_bytes(sim->cluster, sim->model, request->tokens) * sim->model->groups;
    sim->tier_requests[mfs_sim_decode_tier(sim, index)]++;
    sim->out->unit[index] = request->unit;
    sim->out->decode_host[index] = mfs_sim_decode_host(sim, index);
    sim->out->store_host[index] = request->store == MFS_NONE ? -1 : (int64_t)request->store;
    request->fetched = request->store == MFS_NONE;
    if (request->fetched)
        sim->out->fetch_done_s[index] = sim->now_s;
    MFS_TRACE(sim, MFS_SIM_ARRIVE, (int32_t)index, 0, -1,
              request->store == MFS_NONE ? -1 : (int32_t)request->store, (int32_t)request->decode,
              -1, (int32_t)request->unit, 0.0);
    mfs_unit_push(sim, unit, index);
    if (sim->decode_requests)
        mfs_members_add(&sim->memory, &sim->decode_requests[request->decode], index);
    if (!request->fetched) {
        const double bytes = mfs_sim_kv_bytes(sim->model, request->prefix) / hosts;
        const uint32_t bundle = mfs_bundle_new(sim, MFS_STAGE_KV_REUSE, index, request->unit);
        const uint32_t first = sim->bundles[bundle].first_line;

        request->fetch = bundle;
        for (uint32_t i = 0; i < hosts; i++)
            mfs_sim_line_route(sim, first + i, request->store, request->unit * hosts + i,
                               index % sim->cluster->nics);
        for (uint32_t i = 0; i < hosts; i++)
            mfs_sim_line_add(sim, first + i, 0, sim->model->groups, bytes, sim->sequence + i,
                             hosts);
        sim->sequence += (uint64_t)sim->model->groups * hosts; /* group by group */
    }
    mfs_unit_dirty(sim, request->unit);
    if (unit->phase == MFS_UNIT_IDLE)
        batch_begin(sim, request->unit);
}
