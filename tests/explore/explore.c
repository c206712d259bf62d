/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     explore SEED [COUNT]     COUNT runs [1], of the seeds from SEED on
 *     explore orders SEED      all orders of the steps of three senders: orders.c
 *
 * A run: some processes send while faults come. Then none comes and nothing new is posted: two
 * leases and the time of transmission later nothing waits but for destinations that still take no
 * bytes. Then these do, and the same holds for them. Exit status 1 and the seed: it does not hold.
 *
 * Seen to fail, each within 300 seeds, with the code broken by hand:
 *
 *   core/sender       a better rank of another is no reason to wait; nothing is published before
 *                     the look, after a chunk, when bytes have left; bytes of stalled destinations
 *                     are published; the last rank stays when nothing waits; another's untagged
 *                     chunk that is due is ignored
 *   core/destination  one that moves again stays parked; none is ever slow; none is ever stalled
 *   core/window_state everything fits
 *   core/port_state   untagged traffic is never due
 *   core/trust        a stamp of any future is fresh
 *   host/sender       the rank is not written; the bytes of others do not count; nobody's lease
 *                     runs out, or everybody's always has; the living are reaped; the dead are not;
 *                     the number of cells is believed
 *
 *   host/process      a slot is free before what its owner held is
 *
 *   core/destination  what has a limit may go at once
 *   core/rmlq_voq     a limit holds nothing back
 *   core/sender       what only a limit holds back is told to the others
 *   host/claims       limits never end, or rows of a sender that leaves stay
 *
 * Not seen: that what one says to have in flight is cut (HELD_MAX), since runs with garbage are not
 * held to the window; and, in 1,500 seeds, that no window takes longer than a second
 * (core/window_state; tests/c/test_sender_slow.c has a case for it).
 */
#include "world.h"

#include <string.h>

#include "core/atomic.h"

#define LEASES 6       /* with faults, at most */
#define STALLED MFS_TIME_NEVER
#define GARBAGE_NS (MFS_SLOW_DUES * INT64_C(1000000000) + 100000000)
#define DEAD_SLOT 100u /* of the processes that fill the port */

struct world world;

static void settings(void)
{
    struct mfs_config *config = &machine.config;
    static const uint64_t shares[] = {0, 50, 250, 500};
    const bool fixed = chance(4);

    config->lease = 2000000;
    config->port_rate = chance(3) ? 0 : world.rate_Bps;
    config->untagged_share = shares[pick(4)];
    config->pace = chance(4) ? world.rate_Bps / 2 : 0;
    machine.window = (struct mfs_window_config){
        .chunk_ns = 100000,
        .chunk_min_bytes = 2048,
        .chunk_max_bytes = 8192,
        .depth_ns = 400000,
        .window_min_bytes = config->port_rate > 0 ? 0 : 40000,
        .window_bytes = fixed ? 32768 : 0,
    };
}

/* --- faults --- */

static struct process *someone(void)
{
    return &world.processes[pick(world.count)];
}

static int64_t a_while(void)
{
    return 1 + (int64_t)pick((uint64_t)machine.config.lease * 3);
}

static void fill_port(uint32_t owner)
{
    struct mfs_port_cell *port = &machine.segment->ports[0];

    for (unsigned i = 0; i < MFS_SENDERS_MAX; i++) {
        struct mfs_sender_cell *cell = &port->senders[i];

        if (cell->owner != 0)
            continue;
        cell->rank = cell->untagged_rank = MFS_RANK_NONE;
        cell->inflight_bytes = 0;
        cell->owner = owner;
    }
    port->senders_high = MFS_SENDERS_MAX;
}

static void garbage_in(uint64_t *word)
{
    const uint64_t values[] = {0,
                               UINT64_MAX,
                               pick(UINT64_MAX),
                               pick(1000000),
                               (uint64_t)machine.now_ns + pick(10000000),
                               *word ^ UINT64_C(1) << pick(64),
                               UINT64_C(1) << 63};

    *word = values[pick(sizeof(values) / sizeof(values[0]))];
}

