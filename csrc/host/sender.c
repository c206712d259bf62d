/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THREADS AND PROCESSES: A cell is written by its owner and read by all; no word depends on
 * another being read at the same instant. Two senders may both see the last room in the window and
 * both take it: the port is then over its window by a chunk for each, which is harmless; a lock
 * would be worse, since its holder can be stopped. The same holds for ranks: a chunk may slip in
 * front of a better one that was published a moment later.
 *
 * WAITING FOR OTHERS: "better and waiting" only counts while the other moves: its stamp is renewed
 * whenever it looks at its queue. One that has not moved for the lease (stopped, dead, or busy
 * elsewhere) is passed over, its bytes in flight too; if its lock shows that it is dead, what it
 * held is given back. One that dies with nothing waiting and nothing in flight is in nobody's way,
 * and an idle one that lives looks just the same: whoever sends looks for those once a second.
 *
 * TRUST: What stands in a cell may be anything: a process writes into it that may have gone wrong.
 * A stamp of the future is old, a cell count is cut to what there is, and a sum stops at its end,
 * so the worst that a word does is to be not waited for, or to hold the others up for a lease.
 * Words that say where a sender is to be found are held against what it knows whenever it looks.
 */
#include "host/sender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/atomic.h"
#include "host/config.h"
#include "host/attach.h"
#include "host/cell.h"
#include "host/claims.h"
#include "host/member.h"
#include "host/overlap.h"
#include "host/remember.h"
#include "host/waits.h"

#define REAP_EVERY_NS INT64_C(10000000)    /* while somebody in the way does not move */
#define REAP_IDLE_NS (100 * REAP_EVERY_NS) /* while nobody is */
#define HELD_MAX (UINT64_C(1) << 50)       /* bytes that one may say to have in flight */

/* A sender's place on its port. */
struct place {
    struct mfs_host *host;
    struct mfs_port *port;
    struct mfs_sender_cell *cell;
    struct mfs_remember remember;
    struct mfs_overlaps overlaps;
    uint32_t owner; /* what stands in the cell */
    uint32_t number; /* of the cell, from 1 on */
    uint8_t member; /* that stands there */
    int64_t lease_ns;
    int64_t chores_ns; /* not before: the first of the next two */
    int64_t waits_ns, claims_ns;
    struct mfs_sender *sender; /* NULL: it is being made */
    struct mfs_waits waits;
    struct mfs_claims claims;
};

/* --- what a sender tells and sees --- */

static void publish(void *ctx, const struct mfs_told *told, int64_t now_ns)
{
    mfs_cell_tell(((struct place *)ctx)->cell, told, now_ns);
}

/* A rank of the port's i-th sender, as it is to be compared with ours. */
static inline mfs_rank_t weighed(const struct place *place, uint32_t i, mfs_rank_t rank)
{
    const struct mfs_port_cell *port = place->port->cell;
    const struct mfs_weigher *own = place->sender ? &place->sender->weigher : NULL;
    uint32_t member;
    uint64_t clock;

    if (!own || mfs_rank_level(rank) != own->level)
        return rank;
    member = mfs_get(&port->member_of[i]);
    if (member == place->member || member == 0 || member > MFS_SENDERS_MAX)
        return rank;
    clock = mfs_get(&port->weigh_clock);
    return mfs_weigh_rank(
        rank, mfs_weigh_turn(clock, mfs_get(&port->members[member - 1].mark), MFS_WEIGHT_LEAST),
        mfs_weigh_turn(clock, mfs_get(own->mark), own->weight));
}

/* place: who looks, from a cell of the port; NULL: from beside it. False: somebody in the way does
 * not move. */
static inline __attribute__((always_inline)) bool look_around(const struct mfs_port_cell *port,
                                                              const struct place *place,
                                                              int64_t lease_ns, int64_t now_ns,
                                                              struct mfs_others *others)
{
    const uint32_t high = mfs_at_most(mfs_see(&port->senders_high), MFS_SENDERS_MAX);
    bool all_move = true;

