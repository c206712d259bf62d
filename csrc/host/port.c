/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THREADS AND PROCESSES: A member's cell is written by its owner and read by all;
 * no word depends on another being read at the same instant. Two members may both
 * see the last room in the window and both take it: the port is then over its
 * window by a chunk for each, which is harmless; a lock would be worse, since its
 * holder can be stopped. The same holds for ranks: a chunk may slip in front of a
 * better one that was published a moment later.
 *
 * WAITING FOR OTHERS: "better and waiting" only counts while the other moves: its
 * stamp is renewed whenever it looks at its queue. One that has not moved for the
 * lease (stopped, dead, or busy elsewhere) is passed over, its bytes in flight too;
 * if its lock shows that it is dead, what it held is given back. One that dies with
 * nothing waiting and nothing in flight is in nobody's way, and an idle one that lives
 * looks just the same: whoever sends looks for those once a second.
 *
 * UNTAGGED: A member whose traffic never has the best rank would wait for ever, so
 * the port keeps an account. While a live member has untagged traffic waiting, each
 * tagged byte earns share/(1000-share) of a byte; an untagged chunk that this pays for
 * is due and goes before all else, and the others yield to it as to a better rank:
 * otherwise whoever fills the window would also be the one to see its room. Among
 * untagged chunks the best rank (in most policies the oldest) has the turn, so no
 * member's is passed over. The account is one word, added to and taken from without a
 * lock: two members may both see the same credit, which costs a chunk. What is left when
 * nobody waits is kept, at most about a chunk; a member that looks less often than the
 * lease would never find any if it were dropped.
 *
 * RATE: it begins with what the configuration says, or with the speed of the link when
 * the port bears the name of a NIC, and is corrected, unless it was configured, by the
 * bytes completed over an interval in which the port never ran empty. The
 * interval starts anew whenever a chunk finds the port empty. An interval in which the
 * window was never full shows what was asked for, not what the port can do: it may only
 * raise an estimate. Whoever moves the start of the interval owns the sample.
 */
#include "host/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/config.h"
#include "core/policy_rules.h"
#include "host/link.h"
#include "host/segment.h"

#define SAMPLE_NS INT64_C(20000000)
#define CREDIT_MAX (UINT64_C(1) << 43) /* bytes; its products below stay in 64 bits */
#define REAP_EVERY_NS INT64_C(10000000)     /* while somebody in the way does not move */
#define REAP_IDLE_NS (100 * REAP_EVERY_NS)  /* while nobody is */

struct mfs_member {
    struct mfs_port *port;
    struct mfs_member_cell *cell;
};

static void window_config(struct mfs_window_config *window)
{
    const struct mfs_config *config = mfs_config_get();

    mfs_window_config_init(window);
    window->rate_Bps = config->port_rate;
    window->rate_fixed = config->port_rate > 0;
    window->chunk_ns = config->chunk_time;
    window->chunk_min_bytes = config->chunk_min;
    window->chunk_max_bytes = config->chunk_max;
    window->depth_ns = config->window_time;
    window->window_min_bytes = config->port_rate > 0 ? 0 : config->window_min;
    window->window_bytes = config->window;
}

/* The first estimate. A paced port is no faster than its pace; 0: nothing is known. */
static uint64_t seed_Bps(const char *name)
{
    const struct mfs_config *config = mfs_config_get();

    if (config->port_rate)
        return config->port_rate;
    return config->pace ? config->pace : mfs_link_rate_Bps("/sys", name);
}

int mfs_port_open(struct mfs_host *host, const char *name, enum mfs_direction direction,
                  struct mfs_port **out)
{
    struct mfs_port_cell *cell = NULL;
    struct mfs_port *port;
    uint64_t rate_Bps;
    int error;

