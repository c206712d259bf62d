/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LINES: the flows of a line are operations of their own, so a line is `shared` here and has no
 * slot in the net: flows[group].end is what is left of that flow, `served` stays 0. Flows that end
 * out of turn are told in turn, which is all the same to serving.c: it waits for all groups up to
 * one.
 *
 * LOOKS: a sender looks when something is pushed or has left, and while it is restless
 * (core/sender.h) every LOOK_S, as the progress loop of a program does: so it sees when a
 * destination is slow. Promotions need no timer: a level that falls makes no room, and next()
 * places what is due before it chooses.
 */
#include "sim/chunks.h"

#include <errno.h>
#include <math.h>

#include "core/rmlq_inside.h"
#include "core/sender.h"
#include "sim/exchange.h"
#include "sim/grants.h"
#include "sim/state.h"

#define LOOK_S 200e-6

struct flow {
    struct mfs_op op; /* first: a chunk names it */
    uint32_t line, group;
};

struct mfs_sim_operations { /* of a line, by group; never moved */
    struct mfs_sim_operations *next; /* of all lines */
    uint32_t port, line;
    struct flow flows[];
};

struct port {
    struct mfs_sim *sim;
    struct mfs_sender *sender; /* NULL: nothing was sent there yet */
    struct mfs_destination **to; /* by host; NULL: nothing was sent there yet */
    uint64_t version; /* of the facts that its flows are placed by */
    bool dirty; /* to be asked for chunks before time moves */
};

struct moving { /* a chunk on its way */
    struct mfs_destination *destination;
    uint64_t bytes;
    double end_s; /* when the links that it has come to will have served it */
    uint32_t port, line, group;
    uint32_t level; /* at which it was taken */
    uint32_t hop;   /* the link that it comes to next; all: it has left at end_s */
    uint32_t next;  /* free list */
};

struct mfs_chunks {
    struct port *ports; /* by egress link */
    uint32_t port_count;
    double *free_s; /* by link: when it has served all that came */
    struct moving *moving;
    uint32_t moving_count, moving_capacity, moving_free;
    struct mfs_timers moves; /* by chunk */
    struct mfs_timers looks; /* by port */
    struct mfs_members dirty; /* ports */
    struct mfs_sim_operations *operations;
};

/* --- begin and end --- */

static bool fluid_only(const struct mfs_sim_options *options, bool ours)
{
    return (!ours && (options->hopeless >= 0 || options->shed >= 0)) || options->level_order != 0 ||
           options->promote_interval_s > 0.0 || options->stage_first != MFS_STAGE_NONE ||
           options->deadline_less != MFS_SIM_LESS_NOTHING || options->karuna_margin > 0.0;
}

int mfs_chunks_policy(struct mfs_sim *sim)
{
    sim->policy = mfs_policy_find(sim->options->policy);
    if (!sim->policy || !sim->policy->defers || fluid_only(sim->options, sim->policy == sim->ours))
        return -EINVAL;
    sim->rule = MFS_RULE_CORE;
    sim->by_bytes = sim->moving = false;
    sim->look_s = 0.0;
    return 0;
}

void mfs_chunks_init(struct mfs_sim *sim)
{
    struct mfs_chunks *chunks = mfs_memory_new(&sim->memory, 1, sizeof(*chunks));

    sim->chunks = chunks;
    chunks->port_count = mfs_cluster_hosts(sim->cluster) * sim->cluster->nics;
    chunks->ports = mfs_memory_new(&sim->memory, chunks->port_count, sizeof(*chunks->ports));
    chunks->free_s = mfs_memory_new(&sim->memory, sim->net.link_count, sizeof(*chunks->free_s));
    chunks->moving_free = MFS_NONE;
    chunks->moves.memory = chunks->looks.memory = &sim->memory;
    sim->exchange = mfs_exchange_new(sim);
    sim->grants = mfs_grants_new(sim);
}

void mfs_chunks_end(struct mfs_sim *sim)
{
    struct mfs_chunks *chunks = sim->chunks;

    if (!chunks)
        return;
    for (struct mfs_sim_operations *of = chunks->operations; of; of = of->next) {
        for (uint32_t group = 0; group < sim->model->groups; group++)
            (void)mfs_rmlq_remove(chunks->ports[of->port].sender->queue, &of->flows[group].op);
    }
    for (uint32_t i = 0; chunks->ports && i < chunks->port_count; i++) {
        struct port *port = &chunks->ports[i];

        for (uint32_t host = 0; port->to && host < mfs_cluster_hosts(sim->cluster); host++) {
            if (port->to[host])
                mfs_sender_close(port->sender, port->to[host]);
        }
        mfs_sender_destroy(port->sender);
    }
}

