/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/exchange.h"

#include <math.h>

#include "core/exchange.h"
#include "sim/chunks.h"
#include "sim/state.h"

struct receiver {
    struct mfs_members senders; /* ports that ever had something for it */
    mfs_rank_t told, coming;    /* limits: as the senders have it, and on its way */
    uint32_t allowed;
    bool dirty;
    bool lost; /* what was told last has not reached all */
};

struct mfs_exchange {
    struct receiver *receivers; /* by port */
    struct mfs_members dirty;
    struct mfs_timers tells; /* by receiver: when the limit on its way arrives */
    mfs_rank_t *claims;      /* scratch: of one receiver */
};

struct mfs_exchange *mfs_exchange_new(struct mfs_sim *sim)
{
    const uint32_t ports = mfs_cluster_hosts(sim->cluster) * sim->cluster->nics;
    struct mfs_exchange *exchange;

    if (sim->options->enforcement != MFS_SIM_EXCHANGE)
        return NULL;
    exchange = mfs_memory_new(&sim->memory, 1, sizeof(*exchange));
    exchange->receivers = mfs_memory_new(&sim->memory, ports, sizeof(*exchange->receivers));
    exchange->claims = mfs_memory_new(&sim->memory, ports, sizeof(*exchange->claims));
    exchange->tells.memory = &sim->memory;
    for (uint32_t i = 0; i < ports; i++) {
        exchange->receivers[i].told = MFS_RANK_NONE;
        exchange->receivers[i].allowed = MFS_EXCHANGE_BEGIN;
    }
    return exchange;
}

static uint32_t host_of(const struct mfs_sim *sim, uint32_t receiver)
{
    return receiver / sim->cluster->nics;
}

static void mark(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_exchange *exchange = sim->exchange;

    if (exchange->receivers[index].dirty)
        return;
    exchange->receivers[index].dirty = true;
    mfs_members_add(&sim->memory, &exchange->dirty, index);
}

void mfs_exchange_moved(struct mfs_sim *sim, uint32_t port, uint32_t host)
{
    const uint32_t index = host * sim->cluster->nics + port % sim->cluster->nics;
    struct receiver *receiver;

    if (!sim->exchange)
        return;
    receiver = &sim->exchange->receivers[index];
    for (uint32_t i = 0;; i++) {
        if (i == receiver->senders.count)
            mfs_members_add(&sim->memory, &receiver->senders, port);
        if (receiver->senders.list[i] == port)
            break;
    }
    mark(sim, index);
}

/* A new limit, if another is due. */
static void judge(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_exchange *exchange = sim->exchange;
    struct receiver *receiver = &exchange->receivers[index];
    const uint32_t ports = mfs_cluster_hosts(sim->cluster) * sim->cluster->nics;
    const double backlog_s = mfs_chunks_backlog_s(sim, ports + index);
    uint32_t count = 0;

    for (uint32_t i = 0; i < receiver->senders.count; i++) {
        const mfs_rank_t claim =
            mfs_chunks_claim(sim, receiver->senders.list[i], host_of(sim, index));

        if (claim != MFS_RANK_NONE)
            exchange->claims[count++] = claim;
    }
    receiver->allowed = mfs_exchange_allowed(receiver->allowed, count, mfs_sim_span_ns(backlog_s),
                                             mfs_sim_span_ns(sim->options->pressure_delay_s));
    receiver->coming = mfs_exchange_limit(exchange->claims, count, receiver->allowed);
    if (receiver->coming != receiver->told || receiver->lost)
        mfs_timers_set(&exchange->tells, index, sim->now_s + sim->options->pressure_delay_s);
}

void mfs_exchange_tell(struct mfs_sim *sim)
{
    struct mfs_exchange *exchange = sim->exchange;

    if (!exchange)
        return;
    for (uint32_t i = 0; i < exchange->dirty.count; i++) {
        const uint32_t index = exchange->dirty.list[i];

        exchange->receivers[index].dirty = false;
        if (isinf(mfs_timers_at_s(&exchange->tells, index)))
            judge(sim, index);
    }
    exchange->dirty.count = 0;
}

/* By its number, of all that are told: the same input loses the same. Not every so many, which
 * might always be the same sender's. */
bool mfs_exchange_loses(struct mfs_sim *sim)
{
    uint64_t word = ++sim->out->told * UINT64_C(0x9E3779B97F4A7C15);

    word = (word ^ (word >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((word ^ (word >> 31)) >> 11) * 0x1p-53 < sim->options->limits_lost;
}

double mfs_exchange_next_s(const struct mfs_sim *sim)
{
    return sim->exchange ? mfs_timers_first_s(&sim->exchange->tells) : INFINITY;
}

void mfs_exchange_due(struct mfs_sim *sim)
{
    struct mfs_exchange *exchange = sim->exchange;

    while (exchange && mfs_timers_first_s(&exchange->tells) <= sim->now_s) {
        const uint32_t index = exchange->tells.heap[0].item;
        struct receiver *receiver = &exchange->receivers[index];

        mfs_timers_drop(&exchange->tells, index);
        receiver->told = receiver->coming;
        receiver->lost = false;
        for (uint32_t i = 0; i < receiver->senders.count; i++) {
            if (mfs_exchange_loses(sim))
                receiver->lost = true; /* it keeps the one it had until the next */
            else
                mfs_chunks_limit(sim, receiver->senders.list[i], host_of(sim, index),
                                 receiver->told);
        }
        mark(sim, index);
    }
}
