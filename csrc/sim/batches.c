/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A unit's queue: requests in the order in which they compute, the running batch first, and the
 * batches that its head forms.
 */
#include <math.h>

#include "sim/state.h"

uint32_t mfs_unit_request(const struct mfs_unit *unit, uint32_t at)
{
    return unit->queue[(unit->head + at) % unit->capacity];
}

static void queue_set(struct mfs_unit *unit, uint32_t at, uint32_t request)
{
    unit->queue[(unit->head + at) % unit->capacity] = request;
}

void mfs_unit_push(struct mfs_sim *sim, struct mfs_unit *unit, uint32_t request)
{
    if (unit->count == unit->capacity) {
        const uint32_t capacity = unit->capacity ? 2 * unit->capacity : 16;
        uint32_t *queue = mfs_memory_new(&sim->memory, capacity, sizeof(*queue));

        for (uint32_t i = 0; i < unit->count; i++)
            queue[i] = mfs_unit_request(unit, i);
        mfs_memory_free(&sim->memory, unit->queue);
        unit->queue = queue;
        unit->capacity = capacity;
        unit->head = 0;
    }
    unit->count++;
    queue_set(unit, unit->count - 1, request);
    if (!sim->options->unit_edf)
        return;
    for (uint32_t at = unit->count - 1; at > unit->running; at--) { /* by deadline, stable */
        const uint32_t before = mfs_unit_request(unit, at - 1);

        if (sim->requests[before].deadline_s <= sim->requests[request].deadline_s)
            break;
        queue_set(unit, at, before);
        queue_set(unit, at - 1, request);
    }
}

static bool joins(const struct mfs_sim *sim, uint32_t first, uint32_t request)
{
    return !sim->options->batch_deadline ||
           fabs(sim->requests[request].deadline_s - sim->requests[first].deadline_s) <=
               sim->options->batch_slack_s;
}

void mfs_unit_batch(const struct mfs_sim *sim, const struct mfs_unit *unit, uint32_t at,
                    struct mfs_batch *batch)
{
    const uint32_t first = mfs_unit_request(unit, at);
    double work = 0.0;

    batch->count = 0;
    batch->new_tokens = 0.0;
    for (; at + batch->count < unit->count; batch->count++) {
        const uint32_t index = mfs_unit_request(unit, at + batch->count);
        const struct mfs_sim_request *request = &sim->requests[index];
        const double new = request->tokens - request->prefix;

        if (batch->count > 0 && (batch->new_tokens + new > (double)sim->cluster->token_budget ||
                                 !joins(sim, first, index)))
            break;
        batch->new_tokens += new;
        work += new * (new + 2.0 * request->prefix);
    }
    batch->compute_s = mfs_sim_compute_s(sim->model, batch->new_tokens, work);
    batch->collective_s = mfs_sim_collective_s(sim->cluster, sim->model, batch->new_tokens);
}