/* --- senders --- */

static uint64_t facts_version(void *ctx)
{
    return ((const struct port *)ctx)->version;
}

static bool facts_read(void *ctx, uint64_t key, struct mfs_facts *facts)
{
    struct mfs_sim *sim = ((const struct port *)ctx)->sim;
    const uint32_t request = (uint32_t)key - 1;

    *facts = sim->requests[request].facts;
    facts->p2d_left_bytes =
        (uint64_t)(mfs_sim_request_p2d_left(sim, request) * sim->requests[request].estimate);
    return true;
}

static void window_config(const struct mfs_sim *sim, struct mfs_window_config *config)
{
    mfs_window_config_init(config);
    if (sim->options->chunk_bytes > 0)
        config->chunk_min_bytes = sim->options->chunk_bytes;
    config->window_bytes = sim->options->window_bytes;
}

static void sender_new(struct mfs_sim *sim, struct port *port)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.policy = sim->policy;
    config.queue.params = sim->params;
    config.queue.facts = (struct mfs_facts_source){port, facts_version, facts_read};
    window_config(sim, &config.window);
    config.rate_known = true;
    port->sim = sim;
    if (mfs_sender_create(&config, &port->sender) != 0)
        longjmp(sim->memory.failed, 1);
}

static struct mfs_destination *destination_to(struct mfs_sim *sim, struct port *port, uint32_t host)
{
    struct mfs_destination *destination;

    if (!port->sender)
        sender_new(sim, port);
    if (!port->to)
        port->to = mfs_memory_new(&sim->memory, mfs_cluster_hosts(sim->cluster), sizeof(*port->to));
    if (port->to[host])
        return port->to[host];
    destination = mfs_memory_new(&sim->memory, 1, sizeof(*destination));
    if (mfs_sender_open(port->sender, destination, NULL) != 0)
        longjmp(sim->memory.failed, 1);
    port->to[host] = destination;
    return destination;
}

static void port_dirty(struct mfs_sim *sim, uint32_t index)
{
    struct port *port = &sim->chunks->ports[index];

    if (port->dirty)
        return;
    port->dirty = true;
    mfs_members_add(&sim->memory, &sim->chunks->dirty, index);
}

/* --- flows in --- */

static struct mfs_sim_operations *operations_of(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_sim_line *line = &sim->lines[index];
    struct mfs_sim_operations *of = line->operations;

    if (!of) {
        of = mfs_memory_new(&sim->memory, 1,
                            sizeof(*of) + sim->model->groups * sizeof(of->flows[0]));
        of->next = sim->chunks->operations;
        of->line = index;
        sim->chunks->operations = line->operations = of;
    }
    of->port = line->route.link[0]; /* another than for the bundle that had the line before */
    return of;
}

void mfs_chunks_add(struct mfs_sim *sim, uint32_t index, uint32_t group, uint32_t count)
{
    struct mfs_sim_line *line = &sim->lines[index];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];
    struct port *port = &sim->chunks->ports[line->route.link[0]];
    struct mfs_destination *destination = destination_to(sim, port, line->host_to);
    struct mfs_sim_operations *of = operations_of(sim, index);
    struct mfs_tag tag = {mfs_bundle_owner(sim, bundle) + 1, group, bundle->stage};

    line->shared = true;
    for (; tag.layer < group + count; tag.layer++) {
        struct flow *flow = &of->flows[tag.layer];

        flow->line = index;
        flow->group = tag.layer;
        flow->op.length = (uint64_t)ceil(line->size);
        line->flows[tag.layer].end = (double)flow->op.length;
        if (mfs_sender_push(port->sender, &flow->op, destination, &tag, sim->now_ns) != 0)
            longjmp(sim->memory.failed, 1); /* more flows than a queue knows, all of them tagged */
    }
    port_dirty(sim, line->route.link[0]);
    mfs_exchange_moved(sim, line->route.link[0], line->host_to);
    mfs_grants_pushed(sim, line->route.link[0], line->host_to, count * (uint64_t)ceil(line->size));
}

void mfs_chunks_changed(struct mfs_sim *sim, uint32_t index)
{
    sim->chunks->ports[sim->lines[index].route.link[0]].version++;
}

void mfs_chunks_lines(struct mfs_sim *sim, uint32_t index, struct mfs_members *found)
{
    for (const struct mfs_sim_operations *of = sim->chunks->operations; of; of = of->next) {
        if (of->port == index && sim->lines[of->line].count > 0)
            mfs_members_add(&sim->memory, found, of->line);
    }
}

