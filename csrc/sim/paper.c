/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The paper's plan over all batches of the cluster, when one comes or goes: RED of each batch
 * and the requests that the overload control drops (mfs_plan_overload). A batch is what a unit
 * computes or will compute together; a request that has been computed and is still being
 * delivered is a batch of its own without computing. Loads are bytes still to be sent, on
 * egress and ingress of every NIC that has any.
 */
#include <string.h>

#include "sim/state.h"

struct plan {
    struct mfs_plan_batch *batches;
    uint32_t batch_count, batch_capacity;
    uint32_t *requests;
    int64_t *deadlines_ns;
    uint32_t request_count, request_capacity, deadline_capacity;
};

static void add_request(struct mfs_sim *sim, struct plan *plan, uint32_t request)
{
    const uint32_t at = plan->request_count++;

    MFS_ROOM(&sim->memory, plan->requests, plan->request_capacity, at + 1);
    MFS_ROOM(&sim->memory, plan->deadlines_ns, plan->deadline_capacity, at + 1);
    plan->requests[at] = request;
    plan->deadlines_ns[at] = sim->requests[request].facts.deadline_ns;
}

static struct mfs_plan_batch *add_batch(struct mfs_sim *sim, struct plan *plan, uint32_t count,
                                        double compute_s)
{
    struct mfs_plan_batch *batch;

    MFS_ROOM(&sim->memory, plan->batches, plan->batch_capacity, plan->batch_count + 1);
    batch = &plan->batches[plan->batch_count++];
    memset(batch, 0, sizeof(*batch));
    batch->first = plan->request_count;
    batch->count = count;
    batch->compute_ns = mfs_sim_span_ns(compute_s);
    return batch;
}

static void gather(struct mfs_sim *sim, struct plan *plan)
{
    for (uint32_t u = 0; u < sim->cluster->units; u++) {
        const struct mfs_unit *unit = &sim->units[u];

        for (uint32_t at = 0; at < unit->count;) {
            uint32_t count = unit->running;
            double compute_s;

            if (at == 0 && count > 0) {
                compute_s = unit->compute_s * (sim->model->groups - unit->group);
            } else {
                struct mfs_batch one;

                mfs_unit_batch(sim, unit, at, &one);
                count = one.count;
                compute_s = one.compute_s * sim->model->groups;
            }
            add_batch(sim, plan, count, compute_s);
            for (uint32_t i = 0; i < count; i++)
                add_request(sim, plan, mfs_unit_request(unit, at + i));
            at += count;
        }
        for (uint32_t r = unit->sending; r != MFS_NONE; r = sim->requests[r].next_p2d) {
            if (!sim->requests[r].computed)
                continue;
            add_batch(sim, plan, 1, 0.0);
            add_request(sim, plan, r);
        }
    }
}

/* Bytes by NIC port of one request, through `add`. */
static void loads_of(struct mfs_sim *sim, uint32_t index, const uint32_t *column, uint64_t *row,
                     uint32_t *use)
{
    const struct mfs_sim_request *request = &sim->requests[index];
    const uint32_t hosts = sim->cluster->unit_hosts, nics = sim->cluster->nics;
    const uint32_t nic = index % nics, ports = mfs_cluster_hosts(sim->cluster) * nics;
    const uint32_t decode = mfs_sim_decode_host(sim, index);
    const double p2d = mfs_sim_request_p2d_left(sim, index);

#define LOAD(port, bytes)                                                                          \
    do {                                                                                           \
        const double bytes_ = (bytes);                                                             \
        if (bytes_ >= 1.0 && use)                                                                  \
            use[port] = 1;                                                                         \
        else if (bytes_ >= 1.0)                                                                    \
            row[column[port]] += (uint64_t)bytes_;                                                 \
    } while (0)
    for (uint32_t i = 0; i < hosts; i++)
        LOAD((request->unit * hosts + i) * nics + nic, p2d / hosts);
    LOAD(ports + decode * nics + nic, p2d);
    if (request->fetch != MFS_NONE) {
        for (uint32_t i = 0; i < hosts; i++) {
            struct mfs_sim_line *line = &sim->lines[sim->bundles[request->fetch].first_line + i];
            double left;

            mfs_sim_line_advance(sim, line);
            left = mfs_sim_line_left_all(line);
            LOAD(request->store * nics + nic, left);
            LOAD(ports + line->host_to * nics + nic, left);
        }
    }
    if (!request->computed) {
        const double left =
            mfs_sim_collective_bytes(sim->model, request->tokens - request->prefix, hosts) *
            (sim->model->groups - request->facts.layer_now) / nics;

        for (uint32_t i = 0; i < hosts * nics; i++) {
            LOAD(request->unit * hosts * nics + i, left);
            LOAD(ports + request->unit * hosts * nics + i, left);
        }
    }
#undef LOAD
}