    if (!name || !*name || strlen(name) > MFS_PORT_NAME_MAX)
        return -EINVAL;
    rate_Bps = seed_Bps(name); /* may read a file: before the mutex is taken */
    port = calloc(1, sizeof(*port));
    if (!port)
        return -ENOMEM;
    error = mfs_segment_lock(host);
    if (error) {
        free(port);
        return error;
    }
    for (uint32_t i = 0; i < MFS_PORTS_MAX && !cell; i++) {
        struct mfs_port_cell *at = &host->segment->ports[i];

        if (!atomic_load_explicit(&at->used, memory_order_acquire)) {
            strcpy(at->name, name);
            at->direction = direction;
            atomic_store_explicit(&at->rate_Bps, rate_Bps, memory_order_relaxed);
            atomic_store_explicit(&at->used, 1, memory_order_release);
            cell = at;
        } else if (at->direction == (uint32_t)direction && strcmp(at->name, name) == 0) {
            cell = at;
        }
    }
    mfs_segment_unlock(host);
    if (!cell) {
        free(port);
        return -ENOSPC;
    }
    port->host = host;
    port->cell = cell;
    *out = port;
    return 0;
}

int mfs_port_find(struct mfs_host *host, const char *name, enum mfs_direction direction,
                  struct mfs_port **out)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        struct mfs_port_cell *cell = &host->segment->ports[i];
        struct mfs_port *port;

        if (!atomic_load_explicit(&cell->used, memory_order_acquire))
            break;
        if (cell->direction != (uint32_t)direction || strcmp(cell->name, name) != 0)
            continue;
        port = calloc(1, sizeof(*port));
        if (!port)
            return -ENOMEM;
        port->host = host;
        port->cell = cell;
        *out = port;
        return 0;
    }
    return -ENOENT;
}

const char *mfs_port_name_at(struct mfs_host *host, uint32_t index)
{
    if (index >= MFS_PORTS_MAX ||
        !atomic_load_explicit(&host->segment->ports[index].used, memory_order_acquire))
        return NULL;
    return host->segment->ports[index].name;
}

void mfs_port_close(struct mfs_port *port)
{
    free(port);
}

static struct mfs_member_cell *cell_free(struct mfs_port_cell *port)
{
    for (uint32_t i = 0; i < MFS_MEMBERS_MAX; i++) {
        if (!atomic_load_explicit(&port->members[i].owner, memory_order_relaxed))
            return &port->members[i];
    }
    return NULL;
}

int mfs_port_join(struct mfs_host *host, struct mfs_port *port, struct mfs_member **out)
{
    struct mfs_member *member = calloc(1, sizeof(*member));
    struct mfs_member_cell *cell;
    int error;

    if (!member)
        return -ENOMEM;
    error = mfs_segment_lock(host);
    if (error) {
        free(member);
        return error;
    }
    cell = cell_free(port->cell);
    if (!cell) { /* perhaps the dead hold some */
        mfs_process_reap_locked(host);
        cell = cell_free(port->cell);
    }
    if (cell) {
        const uint32_t next = (uint32_t)(cell - port->cell->members) + 1;

        atomic_store_explicit(&cell->rank, MFS_RANK_NONE, memory_order_relaxed);
        atomic_store_explicit(&cell->untagged_rank, MFS_RANK_NONE, memory_order_relaxed);
        atomic_store_explicit(&cell->inflight_bytes, 0, memory_order_relaxed);
        atomic_store_explicit(&cell->stamp_ns, mfs_now_ns(), memory_order_relaxed);
        atomic_store_explicit(&cell->owner, host->process + 1, memory_order_release);
        if (atomic_load_explicit(&port->cell->members_high, memory_order_relaxed) < next)
            atomic_store_explicit(&port->cell->members_high, next, memory_order_release);
        member->port = port;
        member->cell = cell;
    }
    mfs_segment_unlock(host);
    if (!cell) {
        free(member);
        return -ENOSPC;
    }
    *out = member;
    return 0;
}