/* --- for the exchange --- */

mfs_rank_t mfs_chunks_claim(const struct mfs_sim *sim, uint32_t index, uint32_t host)
{
    const struct port *port = &sim->chunks->ports[index];
    mfs_rank_t best = MFS_RANK_NONE;

    for (int kind = 0; kind < MFS_KINDS; kind++) {
        const struct mfs_heap *flows = &port->to[host]->voq.flows[kind];

        if (flows->count > 0 && flows->entries[0].rank < best)
            best = flows->entries[0].rank;
    }
    return best;
}

static bool goes_before(const struct mfs_heap_entry *one, const struct mfs_heap_entry *other)
{
    return one->rank < other->rank || (one->rank == other->rank && one->tie < other->tie);
}

/* entries[0] is the best; the others are in no order that helps. */
static const struct mfs_heap_entry *behind(const struct mfs_heap *flows,
                                           const struct mfs_heap_entry *last)
{
    const struct mfs_heap_entry *best = NULL;

    for (uint32_t i = 0; i < flows->count; i++) {
        const struct mfs_heap_entry *entry = &flows->entries[i];

        if (!goes_before(last, entry))
            continue;
        if (!best || goes_before(entry, best))
            best = entry;
    }
    return best;
}

mfs_rank_t mfs_chunks_claim_behind(const struct mfs_sim *sim, uint32_t index, uint32_t host,
                                   uint64_t bytes)
{
    const struct port *port = &sim->chunks->ports[index];
    const struct mfs_heap *flows = &port->to[host]->voq.flows[MFS_TAGGED];
    const struct mfs_heap_entry *entry = flows->count > 0 ? &flows->entries[0] : NULL;

    for (; entry; entry = behind(flows, entry)) {
        const uint64_t left = port->sender->queue->flows[mfs_heap_item(entry)].info.bytes_left;

        if (left > bytes)
            return entry->rank;
        bytes -= left;
    }
    return MFS_RANK_NONE;
}

uint64_t mfs_chunks_bytes(const struct mfs_sim *sim)
{
    struct mfs_window_config config;

    window_config(sim, &config);
    return mfs_window_chunk(&config, sim->params.rate_Bps);
}

void mfs_chunks_limit(struct mfs_sim *sim, uint32_t index, uint32_t host, mfs_rank_t limit)
{
    struct port *port = &sim->chunks->ports[index];

    mfs_voq_limit(port->sender->queue, &port->to[host]->voq, limit);
    port_dirty(sim, index);
}

double mfs_chunks_backlog_s(const struct mfs_sim *sim, uint32_t link)
{
    return fmax(0.0, sim->chunks->free_s[link] - sim->now_s);
}

/* --- chunks out --- */

static uint32_t moving_new(struct mfs_sim *sim)
{
    struct mfs_chunks *chunks = sim->chunks;
    const uint32_t index = chunks->moving_free;

    if (index != MFS_NONE) {
        chunks->moving_free = chunks->moving[index].next;
        return index;
    }
    MFS_ROOM(&sim->memory, chunks->moving, chunks->moving_capacity, chunks->moving_count + 1);
    return chunks->moving_count++;
}

/* The part of the chunk that the link serves before the last arrival, for the port's use. */
static void count_bytes(struct mfs_sim *sim, uint32_t link, double start_s, double takes_s,
                        uint64_t bytes)
{
    const double part = (sim->window_end_s - start_s) / takes_s;

    if (part > 0.0)
        sim->link_bytes[link] += (double)bytes * fmin(part, 1.0);
}

/* It comes to its next link, and to those behind it that begin with it at once. */
static void come(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_chunks *chunks = sim->chunks;
    struct moving *chunk = &chunks->moving[index];
    const struct mfs_route *route = &sim->lines[chunk->line].route;

    while (chunk->hop < route->count) {
        const uint32_t link = route->link[chunk->hop++];
        const double start_s = fmax(sim->now_s, chunks->free_s[link]);
        const double takes_s = (double)chunk->bytes / sim->net.links[link].capacity;

        chunks->free_s[link] = start_s + takes_s;
        chunk->end_s = fmax(chunk->end_s, start_s + takes_s);
        count_bytes(sim, link, start_s, takes_s, chunk->bytes);
        if (start_s > sim->now_s && chunk->hop < route->count) {
            mfs_timers_set(&chunks->moves, index, start_s);
            return;
        }
    }
    mfs_timers_set(&chunks->moves, index, chunk->end_s);
}