/* In one word of what all share, or in some of a sender's cell. */
static void garbage(void)
{
    struct mfs_port_cell *port = &machine.segment->ports[0];
    char *from = (char *)&port->senders[pick(world.count)];
    size_t words = sizeof(port->senders[0]) / 8;

    if (chance(4)) {
        from = (char *)&port->senders_high;
        words = ((size_t)((char *)port->senders - from)) / 8;
    } else if (world.limits && chance(2)) {
        from = chance(2) ? (char *)&machine.segment->far.ports[0]
                         : (char *)&machine.segment->far.claims[0];
        words = 4 * sizeof(machine.segment->far.claims[0]) / 8;
    }
    for (unsigned i = (unsigned)pick(4); i < 4; i++)
        garbage_in((uint64_t *)(void *)(from + 8 * pick(words)));
}

/* --- limits of other hosts, as an agent tells them --- */

static void agent_comes(void)
{
    struct mfs_host host = {.segment = machine.segment, .fd = -1, .process = DEAD_SLOT};

    pthread_mutex_init(&host.mutex, NULL);
    for (unsigned i = 0; i < DESTINATIONS; i++) {
        uint32_t port;

        CHECK(mfs_far_port(&host, 1 + i, "far", &port) == 0);
        CHECK(mfs_far_worker(&host, UID_OF(i), port, MFS_FAR_NONE) == 0);
    }
    pthread_mutex_destroy(&host.mutex);
}

/* Something that it says, or that it goes or comes back. */
static void agent_says(void)
{
    struct mfs_far_tables *far = &machine.segment->far;
    struct mfs_far_port_cell *port = &far->ports[pick(DESTINATIONS)];

    if (chance(16)) {
        far->until_ns = 0;
    } else if (chance(3)) {
        port->until_ns = 0;
    } else {
        far->until_ns = machine.now_ns + a_while();
        port->limit = mfs_rank_make((unsigned)pick(3), (int64_t)pick(8));
        port->until_ns = machine.now_ns + a_while();
    }
}

static void strike(enum fault fault)
{
    struct process *at = someone();
    struct to *to = &at->to[pick(DESTINATIONS)];

    switch ((unsigned)fault) {
    case FAULT_STOPPED:
        machine.stopped_ns[at->index] = machine.now_ns + a_while();
        break;
    case FAULT_SLOW:
        at->slow = !at->slow;
        break;
    case FAULT_LATE:
        at->late = !at->late;
        break;
    case FAULT_KILLED:
        if (!machine.alive[at->index])
            break;
        process_kill(at);
        machine.wake_ns[at->index] = chance(3) ? INT64_MAX : machine.now_ns + a_while();
        break;
    case FAULT_FULL:
        machine.slots[DEAD_SLOT] = chance(2) ? PROCESSES + 1 : 0;
        fill_port(DEAD_SLOT + 1);
        break;
    case FAULT_STALLED:
        to->until_ns = machine.now_ns + a_while();
        break;
    case FAULT_DRIBBLES:
        to->dribbles = !to->dribbles;
        break;
    case FAULT_GARBAGE:
        garbage();
        break;
    case FAULT_REVIVED:
        if (!machine.alive[at->index])
            break;
        machine_unlock(at->index);
        machine.stopped_ns[at->index] = machine.now_ns + machine.config.lease + a_while();
        break;
    }
}

static void strike_some(void)
{
    unsigned kind = (unsigned)pick(FAULT_KINDS);

    if (world.faults >> kind & 1)
        strike(1u << kind);
}