static void cell_clear(struct mfs_member_cell *cell)
{
    atomic_store_explicit(&cell->rank, MFS_RANK_NONE, memory_order_relaxed);
    atomic_store_explicit(&cell->untagged_rank, MFS_RANK_NONE, memory_order_relaxed);
    atomic_store_explicit(&cell->inflight_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&cell->owner, 0, memory_order_release);
}

void mfs_port_leave(struct mfs_member *member)
{
    if (!member)
        return;
    cell_clear(member->cell);
    free(member);
}

void mfs_port_reap(struct mfs_segment *segment, uint32_t process)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        for (uint32_t j = 0; j < MFS_MEMBERS_MAX; j++) {
            struct mfs_member_cell *cell = &segment->ports[i].members[j];

            if (atomic_load_explicit(&cell->owner, memory_order_relaxed) == process + 1)
                cell_clear(cell);
        }
    }
}

static void publish(struct mfs_member_cell *cell, const struct mfs_next *next, int64_t now_ns)
{
    atomic_store_explicit(&cell->untagged_bytes, next->untagged_bytes, memory_order_relaxed);
    atomic_store_explicit(&cell->untagged_rank, next->untagged_rank, memory_order_relaxed);
    atomic_store_explicit(&cell->rank, next->rank, memory_order_relaxed);
    atomic_store_explicit(&cell->stamp_ns, now_ns, memory_order_release);
}

void mfs_member_publish(struct mfs_member *member, mfs_rank_t rank, int64_t now_ns)
{
    const struct mfs_next next = {.rank = rank, .untagged_rank = MFS_RANK_NONE};

    publish(member->cell, &next, now_ns);
}

/* What the others of the port hold and want. */
struct others {
    uint64_t inflight_bytes;
    mfs_rank_t best;
    mfs_rank_t untagged_best;
    uint64_t untagged_bytes; /* of that one's chunk */
    bool stale;
};

static struct others look_around(const struct mfs_port *port, const struct mfs_member_cell *self,
                                 int64_t now_ns)
{
    const int64_t lease_ns = mfs_config_get()->lease;
    const uint32_t high = atomic_load_explicit(&port->cell->members_high, memory_order_acquire);
    struct others others = {.best = MFS_RANK_NONE, .untagged_best = MFS_RANK_NONE};

    for (uint32_t i = 0; i < high; i++) {
        struct mfs_member_cell *cell = &port->cell->members[i];
        mfs_rank_t rank, untagged_rank;
        uint64_t inflight;

        if (cell == self || !atomic_load_explicit(&cell->owner, memory_order_acquire))
            continue;
        rank = atomic_load_explicit(&cell->rank, memory_order_relaxed);
        inflight = atomic_load_explicit(&cell->inflight_bytes, memory_order_relaxed);
        if (rank == MFS_RANK_NONE && inflight == 0)
            continue;
        if (now_ns - atomic_load_explicit(&cell->stamp_ns, memory_order_acquire) > lease_ns) {
            others.stale = true;
            continue;
        }
        others.inflight_bytes += inflight;
        if (rank < others.best)
            others.best = rank;
        untagged_rank = atomic_load_explicit(&cell->untagged_rank, memory_order_relaxed);
        if (untagged_rank < others.untagged_best) {
            others.untagged_best = untagged_rank;
            others.untagged_bytes =
                atomic_load_explicit(&cell->untagged_bytes, memory_order_relaxed);
        }
    }
    return others;
}

/* --- the share of untagged traffic --- */

/* Is an untagged chunk of so many bytes paid for? */
static bool share_due(const struct mfs_port_cell *cell, uint64_t bytes)
{
    const uint64_t share = mfs_config_get()->untagged_share;

    return share == 1000 ||
           (share > 0 &&
            atomic_load_explicit(&cell->untagged_credit, memory_order_relaxed) / 1000 >= bytes);
}

static void share_earn(struct mfs_port_cell *cell, uint64_t bytes)
{
    const uint64_t share = mfs_config_get()->untagged_share;

    if (share == 1000 ||
        atomic_load_explicit(&cell->untagged_credit, memory_order_relaxed) > CREDIT_MAX * 1000)
        return;
    if (bytes > CREDIT_MAX)
        bytes = CREDIT_MAX;
    atomic_fetch_add_explicit(&cell->untagged_credit, bytes * 1000 * share / (1000 - share),
                              memory_order_relaxed);
}

