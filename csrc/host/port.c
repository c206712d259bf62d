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
 */
#include "host/port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/account.h"
#include "host/config.h"
#include "host/room.h"
#include "host/attach.h"

#define REAP_EVERY_NS INT64_C(10000000)     /* while somebody in the way does not move */
#define REAP_IDLE_NS (100 * REAP_EVERY_NS)  /* while nobody is */

struct mfs_member {
    struct mfs_member_cell *cell;
    struct mfs_port_cell *port_cell;
    const struct mfs_config *config;
    bool shared; /* by threads without a lock of their own around it */
    _Atomic bool rested; /* it had nothing waiting and nothing in flight since its last acquire */
    struct mfs_room room;
    struct mfs_port *port;
};

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
        member->port_cell = port->cell;
        member->cell = cell;
        member->config = mfs_config_get();
        mfs_room_init(&member->room);
        atomic_store_explicit(&member->rested, true, memory_order_relaxed);
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

void mfs_member_share(struct mfs_member *member)
{
    member->shared = true;
}

void mfs_port_leave(struct mfs_member *member)
{
    if (!member)
        return;
    cell_clear(member->cell);
    free(member);
}

void mfs_members_reap(struct mfs_segment *segment, const struct mfs_living *living)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        for (uint32_t j = 0; j < MFS_MEMBERS_MAX; j++) {
            struct mfs_member_cell *cell = &segment->ports[i].members[j];
            const uint32_t owner = atomic_load_explicit(&cell->owner, memory_order_relaxed);

            if (owner && !mfs_living_owner(living, owner))
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

/* Nothing of it waits or is under way: the port may be idle from here on. */
static void rest(struct mfs_member *member)
{
    if (atomic_load_explicit(&member->cell->rank, memory_order_relaxed) == MFS_RANK_NONE &&
        atomic_load_explicit(&member->cell->inflight_bytes, memory_order_relaxed) == 0)
        atomic_store_explicit(&member->rested, true, memory_order_relaxed);
}

void mfs_member_publish(struct mfs_member *member, mfs_rank_t rank, int64_t now_ns)
{
    const struct mfs_next next = {.rank = rank, .untagged_rank = MFS_RANK_NONE};

    publish(member->cell, &next, now_ns);
    rest(member);
}

/* One word of the member's own, which others only read. */
static inline void add(const struct mfs_member *member, _Atomic uint64_t *word, uint64_t amount)
{
    if (member->shared)
        atomic_fetch_add_explicit(word, amount, memory_order_relaxed);
    else
        atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + amount,
                              memory_order_relaxed);
}