static void faults_end(void)
{
    struct mfs_port_state *port = &machine.segment->ports[0].state;

    world.calm = true;
    machine.slots[DEAD_SLOT] = 0;
    if (world.limits && chance(2)) /* the agent stays, and says nothing */
        machine.segment->far.until_ns = machine.now_ns + MFS_FAR_ATTEND_MAX_NS - 1;
    if (machine.config.port_rate > 0) /* a setting, that nobody learns anew */
        mfs_set(&port->rate_Bps, world.rate_Bps);
    if (world.faults & FAULT_GARBAGE) /* it is believed to lie a minute ahead */
        mfs_set(&port->pace_next_ns, machine.now_ns);
    for (unsigned i = 0; i < world.count; i++) {
        struct process *at = &world.processes[i];

        machine.stopped_ns[i] = 0;
        at->slow = at->late = false;
        if (machine.alive[i] && machine.wake_ns[i] > machine.now_ns)
            machine.wake_ns[i] = machine.now_ns;
        for (unsigned k = 0; k < DESTINATIONS; k++) {
            /* some stay as they are */
            at->to[k].until_ns = at->to[k].until_ns > machine.now_ns && chance(2) ? STALLED : 0;
            at->to[k].dribbles = false;
            if (at->to[k].free_ns > machine.now_ns)
                at->to[k].free_ns = machine.now_ns;
        }
    }
}

/* Those that were left stalled. false: there was none. */
static bool stalls_end(void)
{
    bool any = false;

    for (unsigned i = 0; i < world.count; i++) {
        for (unsigned k = 0; k < DESTINATIONS; k++) {
            struct to *to = &world.processes[i].to[k];

            any |= to->until_ns == STALLED;
            to->until_ns = 0;
        }
    }
    return any;
}

/* --- a run --- */

static void begin(struct process *at)
{
    at->joined = false;
    at->busy = (unsigned)pick(60);
    at->every_ns = 30000 + (int64_t)pick(90000);
    machine.stopped_ns[at->index] = 0;
    machine_start(at->index, process_run, at);
}

/* Who may run now, the first from `next` on; world.count: nobody. */
static unsigned choose(unsigned next)
{
    for (unsigned i = 0; i < world.count; i++) {
        if (machine.wake_ns[next] <= machine.now_ns && machine.stopped_ns[next] <= machine.now_ns)
            return next;
        next = next + 1 < world.count ? next + 1 : 0;
    }
    return world.count;
}

/* When somebody may. */
static int64_t next_ns(void)
{
    int64_t next_ns = wire_next_ns();

    for (unsigned i = 0; i < world.count; i++) {
        int64_t due_ns = machine.wake_ns[i];

        if (due_ns < machine.stopped_ns[i])
            due_ns = machine.stopped_ns[i];
        if (due_ns < next_ns)
            next_ns = due_ns;
    }
    return next_ns;
}

static bool all_idle(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        const struct process *at = &world.processes[i];

        if (machine.alive[i] ? !at->joined || process_waits(at) > 0
                             : machine.wake_ns[i] != INT64_MAX)
            return false;
    }
    return true;
}

/* Everything that waits now has left by then. With a rate that is garbage it takes three times a
 * second (core/destination.h, core/window_state.c) to see that a destination is stalled, and each
 * process has to see it for itself: what one has found out frees the window for the next, which
 * may send to the same one. */
static int64_t end_ns(void)
{
    const bool garbage = (world.faults & FAULTS_OF_WORDS) && machine.config.port_rate == 0;
    uint64_t rate_Bps = world.rate_Bps, bytes = 0;

    for (unsigned i = 0; i < world.count; i++)
        bytes += process_waits(&world.processes[i]);
    if (machine.config.pace > 0 && machine.config.pace < rate_Bps)
        rate_Bps = machine.config.pace;
    return machine.now_ns + (world.limits ? 3 : 2) * machine.config.lease +
           (garbage ? world.count * GARBAGE_NS : 0) + (int64_t)(bytes * 2000000000 / rate_Bps) +
           64 * 120000;
}

