/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HOW MUCH IS AHEAD of the port, which is what is granted and not yet served: of one sender what it
 * can send while its next grant is on its way, a quantum, and SPARE_S of the port. A sender whose
 * own port is busy with others does not use what it has been granted, and the port would be idle;
 * so of all together there is room for that twice, and another sender is granted something, too.
 */
#include "sim/grants.h"

#include <math.h>
#include <string.h>

#include "sim/chunks.h"
#include "sim/exchange.h"
#include "sim/state.h"

#define ROUNDS_ALL 2.0  /* ways of a grant, each with a quantum, that are ahead of all senders */
#define ROUNDS_EACH 1.0 /* and of one */
#define SPARE_S 1e-3    /* that are ahead besides, of one and of all */
#define BYTES_MOST 1e18 /* more than any run moves: a way may take for ever */

/* A sender of a receiver; bytes are of all time. */
struct grantee {
    uint32_t port;
    uint64_t pushed, sent, done;
    uint64_t granted; /* as the receiver has decided */
    uint64_t said;    /* of it, in the last grant that is on its way or has arrived */
    uint64_t told;    /* as the sender knows */
    bool held;        /* it has sent all of that */
};

struct receiver {
    struct grantee *grantees; /* ports that ever had something for it */
    uint32_t count, capacity;
    bool dirty;
};

struct grant { /* on its way */
    double at_s;
    uint32_t receiver, grantee;
    uint64_t bytes; /* of all time */
};

struct mfs_grants {
    struct receiver *receivers; /* by port */
    struct mfs_members dirty;
    struct grant *grants;    /* in order of time: all take as long */
    uint32_t first, count, capacity;
    uint64_t quantum_bytes;
    uint64_t way_bytes; /* delay * C */
    uint64_t each_bytes, all_bytes; /* ahead of one sender, of all */
};

static uint64_t whole(double bytes)
{
    return (uint64_t)fmin(bytes, BYTES_MOST);
}

static uint64_t bytes_ahead(const struct mfs_grants *grants, double link_Bps, double rounds)
{
    return whole(rounds * (double)(grants->way_bytes + grants->quantum_bytes) + SPARE_S * link_Bps);
}

struct mfs_grants *mfs_grants_new(struct mfs_sim *sim)
{
    const uint32_t ports = mfs_cluster_hosts(sim->cluster) * sim->cluster->nics;
    struct mfs_grants *grants;

    if (sim->options->enforcement != MFS_SIM_GRANTS)
        return NULL;
    grants = mfs_memory_new(&sim->memory, 1, sizeof(*grants));
    grants->receivers = mfs_memory_new(&sim->memory, ports, sizeof(*grants->receivers));
    grants->quantum_bytes = sim->options->grant_bytes;
    if (grants->quantum_bytes == 0)
        grants->quantum_bytes = mfs_chunks_bytes(sim);
    grants->way_bytes = whole(sim->options->pressure_delay_s * sim->cluster->link_Bps);
    grants->each_bytes = bytes_ahead(grants, sim->cluster->link_Bps, ROUNDS_EACH);
    grants->all_bytes = bytes_ahead(grants, sim->cluster->link_Bps, ROUNDS_ALL);
    return grants;
}

static uint32_t host_of(const struct mfs_sim *sim, uint32_t receiver)
{
    return receiver / sim->cluster->nics;
}