/* The same; never below zero, also when the cell was taken for dead and cleared meanwhile. */
static inline void subtract(const struct mfs_member *member, _Atomic uint64_t *word,
                            uint64_t amount)
{
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed);

    if (!member->shared) {
        atomic_store_explicit(word, before > amount ? before - amount : 0, memory_order_relaxed);
        return;
    }
    while (!atomic_compare_exchange_weak_explicit(word, &before,
                                                  before > amount ? before - amount : 0,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* What the others of the port hold and want. */
struct others {
    uint64_t inflight_bytes;
    mfs_rank_t best;
    mfs_rank_t untagged_best;
    uint64_t untagged_bytes; /* of that one's chunk */
    bool stale;
};

static inline struct others look_around(const struct mfs_port_cell *port,
                                        const struct mfs_member_cell *self, int64_t now_ns)
{
    const uint32_t high = atomic_load_explicit(&port->members_high, memory_order_acquire);
    struct others others = {.best = MFS_RANK_NONE, .untagged_best = MFS_RANK_NONE};

    for (uint32_t i = 0; i < high; i++) {
        const struct mfs_member_cell *cell = &port->members[i];
        mfs_rank_t rank, untagged_rank;
        uint64_t inflight;

        if (cell == self || !atomic_load_explicit(&cell->owner, memory_order_acquire))
            continue;
        rank = atomic_load_explicit(&cell->rank, memory_order_relaxed);
        inflight = atomic_load_explicit(&cell->inflight_bytes, memory_order_relaxed);
        if (rank == MFS_RANK_NONE && inflight == 0)
            continue;
        if (now_ns - atomic_load_explicit(&cell->stamp_ns, memory_order_acquire) >
            mfs_config_get()->lease) {
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

/* -EBUSY: another goes first. *turn: our best untagged chunk is due. */
static int whose_turn(const struct mfs_port_cell *cell, const struct mfs_next *next,
                      const struct others *others, bool *turn)
{
    if (next->untagged_rank <= others->untagged_best)
        *turn = next->untagged_rank != MFS_RANK_NONE && mfs_account_due(cell, next->untagged_bytes);
    else
        *turn = false;
    if (*turn)
        return 0;
    if (others->untagged_best < next->untagged_rank &&
        mfs_account_due(cell, others->untagged_bytes))
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

/* What mfs_member_acquire_next promises; what waits here, and that we move, has been published. */
static inline int acquire(struct mfs_member *member, const struct mfs_next *next, int64_t now_ns,
                          bool *turn_out, uint64_t *bytes_out)
{
    struct mfs_port_cell *port = member->port_cell;
    const struct others others = look_around(port, member->cell, now_ns);
    const uint64_t total =
        others.inflight_bytes +
        atomic_load_explicit(&member->cell->inflight_bytes, memory_order_relaxed);
    uint64_t bytes;
    bool turn;

    reap_sometimes(member->port, others.stale, now_ns);
    mfs_room_look(&member->room, total == 0, now_ns);
    if (whose_turn(port, next, &others, &turn) != 0)
        return -EBUSY;
    bytes = turn ? next->untagged_bytes : next->bytes;
    if (!mfs_room_fits(&member->room, atomic_load_explicit(&port->rate_Bps, memory_order_relaxed),
                       total, bytes)) {
        atomic_store_explicit(&port->sample_full, 1, memory_order_relaxed);
        return -ENOBUFS;
    }
    if (member->config->pace > 0 && !mfs_account_pace(port, bytes, now_ns))
        return -EAGAIN;
    if (total == 0 &&
        atomic_load_explicit(&member->rested,
                             memory_order_relaxed)) /* the port was idle: measure from here */
        mfs_account_begin(port, now_ns);
    atomic_store_explicit(&member->rested, false, memory_order_relaxed);
    add(member, &member->cell->inflight_bytes, bytes);
    if (turn || next->untagged)
        mfs_account_spend(port, bytes);
    else if (next->untagged_rank != MFS_RANK_NONE || others.untagged_best != MFS_RANK_NONE)
        mfs_account_earn(port, bytes);
    *turn_out = turn;
    *bytes_out = bytes;
    return 0;
}

int mfs_member_acquire_next(struct mfs_member *member, const struct mfs_next *next, int64_t now_ns,
                            bool *turn, uint64_t *bytes)
{
    publish(member->cell, next, now_ns);
    return acquire(member, next, now_ns, turn, bytes);
}

int mfs_member_acquire(struct mfs_member *member, mfs_rank_t rank, uint64_t bytes, int64_t now_ns)
{
    const struct mfs_next next = {.rank = rank, .untagged_rank = MFS_RANK_NONE, .bytes = bytes};
    bool turn;

    return mfs_member_acquire_next(member, &next, now_ns, &turn, &bytes);
}

/*
 * The time, where nothing waits: from the coarse clock, some milliseconds late and several times
 * cheaper than the other, unless a sample of the bandwidth begins or ends.
 */
static int64_t coarse_now_ns(const struct mfs_member *member)
{
    struct timespec coarse;
    int64_t now_ns;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &coarse);
    now_ns = (int64_t)coarse.tv_sec * 1000000000 + coarse.tv_nsec;
    if (atomic_load_explicit(&member->rested, memory_order_relaxed) ||
        mfs_account_sample_due(member->port_cell, now_ns))
        now_ns = mfs_now_ns();
    return now_ns;
}

int mfs_member_express(struct mfs_member *member, uint64_t bytes, uint64_t largest)
{
    /* the last rank of all: it goes only when nobody of this host waits for the port */
    const struct mfs_next next = {
        .rank = MFS_RANK_NONE - 1, .untagged_rank = MFS_RANK_NONE, .bytes = bytes};
    int64_t now_ns;
    bool turn;

    if (bytes > (largest > 0 ? largest : mfs_member_chunk(member)))
        return -EMSGSIZE;
    now_ns = coarse_now_ns(member);
    atomic_store_explicit(&member->cell->stamp_ns, now_ns, memory_order_release);
    return acquire(member, &next, now_ns, &turn, &bytes);
}

void mfs_member_overdraw(struct mfs_member *member, uint64_t bytes)
{
    add(member, &member->cell->inflight_bytes, bytes);
}

static inline void done(struct mfs_member *member, uint64_t bytes, uint64_t released_bytes,
                        int64_t now_ns)
{
    subtract(member, &member->cell->inflight_bytes, released_bytes);
    add(member, &member->cell->done_bytes, bytes);
    atomic_store_explicit(&member->cell->stamp_ns, now_ns, memory_order_relaxed);
    rest(member);
    if (member->config->port_rate == 0)
        mfs_account_measure(member->port_cell, now_ns);
}

void mfs_member_done(struct mfs_member *member, uint64_t bytes, int64_t now_ns)
{
    done(member, bytes, bytes, now_ns);
}

void mfs_member_done_now(struct mfs_member *member, uint64_t bytes, uint64_t released_bytes)
{
    done(member, bytes, released_bytes, coarse_now_ns(member));
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

    mfs_room_config(&window);
    return mfs_window_bytes(&window, mfs_port_rate_Bps(port));
}

uint64_t mfs_port_chunk(const struct mfs_port *port)
{
    struct mfs_window_config window;

    mfs_room_config(&window);
    return mfs_window_chunk(&window, mfs_port_rate_Bps(port));
}

uint64_t mfs_member_chunk(struct mfs_member *member)
{
    return mfs_room_chunk(&member->room,
                          atomic_load_explicit(&member->port_cell->rate_Bps, memory_order_relaxed));
}

uint64_t mfs_port_inflight(struct mfs_port *port, int64_t now_ns)
{
    return look_around(port->cell, NULL, now_ns).inflight_bytes;
}