    for (uint32_t i = 0; i < high; i++) {
        const struct mfs_sender_cell *cell = &port->senders[i];
        mfs_rank_t rank, untagged_rank;
        uint64_t inflight, slow;

        if (place && cell == place->cell)
            continue;
        others->done_bytes += mfs_get(&cell->done_bytes);
        if (!mfs_see(&cell->owner))
            continue;
        rank = mfs_get(&cell->rank);
        inflight = mfs_get(&cell->inflight_bytes);
        slow = mfs_get(&cell->slow_kib);
        if (rank == MFS_RANK_NONE && (inflight | slow) == 0)
            continue;
        if (!mfs_stamp_fresh(mfs_see(&cell->stamp_ns), now_ns, lease_ns)) {
            all_move = false;
            continue;
        }
        others->inflight_bytes += inflight < HELD_MAX ? inflight : HELD_MAX;
        others->slow_bytes += slow << 10;
        untagged_rank = mfs_get(&cell->untagged_rank);
        if (place) {
            rank = weighed(place, i, rank);
            untagged_rank = weighed(place, i, untagged_rank);
        }
        if (rank < others->best)
            others->best = rank;
        if (untagged_rank < others->untagged_best) {
            others->untagged_best = untagged_rank;
            others->untagged_bytes = mfs_get(&cell->untagged_bytes);
        }
    }
    return all_move;
}

/* From beside the port. */
static __attribute__((noinline)) bool look_at(const struct mfs_port_cell *port, int64_t lease_ns,
                                              int64_t now_ns, struct mfs_others *others)
{
    *others = (struct mfs_others){.best = MFS_RANK_NONE, .untagged_best = MFS_RANK_NONE};
    return look_around(port, NULL, lease_ns, now_ns, others);
}

static void chores_set(struct place *place)
{
    place->chores_ns = place->waits_ns < place->claims_ns ? place->waits_ns : place->claims_ns;
}

static uint32_t microseconds(int64_t span_ns)
{
    const int64_t most_ns = 4000000000000;

    return (uint32_t)((span_ns < 0 ? 0 : span_ns < most_ns ? span_ns : most_ns) / 1000);
}

/*
 * How long the sender mostly does not look while something waits that did not fit, and how long
 * its window lasts. This is asked at the first look after a fixed time, which lies in a long
 * absence more probably than in a short one: so it is the mean over time, not over looks.
 */
static void duty_tell(const struct place *place, int64_t now_ns)
{
    const struct mfs_window_state *window = &place->sender->window;
    const double full = (double)window->window_bytes, more = (double)mfs_window_state_added(window);
    const uint64_t before = mfs_get(&place->cell->away_us);
    const int64_t away_ns = window->full ? now_ns - window->looked_ns : 0;
    const double covers_ns = full > 0 ? (double)window->drain_ns * (full + more) / full : 0;

    mfs_set(&place->cell->away_us, (uint32_t)((3 * before + microseconds(away_ns)) / 4));
    mfs_set(&place->cell->covers_us, microseconds((int64_t)covers_ns));
}

/* What is done now and then. */
static __attribute__((noinline, cold)) void chores(struct place *place, bool all_move,
                                                   int64_t now_ns)
{
    struct mfs_port_cell *port = place->port->cell;
    int64_t due_ns = mfs_get(&port->reap_next_ns);
    const int64_t wait_ns = all_move ? REAP_IDLE_NS : 0;

    /* see, not too often, whether somebody is dead; sooner if somebody in the way does not move */
    if (mfs_moment_come(due_ns, now_ns - wait_ns, REAP_IDLE_NS + REAP_EVERY_NS) &&
        mfs_replace(&port->reap_next_ns, &due_ns, now_ns + REAP_EVERY_NS))
        mfs_process_reap(place->host);
    if (!place->sender || now_ns < place->chores_ns)
        return;
    mfs_set(&port->member_of[place->number - 1], place->member);
    if (now_ns >= place->waits_ns) {
        duty_tell(place, now_ns);
        place->waits_ns = mfs_waits_tell(&place->waits, place->sender, now_ns);
    }
    if (now_ns >= place->claims_ns)
        place->claims_ns = mfs_claims_tell(&place->claims, place->host, port, place->cell,
                                           place->sender, place->lease_ns, now_ns);
    chores_set(place);
}