static void late(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        const struct process *at = &world.processes[i];

        if (!at->joined && machine.alive[i])
            fprintf(stderr, "process %u: has not joined\n", i);
        if (at->joined && process_waits(at) > 0)
            fprintf(stderr,
                    "process %u: %llu bytes, next() said %d, window %llu, open %llu, slow %llu, "
                    "stalled %llu\n",
                    i, (unsigned long long)process_waits(at), at->sender->blocked,
                    (unsigned long long)at->sender->window.window_bytes,
                    (unsigned long long)at->sender->destinations.in[MFS_DESTINATION_OPEN].bytes,
                    (unsigned long long)at->sender->destinations.in[MFS_DESTINATION_SLOW].bytes,
                    (unsigned long long)at->sender->destinations.in[MFS_DESTINATION_STALLED].bytes);
    }
    FAIL("something still waits (faults %x, pace %llu, rate %llu, share %llu, fixed window %llu)",
         world.faults, (unsigned long long)machine.config.pace,
         (unsigned long long)machine.segment->ports[0].state.rate_Bps,
         (unsigned long long)machine.config.untagged_share,
         (unsigned long long)machine.window.window_bytes);
}

void world_make(uint64_t seed)
{
    machine_reset(seed);
    memset(&world, 0, sizeof(world));
    world.seed = seed;
    world.start_ns = machine.now_ns;
    world.rate_Bps = 100000000;
    settings();
    for (unsigned i = 0; i < PROCESSES; i++) {
        world.processes[i].index = i;
        world.processes[i].told = MFS_RANK_NONE;
    }
}

/* Nobody may run: the next event, or the next part of the run. false: the run is over. */
static bool wait(int64_t *until_ns)
{
    const int64_t event_ns = next_ns();

    if (world.calm && all_idle()) {
        if (!stalls_end())
            return false;
        *until_ns = end_ns();
        return true;
    }
    machine.now_ns = event_ns < *until_ns ? event_ns : *until_ns;
    return true;
}

static void turn(unsigned chosen, uint64_t drawn, uint64_t grain)
{
    struct process *at = &world.processes[chosen];

    if (!machine.alive[chosen])
        begin(at);
    machine_run(chosen, 1 + (int)below(&drawn, grain));
    machine.now_ns += (int64_t)below(&drawn, grain * 20);
    if (at->slow && machine.alive[chosen])
        machine.stopped_ns[chosen] = machine.now_ns + (int64_t)pick(20000);
}

static void run(uint64_t seed)
{
    static const uint64_t grains[] = {4, 16, 64, 400};
    int64_t until_ns;
    uint64_t grain;

    world_make(seed);
    world.count = 2 + (unsigned)pick(PROCESSES - 1);
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
        world.faults |= (unsigned)chance(1u << kind == FAULT_FULL      ? 16
                                         : 1u << kind == FAULT_REVIVED ? 12
                                                                       : 4)
                        << kind;
    world.express = chance(3);
    world.leaves = chance(4);
    world.limits = chance(3);
    if (world.limits)
        agent_comes();
    grain = grains[pick(4)];
    for (unsigned i = 0; i < world.count; i++)
        begin(&world.processes[i]);
    until_ns = machine.now_ns + (int64_t)(1 + pick(LEASES)) * machine.config.lease;
    for (;;) {
        uint64_t drawn = draw();
        unsigned chosen;

        wire_move();
        if (machine.now_ns >= until_ns) {
            if (world.calm)
                late();
            faults_end();
            until_ns = end_ns();
        }
        if (!world.calm && below(&drawn, 200) == 0)
            strike_some();
        if (!world.calm && world.limits && chance(200))
            agent_says();
        chosen = choose((unsigned)below(&drawn, world.count));
        if (chosen < world.count)
            turn(chosen, drawn, grain);
        else if (!wait(&until_ns))
            return;
    }
}

int main(int argc, char **argv)
{
    const uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    const uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t chunks = 0;

    machine.config = *mfs_config_get();
    if (argc == 3 && strcmp(argv[1], "orders") == 0) {
        printf("%llu orders\n", (unsigned long long)orders_explore(strtoull(argv[2], NULL, 10)));
        return 0;
    }
    for (uint64_t seed = first; seed < first + count; seed++) {
        run(seed);
        chunks += world.chunks;
    }
    printf("%llu runs, %llu chunks\n", (unsigned long long)count, (unsigned long long)chunks);
    return 0;
}