/* Also what went by its rank alone: it has had it. */
static void share_spend(struct mfs_port_cell *cell, uint64_t bytes)
{
    uint64_t credit = atomic_load_explicit(&cell->untagged_credit, memory_order_relaxed);

    while (credit > 0 &&
           !atomic_compare_exchange_weak_explicit(&cell->untagged_credit, &credit,
                                                  credit / 1000 > bytes ? credit - bytes * 1000 : 0,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* -EBUSY: another goes first. *turn: our best untagged chunk is due. */
static int whose_turn(const struct mfs_port_cell *cell, const struct mfs_next *next,
                      const struct others *others, bool *turn)
{
    if (next->untagged_rank <= others->untagged_best)
        *turn = next->untagged_rank != MFS_RANK_NONE && share_due(cell, next->untagged_bytes);
    else
        *turn = false;
    if (*turn)
        return 0;
    if (others->untagged_best < next->untagged_rank && share_due(cell, others->untagged_bytes))
        return -EBUSY;
    return others->best < next->rank ? -EBUSY : 0;
}

/* See, not too often, whether somebody is dead; sooner if somebody in the way does not move. */
static void reap_sometimes(struct mfs_port *port, bool stale, int64_t now_ns)
{
    int64_t due_ns = atomic_load_explicit(&port->cell->reap_next_ns, memory_order_relaxed);

    if (now_ns >= due_ns + (stale ? 0 : REAP_IDLE_NS) &&
        atomic_compare_exchange_strong_explicit(&port->cell->reap_next_ns, &due_ns,
                                                now_ns + REAP_EVERY_NS, memory_order_relaxed,
                                                memory_order_relaxed))
        mfs_process_reap(port->host);
}

static bool pace_take(struct mfs_port_cell *cell, uint64_t bytes, int64_t now_ns)
{
    const uint64_t pace_Bps = mfs_config_get()->pace;
    int64_t next_ns, start_ns;

    if (pace_Bps == 0)
        return true;
    next_ns = atomic_load_explicit(&cell->pace_next_ns, memory_order_relaxed);
    do {
        if (next_ns > now_ns)
            return false;
        /* up to a millisecond of lateness is made up, so that coarse polling keeps the rate */
        start_ns = next_ns > now_ns - 1000000 ? next_ns : now_ns - 1000000;
    } while (!atomic_compare_exchange_weak_explicit(
        &cell->pace_next_ns, &next_ns, mfs_time_plus(start_ns, mfs_span_bytes(bytes, pace_Bps)),
        memory_order_relaxed, memory_order_relaxed));
    return true;
}

int mfs_member_acquire_next(struct mfs_member *member, const struct mfs_next *next, int64_t now_ns,
                            bool *turn_out, uint64_t *bytes_out)
{
    struct mfs_port *port = member->port;
    struct others others;
    uint64_t total, bytes;
    bool turn;

    publish(member->cell, next, now_ns);
    others = look_around(port, member->cell, now_ns);
    reap_sometimes(port, others.stale, now_ns);
    if (whose_turn(port->cell, next, &others, &turn) != 0)
        return -EBUSY;
    bytes = turn ? next->untagged_bytes : next->bytes;
    total = others.inflight_bytes +
            atomic_load_explicit(&member->cell->inflight_bytes, memory_order_relaxed);
    if (total > 0 && total + bytes > mfs_port_window(port)) {
        atomic_store_explicit(&port->cell->sample_full, 1, memory_order_relaxed);
        return -ENOBUFS;
    }
    if (!pace_take(port->cell, bytes, now_ns))
        return -EAGAIN;
    if (total == 0) { /* the port ran empty: measure from here */
        atomic_store_explicit(&port->cell->sample_bytes, 0, memory_order_relaxed);
        atomic_store_explicit(&port->cell->sample_full, 0, memory_order_relaxed);
        atomic_store_explicit(&port->cell->sample_since_ns, now_ns, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&member->cell->inflight_bytes, bytes, memory_order_relaxed);
    if (turn || next->untagged)
        share_spend(port->cell, bytes);
    else if (next->untagged_rank != MFS_RANK_NONE || others.untagged_best != MFS_RANK_NONE)
        share_earn(port->cell, bytes);
    *turn_out = turn;
    *bytes_out = bytes;
    return 0;
}

int mfs_member_acquire(struct mfs_member *member, mfs_rank_t rank, uint64_t bytes, int64_t now_ns)
{
    const struct mfs_next next = {.rank = rank, .untagged_rank = MFS_RANK_NONE, .bytes = bytes};
    bool turn;

    return mfs_member_acquire_next(member, &next, now_ns, &turn, &bytes);
}

static void measure(struct mfs_port_cell *cell, uint64_t bytes, int64_t now_ns)
{
    int64_t since_ns = atomic_load_explicit(&cell->sample_since_ns, memory_order_relaxed);
    uint64_t rate_Bps, sample_Bps;
    bool full;

    atomic_fetch_add_explicit(&cell->sample_bytes, bytes, memory_order_relaxed);
    if (now_ns - since_ns < SAMPLE_NS ||
        !atomic_compare_exchange_strong_explicit(&cell->sample_since_ns, &since_ns, now_ns,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    bytes = atomic_exchange_explicit(&cell->sample_bytes, 0, memory_order_relaxed);
    full = atomic_exchange_explicit(&cell->sample_full, 0, memory_order_relaxed);
    rate_Bps = atomic_load_explicit(&cell->rate_Bps, memory_order_relaxed);
    sample_Bps = (uint64_t)((double)bytes * 1e9 / (double)(now_ns - since_ns));
    if (!full && (rate_Bps == 0 || sample_Bps <= rate_Bps))
        return;
    atomic_store_explicit(&cell->rate_Bps, mfs_rate_blend(rate_Bps, sample_Bps),
                          memory_order_relaxed);
}

void mfs_member_done(struct mfs_member *member, uint64_t bytes, int64_t now_ns)
{
    uint64_t inflight = atomic_load_explicit(&member->cell->inflight_bytes, memory_order_relaxed);

    /* never below zero, also when the cell was taken for dead and cleared meanwhile */
    while (!atomic_compare_exchange_weak_explicit(&member->cell->inflight_bytes, &inflight,
                                                  inflight > bytes ? inflight - bytes : 0,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    atomic_store_explicit(&member->cell->stamp_ns, now_ns, memory_order_relaxed);
    if (mfs_config_get()->port_rate == 0)
        measure(member->port->cell, bytes, now_ns);
}

uint64_t mfs_port_rate_Bps(const struct mfs_port *port)
{
    return atomic_load_explicit(&port->cell->rate_Bps, memory_order_relaxed);
}

double mfs_port_rate_margin(const struct mfs_port *port)
{
    (void)port;
    return mfs_config_get()->port_rate > 0 ? 1.0 : 2.0;
}

uint64_t mfs_port_window(const struct mfs_port *port)
{
    struct mfs_window_config window;

    window_config(&window);
    return mfs_window_bytes(&window, mfs_port_rate_Bps(port));
}

uint64_t mfs_port_chunk(const struct mfs_port *port)
{
    struct mfs_window_config window;

    window_config(&window);
    return mfs_window_chunk(&window, mfs_port_rate_Bps(port));
}

uint64_t mfs_port_inflight(struct mfs_port *port, int64_t now_ns)
{
    return look_around(port, NULL, now_ns).inflight_bytes;
}

int64_t mfs_port_pace_ns(const struct mfs_port *port)
{
    return atomic_load_explicit(&port->cell->pace_next_ns, memory_order_relaxed);
}