/* Somebody has written over the words by which the others find this sender. */
static __attribute__((noinline, cold)) void place_again(const struct place *place)
{
    (void)mfs_process_overwritten(place->host);
    mfs_set(&place->cell->owner, place->owner);
    mfs_set(&place->port->cell->member_of[place->number - 1], place->member);
    if (mfs_get(&place->port->cell->senders_high) < place->number)
        mfs_publish(&place->port->cell->senders_high, place->number);
}

/*
 * Untagged traffic here has waited beside tagged traffic of that port, where its share was earned:
 * what pays for its next chunk is taken over from there.
 */
static void share_take(const struct place *place, struct mfs_port_cell *from)
{
    const struct mfs_told *told = &place->sender->told;
    struct mfs_port_state *own = &place->port->cell->state;
    const uint64_t share = mfs_config_get()->untagged_share;

    if (told->untagged_rank != MFS_RANK_NONE && !mfs_share_due(own, share, told->untagged_bytes))
        mfs_share_move(&from->state, own, told->untagged_bytes);
}

/* The senders of ports that have a device in common with this one. False: as look_around(). */
static __attribute__((noinline, cold)) bool look_beside(struct place *place, uint64_t word,
                                                        int64_t now_ns, struct mfs_others *others)
{
    struct mfs_port_cell *ports = place->host->segment->ports;
    struct mfs_overlaps *overlaps = &place->overlaps;
    struct mfs_beside beside = {0};
    bool all_move = true;

    if (overlaps->word != word)
        mfs_overlaps_read(place->host, (uint32_t)(place->port->cell - ports), word, overlaps);
    for (uint32_t i = 0; i < overlaps->count; i++) {
        struct mfs_port_cell *port = &ports[overlaps->with[i].port];
        struct mfs_others theirs;

        all_move = look_at(port, place->lease_ns, now_ns, &theirs) && all_move;
        mfs_beside_add(&beside, &overlaps->with[i], &theirs);
        if (theirs.best < others->best)
            others->best = theirs.best;
        if (theirs.untagged_best < others->untagged_best) {
            others->untagged_best = theirs.untagged_best;
            others->untagged_bytes = theirs.untagged_bytes;
        }
        if (place->sender)
            share_take(place, port);
    }
    mfs_beside_sum(&beside, overlaps, others);
    return all_move;
}

static void look(void *ctx, int64_t now_ns, struct mfs_others *others)
{
    struct place *place = ctx;
    const uint64_t word = mfs_get(&place->port->cell->beside);
    bool all_move = look_around(place->port->cell, place, place->lease_ns, now_ns, others);

    if (!MFS_LIKELY(!mfs_overlaps_any(word)))
        all_move = look_beside(place, word, now_ns, others) && all_move;
    if (mfs_get(&place->cell->owner) != place->owner ||
        mfs_get(&place->port->cell->senders_high) < place->number)
        place_again(place);
    if (!all_move || now_ns >= place->chores_ns)
        chores(place, all_move, now_ns);
}

static int64_t now(void *ctx, bool exact)
{
    struct timespec coarse;

    (void)ctx;
    if (exact)
        return mfs_now_ns();
    clock_gettime(CLOCK_MONOTONIC_COARSE, &coarse);
    return (int64_t)coarse.tv_sec * 1000000000 + coarse.tv_nsec;
}

/* How late that clock may be: it moves with the kernel's tick. */
static int64_t vague_ns(void)
{
    struct timespec tick;

    if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0)
        return 10000000; /* the longest tick that Linux has */
    return (int64_t)tick.tv_sec * 1000000000 + tick.tv_nsec;
}

uint64_t mfs_port_inflight(struct mfs_port *port, int64_t now_ns)
{
    struct mfs_others others;

    (void)look_at(port->cell, mfs_config_get()->lease, now_ns, &others);
    return others.inflight_bytes;
}

uint32_t mfs_port_stalled(const struct mfs_port *port)
{
    const uint32_t high = mfs_at_most(mfs_see(&port->cell->senders_high), MFS_SENDERS_MAX);
    uint32_t stalled = 0;

    for (uint32_t i = 0; i < high; i++)
        stalled += mfs_get(&port->cell->senders[i].stalled);
    return stalled;
}

/* --- joining and leaving --- */