static void mark(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_grants *grants = sim->grants;

    if (grants->receivers[index].dirty)
        return;
    grants->receivers[index].dirty = true;
    mfs_members_add(&sim->memory, &grants->dirty, index);
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- a sender of a receiver --- */

static uint64_t waiting(const struct grantee *one)
{
    return one->pushed - one->sent;
}

/* Of what waits, what it may send, now or when the grant has come. */
static uint64_t covered(const struct grantee *one)
{
    return one->granted > one->sent ? least(one->granted - one->sent, waiting(one)) : 0;
}

/* What the receiver has to expect of it. */
static uint64_t ahead(const struct grantee *one)
{
    return covered(one) + one->sent - one->done;
}

static void heed(struct mfs_sim *sim, struct grantee *one, uint32_t host)
{
    const bool held = one->sent >= one->told;

    if (held != one->held)
        mfs_chunks_limit(sim, one->port, host, held ? 0 : MFS_RANK_NONE);
    one->held = held;
}

static struct grantee *grantee_of(struct mfs_sim *sim, uint32_t port, uint32_t host)
{
    const uint32_t index = host * sim->cluster->nics + port % sim->cluster->nics;
    struct receiver *receiver = &sim->grants->receivers[index];

    mark(sim, index);
    for (uint32_t i = 0; i < receiver->count; i++) {
        if (receiver->grantees[i].port == port)
            return &receiver->grantees[i];
    }
    MFS_ROOM(&sim->memory, receiver->grantees, receiver->capacity, receiver->count + 1);
    receiver->grantees[receiver->count].port = port;
    return &receiver->grantees[receiver->count++];
}

void mfs_grants_pushed(struct mfs_sim *sim, uint32_t port, uint32_t host, uint64_t bytes)
{
    struct grantee *one;

    if (!sim->grants)
        return;
    one = grantee_of(sim, port, host);
    if (one->pushed == one->done) /* both know of it without a word */
        one->granted = one->said = one->told =
            most(one->granted, one->sent + sim->grants->way_bytes);
    one->pushed += bytes;
    heed(sim, one, host);
}

void mfs_grants_sent(struct mfs_sim *sim, uint32_t port, uint32_t host, uint64_t bytes)
{
    struct grantee *one;

    if (!sim->grants)
        return;
    one = grantee_of(sim, port, host);
    one->sent += bytes;
    heed(sim, one, host);
}

void mfs_grants_done(struct mfs_sim *sim, uint32_t port, uint32_t host, uint64_t bytes)
{
    if (sim->grants)
        grantee_of(sim, port, host)->done += bytes;
}

/* --- what is granted --- */

static void send(struct mfs_sim *sim, uint32_t receiver, uint32_t index)
{
    struct mfs_grants *grants = sim->grants;
    struct grantee *one = &grants->receivers[receiver].grantees[index];

    one->said = one->granted;
    if (grants->count == grants->capacity && grants->first > grants->count / 2) {
        grants->count -= grants->first;
        memmove(grants->grants, grants->grants + grants->first,
                grants->count * sizeof(*grants->grants));
        grants->first = 0;
    }
    MFS_ROOM(&sim->memory, grants->grants, grants->capacity, grants->count + 1);
    grants->grants[grants->count++] =
        (struct grant){sim->now_s + sim->options->pressure_delay_s, receiver, index, one->granted};
}

/* Whose next byte that no grant covers is the best; NULL: there is none. */
static struct grantee *best_of(const struct mfs_sim *sim, uint32_t index)
{
    const struct receiver *receiver = &sim->grants->receivers[index];
    struct grantee *best = NULL;
    mfs_rank_t best_rank = MFS_RANK_NONE;

    for (uint32_t i = 0; i < receiver->count; i++) {
        struct grantee *one = &receiver->grantees[i];
        mfs_rank_t rank;

        if (covered(one) == waiting(one) || ahead(one) >= sim->grants->each_bytes)
            continue;
        rank = mfs_chunks_claim_behind(sim, one->port, host_of(sim, index), covered(one));
        if (rank < best_rank) {
            best_rank = rank;
            best = one;
        }
    }
    return best;
}

static void judge(struct mfs_sim *sim, uint32_t index)
{
    struct receiver *receiver = &sim->grants->receivers[index];
    const uint64_t quantum = sim->grants->quantum_bytes;
    uint64_t all = 0;

    for (uint32_t i = 0; i < receiver->count; i++)
        all += ahead(&receiver->grantees[i]);
    while (all < sim->grants->all_bytes) {
        struct grantee *best = best_of(sim, index);
        uint64_t bytes;

        if (!best)
            break;
        bytes = least(quantum, waiting(best) - covered(best));
        best->granted = most(best->granted, best->sent) + bytes;
        all += bytes;
    }
    for (uint32_t i = 0; i < receiver->count; i++) {
        if (receiver->grantees[i].granted > receiver->grantees[i].said)
            send(sim, index, i);
    }
}

void mfs_grants_tell(struct mfs_sim *sim)
{
    struct mfs_grants *grants = sim->grants;

    if (!grants)
        return;
    for (uint32_t i = 0; i < grants->dirty.count; i++) {
        grants->receivers[grants->dirty.list[i]].dirty = false;
        judge(sim, grants->dirty.list[i]);
    }
    grants->dirty.count = 0;
}

/* --- what has arrived --- */

double mfs_grants_next_s(const struct mfs_sim *sim)
{
    const struct mfs_grants *grants = sim->grants;

    if (!grants)
        return INFINITY;
    return grants->first < grants->count ? grants->grants[grants->first].at_s : INFINITY;
}

static void arrived(struct mfs_sim *sim, const struct grant *grant)
{
    struct grantee *one = &sim->grants->receivers[grant->receiver].grantees[grant->grantee];

    if (mfs_exchange_loses(sim)) {
        if (grant->bytes == one->said) /* none is behind it that would make good for it */
            send(sim, grant->receiver, grant->grantee);
        return;
    }
    one->told = most(one->told, grant->bytes);
    heed(sim, one, host_of(sim, grant->receiver));
}

void mfs_grants_due(struct mfs_sim *sim)
{
    struct mfs_grants *grants = sim->grants;

    if (!grants)
        return;
    while (grants->first < grants->count && grants->grants[grants->first].at_s <= sim->now_s) {
        const struct grant grant = grants->grants[grants->first++];

        arrived(sim, &grant);
    }
    if (grants->first == grants->count)
        grants->first = grants->count = 0;
}