static void adopt(struct mfs_sim *sim, const struct plan *plan, const bool *dropped)
{
    for (uint32_t b = 0; b < plan->batch_count; b++) {
        const struct mfs_plan_batch *batch = &plan->batches[b];

        for (uint32_t i = batch->first; i < batch->first + batch->count; i++) {
            struct mfs_facts *facts = &sim->requests[plan->requests[i]].facts;
            const uint32_t flag = dropped[i] && sim->options->prune ? MFS_REQUEST_SHED : 0;
            const int64_t red_ns = sim->options->red ? batch->red_ns : facts->deadline_ns;

            if (facts->red_ns == red_ns && (facts->flags & MFS_REQUEST_SHED) == flag)
                continue;
            facts->red_ns = red_ns;
            facts->flags = (facts->flags & ~(uint32_t)MFS_REQUEST_SHED) | flag;
            mfs_sim_request_dirty(sim, plan->requests[i]);
        }
    }
}

void mfs_paper_plan(struct mfs_sim *sim)
{
    const uint32_t all = 2 * mfs_cluster_hosts(sim->cluster) * sim->cluster->nics;
    struct plan plan = {0};
    struct mfs_plan_overload control = {.budget = MFS_DROPS_PER_BATCH, .drop_earlier = true};
    uint32_t *column = mfs_memory_new(&sim->memory, all, sizeof(*column)), ports = 0;
    uint64_t *loads, *rates, *scratch;
    uint32_t *order;
    bool *dropped;

    sim->paper_due = false;
    gather(sim, &plan);
    for (uint32_t i = 0; i < plan.request_count; i++)
        loads_of(sim, plan.requests[i], NULL, NULL, column);
    for (uint32_t i = 0; i < all; i++)
        column[i] = column[i] ? ports++ : MFS_NONE;
    if (ports > 0) {
        loads = mfs_memory_new(&sim->memory, (size_t)plan.request_count * ports, sizeof(*loads));
        rates = mfs_memory_new(&sim->memory, ports, sizeof(*rates));
        scratch =
            mfs_memory_new(&sim->memory, 2 * (size_t)ports + plan.request_count, sizeof(*scratch));
        order = mfs_memory_new(&sim->memory, plan.batch_count, sizeof(*order));
        dropped = mfs_memory_new(&sim->memory, plan.request_count, sizeof(*dropped));
        for (uint32_t i = 0; i < ports; i++)
            rates[i] = sim->params.rate_Bps;
        for (uint32_t i = 0; i < plan.request_count; i++)
            loads_of(sim, plan.requests[i], column, loads + (size_t)i * ports, NULL);
        control.ports = ports;
        control.rates_Bps = rates;
        mfs_plan_overload(&control, plan.batches, plan.batch_count, plan.deadlines_ns, loads,
                          sim->now_ns, order, dropped, scratch);
        adopt(sim, &plan, dropped);
        mfs_memory_free(&sim->memory, loads);
        mfs_memory_free(&sim->memory, rates);
        mfs_memory_free(&sim->memory, scratch);
        mfs_memory_free(&sim->memory, order);
        mfs_memory_free(&sim->memory, dropped);
    }
    mfs_memory_free(&sim->memory, column);
    mfs_memory_free(&sim->memory, plan.batches);
    mfs_memory_free(&sim->memory, plan.requests);
    mfs_memory_free(&sim->memory, plan.deadlines_ns);
}