static void params_init(const struct mfs_port *port, struct mfs_params *params)
{
    const struct mfs_config *config = mfs_config_get();

    mfs_params_init(params);
    params->patience = (uint32_t)config->patience;
    params->rate_margin = mfs_port_rate_margin(port);
    params->hold_ns = config->hold_max;
}

static uint64_t facts_version(void *ctx)
{
    return mfs_request_version(((struct place *)ctx)->host);
}

static bool facts_read(void *ctx, uint64_t request, struct mfs_facts *facts)
{
    struct place *place = ctx;

    return mfs_remember_read(&place->remember, place->host, request, facts);
}

static int sender_make(struct place *place, const struct mfs_transport_ops *transport,
                       uint32_t weight, struct mfs_sender **sender)
{
    struct mfs_port_cell *port = place->port->cell;
    const struct mfs_config *settings = mfs_config_get();
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.policy = mfs_host_policy(place->host);
    mfs_remember_init(&place->remember);
    config.queue.facts = (struct mfs_facts_source){place, facts_version, facts_read};
    config.queue.watch = mfs_event_watch(place->port);
    params_init(place->port, &config.queue.params);
    config.queue.params.rate_Bps =
        settings->port_rate > 0 ? settings->port_rate : mfs_port_rate_Bps(place->port);
    mfs_port_window_config(place->port, &config.window);
    config.untagged_permille = settings->untagged_share;
    config.pace_Bps = settings->pace;
    config.lease_ns = settings->lease;
    config.rate_known = settings->port_rate > 0;
    config.port = &place->port->cell->state;
    config.weigher = (struct mfs_weigher){.clock = &port->weigh_clock,
                                          .mark = &port->members[place->member - 1].mark,
                                          .weight = weight};
    config.others = (struct mfs_port_ops){look, publish, now, place, vague_ns()};
    if (transport)
        config.transport = *transport;
    return mfs_sender_create(&config, sender);
}

int mfs_sender_join(struct mfs_host *host, const char *port, enum mfs_direction direction,
                    const struct mfs_transport_ops *transport, struct mfs_sender **sender)
{
    struct place *place = calloc(1, sizeof(*place));
    struct mfs_member member;
    int error;

    if (!place)
        return -ENOMEM;
    mfs_member_read("/proc/self", "/sys/fs/cgroup", (uint32_t)mfs_config_get()->weight, &member);
    place->host = host;
    place->lease_ns = mfs_config_get()->lease;
    error = mfs_port_open(host, port, direction, &place->port);
    if (!error)
        error = mfs_cell_take(host, place->port->cell, &place->waits, member.key, &place->member,
                              &place->cell);
    if (!error) {
        place->owner = host->process + 1;
        place->number = (uint32_t)(place->cell - place->port->cell->senders) + 1;
        error = sender_make(place, transport, member.weight, sender);
    }
    if (!error) {
        (*sender)->told.done_bytes = mfs_get(&place->cell->done_bytes);
        place->sender = *sender;
        return 0;
    }
    mfs_waits_close(&place->waits);
    if (place->cell)
        mfs_cell_clear(place->cell);
    mfs_port_close(place->port);
    free(place);
    return error;
}

void mfs_sender_leave(struct mfs_sender *sender)
{
    struct place *place;

    if (!sender)
        return;
    place = sender->others.ctx;
    mfs_sender_destroy(sender);
    mfs_waits_close(&place->waits);
    mfs_claims_close(&place->claims, place->host);
    mfs_cell_clear(place->cell);
    mfs_port_close(place->port);
    free(place);
}

void mfs_sender_follow(struct mfs_sender *sender)
{
    const struct place *place = sender->others.ctx;
    struct mfs_params params;

    params_init(place->port, &params);
    (void)mfs_sender_set_policy(sender, mfs_host_policy(place->host), &params, mfs_now_ns());
}

void mfs_sender_tell_waits(struct mfs_sender *sender, int64_t now_ns)
{
    struct place *place = sender->others.ctx;

    if (now_ns < place->waits_ns - place->waits.every_ns + MFS_WAITS_SLEEP_NS)
        return;
    place->waits_ns = mfs_waits_tell(&place->waits, sender, now_ns);
    chores_set(place);
}

const _Atomic uint64_t *mfs_host_settings_word(struct mfs_host *host)
{
    return &host->segment->settings_version;
}