static void trace_level(struct mfs_sim *sim, const struct moving *chunk)
{
    const struct mfs_sim_line *line = &sim->lines[chunk->line];
    const struct mfs_bundle *bundle = &sim->bundles[line->bundle];

    MFS_TRACE(sim, MFS_SIM_LEVEL, (int32_t)bundle->request, (int32_t)bundle->stage,
              (int32_t)chunk->group, (int32_t)line->host_from, (int32_t)line->host_to,
              (int32_t)chunk->level, (int32_t)bundle->unit, mfs_sim_line_left_all(line));
}

static void post(struct mfs_sim *sim, uint32_t port, const struct mfs_chunk *taken)
{
    const struct flow *flow = (const struct flow *)(const void *)taken->op;
    struct mfs_sim_line *line = &sim->lines[flow->line];
    const uint32_t index = moving_new(sim);
    struct moving *chunk = &sim->chunks->moving[index];

    *chunk = (struct moving){.destination = sim->chunks->ports[port].to[line->host_to],
                             .bytes = taken->length,
                             .port = port,
                             .line = flow->line,
                             .group = flow->group,
                             .level = mfs_rank_level(taken->rank)};
    if (line->flows[flow->group].level != chunk->level) {
        line->flows[flow->group].level = chunk->level;
        trace_level(sim, chunk);
    }
    come(sim, index);
    mfs_grants_sent(sim, port, line->host_to, taken->length);
}

void mfs_chunks_send(struct mfs_sim *sim)
{
    struct mfs_chunks *chunks = sim->chunks;

    for (uint32_t i = 0; i < chunks->dirty.count; i++) {
        const uint32_t index = chunks->dirty.list[i];
        struct port *port = &chunks->ports[index];
        struct mfs_chunk taken;

        port->dirty = false;
        while (mfs_sender_next(port->sender, 0, sim->now_ns, &taken) == 0)
            post(sim, index, &taken);
        if (mfs_sender_restless(port->sender))
            mfs_timers_set(&chunks->looks, index, sim->now_s + LOOK_S);
        else
            mfs_timers_drop(&chunks->looks, index);
    }
    chunks->dirty.count = 0;
    mfs_exchange_tell(sim);
    mfs_grants_tell(sim);
}

/* --- chunks that have left --- */

static void flows_end(struct mfs_sim *sim, uint32_t index)
{
    for (;;) {
        struct mfs_sim_line *line = &sim->lines[index]; /* lines may move when one ends */

        if (line->count == 0 || line->flows[line->group].end > 0.0)
            return;
        line->level = line->flows[line->group].level;
        mfs_sim_line_end_first(sim, index);
    }
}

static void left(struct mfs_sim *sim, uint32_t index)
{
    struct mfs_chunks *chunks = sim->chunks;
    const struct moving chunk = chunks->moving[index];

    mfs_timers_drop(&chunks->moves, index);
    chunks->moving[index].next = chunks->moving_free;
    chunks->moving_free = index;
    sim->out->events++;
    mfs_sender_done(chunks->ports[chunk.port].sender, chunk.destination, chunk.bytes, sim->now_ns);
    port_dirty(sim, chunk.port);
    mfs_exchange_moved(sim, chunk.port, sim->lines[chunk.line].host_to);
    mfs_grants_done(sim, chunk.port, sim->lines[chunk.line].host_to, chunk.bytes);
    sim->lines[chunk.line].flows[chunk.group].end -= (double)chunk.bytes;
    flows_end(sim, chunk.line);
}

double mfs_chunks_next_s(const struct mfs_sim *sim)
{
    return fmin(
        fmin(mfs_timers_first_s(&sim->chunks->moves), mfs_timers_first_s(&sim->chunks->looks)),
        fmin(mfs_exchange_next_s(sim), mfs_grants_next_s(sim)));
}

void mfs_chunks_due(struct mfs_sim *sim)
{
    struct mfs_chunks *chunks = sim->chunks;

    while (mfs_timers_first_s(&chunks->moves) <= sim->now_s) {
        const uint32_t index = chunks->moves.heap[0].item;
        const struct moving *chunk = &chunks->moving[index];

        if (chunk->hop < sim->lines[chunk->line].route.count)
            come(sim, index);
        else
            left(sim, index);
    }
    mfs_exchange_due(sim);
    mfs_grants_due(sim);
    while (mfs_timers_first_s(&chunks->looks) <= sim->now_s) {
        const uint32_t port = chunks->looks.heap[0].item;

        mfs_timers_drop(&chunks->looks, port);
        port_dirty(sim, port);
    }
}
