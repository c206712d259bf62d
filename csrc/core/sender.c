/* SPDX-License-Identifier: Apache-2.0 */
#include "core/sender.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"

#define CHUNKS_A_LOOK 8 /* at the clock, which costs more than a small chunk */
#define SAY_NS INT64_C(1000000000) /* a stall that is worth a line in a log */
#define TRIAL_EVERY_NS INT64_C(100000000)   /* between two trials of try_others() at first */
#define TRIAL_RARELY_NS INT64_C(3000000000) /* and in the end */
#define SPARE_SHARE 8   /* of a chunk may be kept for express operations: one part in so many */

/* --- made and ended --- */

void mfs_sender_config_init(struct mfs_sender_config *config)
{
    memset(config, 0, sizeof(*config));
    mfs_rmlq_config_init(&config->queue);
    mfs_window_config_init(&config->window);
    config->window.window_bytes = UINT64_MAX / 4;
    config->untagged_permille = 50;
    config->lease_ns = 20000000;
}

int mfs_sender_create(const struct mfs_sender_config *config, struct mfs_sender **out)
{
    struct mfs_sender *sender;
    int error;

    if (config->untagged_permille > 1000 || config->lease_ns <= 0)
        return -EINVAL;
    sender = calloc(1, sizeof(*sender));
    if (!sender)
        return -ENOMEM;
    error = mfs_rmlq_create(&config->queue, &sender->queue);
    if (error) {
        free(sender);
        return error;
    }
    sender->port = config->port ? config->port : &sender->own_port;
    if (!config->port)
        mfs_set(&sender->own_port.rate_Bps, config->queue.params.rate_Bps);
    sender->others = config->others;
    sender->transport = config->transport;
    sender->destinations.queue = sender->queue;
    sender->told = (struct mfs_told){.rank = MFS_RANK_NONE, .untagged_rank = MFS_RANK_NONE};
    sender->untagged_permille = config->untagged_permille;
    sender->pace_Bps = config->pace_Bps;
    sender->lease_ns = config->lease_ns;
    sender->rate_known = config->rate_known;
    sender->rested = true;
    mfs_window_state_init(&sender->window, &config->window);
    *out = sender;
    return 0;
}

void mfs_sender_destroy(struct mfs_sender *sender)
{
    if (!sender)
        return;
    mfs_rmlq_destroy(sender->queue);
    free(sender);
}

int mfs_sender_open(struct mfs_sender *sender, struct mfs_destination *destination, void *user)
{
    return mfs_destination_open(&sender->destinations, destination, user);
}

/* --- the others of the port --- */

static inline void publish(struct mfs_sender *sender, int64_t now_ns)
{
    sender->told.inflight_bytes = sender->destinations.in[MFS_DESTINATION_OPEN].bytes;
    sender->told.stalled = sender->destinations.stalled;
    if (sender->others.publish)
        sender->others.publish(sender->others.ctx, &sender->told, now_ns);
}

static inline void look(struct mfs_sender *sender, int64_t now_ns, struct mfs_others *others)
{
    *others = (struct mfs_others){.best = MFS_RANK_NONE, .untagged_best = MFS_RANK_NONE};
    if (sender->others.look)
        sender->others.look(sender->others.ctx, now_ns, others);
    sender->others_bytes = others->inflight_bytes;
}

/* Of all senders of the port. */
static uint64_t done_bytes(struct mfs_sender *sender, int64_t now_ns)
{
    struct mfs_others others;

    look(sender, now_ns, &others);
    return others.done_bytes + sender->told.done_bytes;
}

static struct mfs_patience patience(const struct mfs_sender *sender, int64_t now_ns)
{
    const struct mfs_window_state *window = &sender->window;
    int64_t due_ns = window->drain_ns;

    if (due_ns > 0 && window->more_bytes > 0)
        due_ns +=
            (int64_t)((double)due_ns * (double)window->more_bytes / (double)window->window_bytes);
    if (due_ns < window->config.depth_ns) /* also while the rate is not known */
        due_ns = window->config.depth_ns;
    return (struct mfs_patience){due_ns, mfs_window_state_away(window, now_ns), sender->lease_ns,
                                 window->window_bytes};
}

/* The owner looks: what does not leave in time leaves the account instead. True if so. */
static bool look_at_destinations(struct mfs_sender *sender, const struct mfs_others *others,
                                 int64_t now_ns)
{
    const uint64_t open = sender->destinations.in[MFS_DESTINATION_OPEN].bytes;
    struct mfs_destination *stalled;
    struct mfs_patience limits;

    mfs_window_state_look(&sender->window, open + others->inflight_bytes == 0, now_ns);
    if (sender->destinations.busy == 0)
        return false;
    stalled = mfs_destination_unsaid(&sender->destinations, SAY_NS, now_ns);
    if (stalled && sender->transport.stalled)
        sender->transport.stalled(sender->transport.ctx, stalled, now_ns - stalled->moved_ns);
    limits = patience(sender, now_ns);
    if (!mfs_destination_look(&sender->destinations, &limits, now_ns))
        return false;
    mfs_sample_is(sender->port, MFS_SAMPLE_SLOW); /* it was not the port */
    return true;
}

/* Nothing of it waits or is under way: the port may be idle from here on. */
static inline void rest(struct mfs_sender *sender)
{
    if (sender->told.rank == MFS_RANK_NONE && sender->destinations.busy == 0)
        sender->rested = true;
}

/* --- what goes next --- */

/* Of a voq, which is the first member of its destination. */
static inline struct mfs_destination *destination_of(struct mfs_voq *voq)
{
    return (struct mfs_destination *)(void *)voq;
}

/* The port has room for it beside all that is in flight, or its destination takes so much. */
static bool slow_fits(const struct mfs_sender *sender, const struct mfs_head *slow)
{
    const struct mfs_destination *destination = destination_of(slow->voq);
    const uint64_t held = sender->others_bytes +
                          sender->destinations.in[MFS_DESTINATION_OPEN].bytes +
                          sender->destinations.in[MFS_DESTINATION_SLOW].bytes;

    return destination->inflight_bytes + slow->bytes <= destination->allowed_bytes ||
           mfs_window_state_fits(&sender->window, held, slow->bytes);
}

/* The best chunk of a kind that can be sent: of the open destinations or, where it is better and
 * there is room for it, of the slow ones. */
static void candidate(const struct mfs_sender *sender, enum mfs_kind kind, uint64_t max_bytes,
                      struct mfs_head *best)
{
    const struct mfs_destinations *all = &sender->destinations;
    struct mfs_head slow;

    mfs_rmlq_head(sender->queue, MFS_VOQ_OPEN, kind, max_bytes, best);
    if (MFS_LIKELY(!all->in[MFS_DESTINATION_SLOW].first))
        return;
    mfs_rmlq_head(sender->queue, MFS_VOQ_SLOW, kind, max_bytes, &slow);
    if (slow.rank < best->rank && slow_fits(sender, &slow))
        *best = slow;
}

struct heads {
    struct mfs_head of[MFS_KINDS];
};

static inline void see_heads(struct mfs_sender *sender, uint64_t max_bytes, struct heads *heads)
{
    const struct mfs_head *tagged = &heads->of[MFS_TAGGED], *untagged = &heads->of[MFS_UNTAGGED];

    for (int kind = 0; kind < MFS_KINDS; kind++)
        candidate(sender, kind, max_bytes, &heads->of[kind]);
    sender->told.rank = tagged->rank < untagged->rank ? tagged->rank : untagged->rank;
    sender->told.untagged_rank = untagged->rank;
    sender->told.untagged_bytes = untagged->bytes;
}

/* Every flow to where it belongs, at the port's rate of now. */
static inline void settle(struct mfs_sender *sender, int64_t now_ns)
{
    const uint64_t rate_Bps = mfs_get(&sender->port->rate_Bps);

    mfs_window_state_rate(&sender->window, rate_Bps);
    mfs_rmlq_set_rate(sender->queue, rate_Bps, now_ns);
    mfs_rmlq_settle(sender->queue, now_ns);
}

void mfs_sender_publish(struct mfs_sender *sender, int64_t now_ns)
{
    struct heads heads;

    settle(sender, now_ns);
    see_heads(sender, sender->window.chunk_bytes, &heads);
    publish(sender, now_ns);
    rest(sender);
}

/* Whose turn is it? 0: our best's; 1: our best untagged one's; -EBUSY: another's. */
static int whose_turn(const struct mfs_sender *sender, const struct mfs_told *told,
                      const struct mfs_others *others)
{
    const uint64_t share = sender->untagged_permille;
    const bool first = told->untagged_rank <= others->untagged_best;

    if (first && told->untagged_rank != MFS_RANK_NONE &&
        mfs_share_due(sender->port, share, told->untagged_bytes))
        return 1;
    if (!first && mfs_share_due(sender->port, share, others->untagged_bytes))
        return -EBUSY;
    return others->best < told->rank ? -EBUSY : 0;
}

/* All that is in flight on the port goes to one destination, and somebody else waits. */
static bool one_holds_it(const struct mfs_sender *sender, const struct mfs_others *others)
{
    const struct mfs_destinations *all = &sender->destinations;

    return others->inflight_bytes == 0 &&
           all->in[MFS_DESTINATION_OPEN].first == all->in[MFS_DESTINATION_OPEN].last &&
           (others->best != MFS_RANK_NONE || mfs_rmlq_waiting_voqs(sender->queue) > 1);
}

/*
 * One destination holds the whole window, and has for a while, so the rate that was learned may be
 * its own and not the port's. Now and then it is taken for slow, with half of the window: the
 * others show what the port can do. If it was not the one that is slow, it is open again as soon as
 * that half has left, in about the time of a window; and the next trial comes later.
 */
static void try_others(struct mfs_sender *sender, int64_t now_ns)
{
    struct mfs_destination *held = sender->destinations.in[MFS_DESTINATION_OPEN].first;

    if (sender->trial_ns == 0 || now_ns - sender->trial_ns > 4 * sender->trial_every_ns)
        sender->trial_every_ns = TRIAL_EVERY_NS; /* it is long since one held the window */
    else if (now_ns < sender->trial_ns)
        return;
    else if (held) {
        mfs_destination_try(&sender->destinations, held, sender->window.window_bytes / 2);
        mfs_sample_is(sender->port, MFS_SAMPLE_SLOW);
        if (sender->trial_every_ns < TRIAL_RARELY_NS)
            sender->trial_every_ns *= 2;
    }
    sender->trial_ns = now_ns + sender->trial_every_ns;
}

/* Room for these bytes, and the pacer's leave. slow: their destination is; they are a candidate
 * only where there is room. */
static int admit(struct mfs_sender *sender, const struct mfs_others *others, bool slow,
                 uint64_t bytes, int64_t now_ns)
{
    const uint64_t open =
        others->inflight_bytes + sender->destinations.in[MFS_DESTINATION_OPEN].bytes;

    if (!slow && !mfs_window_state_fits(&sender->window, open, bytes)) {
        sender->window.full = true;
        if (one_holds_it(sender, others)) {
            mfs_sample_is(sender->port, MFS_SAMPLE_HELD);
            if (!sender->rate_known)
                try_others(sender, now_ns);
        } else {
            mfs_sample_is(sender->port, MFS_SAMPLE_FULL);
        }
        return -ENOBUFS;
    }
    if (sender->pace_Bps > 0 && !mfs_pace_take(sender->port, sender->pace_Bps, bytes, now_ns))
        return -ETIME;
    if (open == 0 && sender->rested) /* the port was idle: measure from here */
        mfs_sample_begin(sender->port, others->done_bytes + sender->told.done_bytes, now_ns);
    sender->rested = false;
    return 0;
}

/* They are on their way. */
static void book(struct mfs_sender *sender, const struct mfs_others *others,
                 struct mfs_destination *destination, bool untagged, uint64_t bytes, int64_t now_ns)
{
    mfs_destination_sent(&sender->destinations, destination, bytes, now_ns);
    if (untagged)
        mfs_share_spend(sender->port, bytes);
    else if (sender->told.untagged_rank != MFS_RANK_NONE || others->untagged_best != MFS_RANK_NONE)
        mfs_share_earn(sender->port, sender->untagged_permille, bytes);
}

/* More flows at one time than the queue knows: a coarser tag will do. */
static __attribute__((noinline, cold)) int push_coarser(struct mfs_sender *sender,
                                                        struct mfs_op *op, struct mfs_voq *voq,
                                                        const struct mfs_tag *tag, int64_t now_ns)
{
    static const struct mfs_tag untagged;
    const struct mfs_tag request = {tag->request, 0, tag->stage};
    const int error = mfs_rmlq_push(sender->queue, op, voq, &request, now_ns);

    return error == -ENOSPC ? mfs_rmlq_push(sender->queue, op, voq, &untagged, now_ns) : error;
}

int mfs_sender_push(struct mfs_sender *sender, struct mfs_op *op,
                    struct mfs_destination *destination, const struct mfs_tag *tag, int64_t now_ns)
{
    const int error = mfs_rmlq_push(sender->queue, op, &destination->voq, tag, now_ns);

    return MFS_LIKELY(error != -ENOSPC) ? error
                                        : push_coarser(sender, op, &destination->voq, tag, now_ns);
}

int mfs_sender_next(struct mfs_sender *sender, uint64_t max_bytes, int64_t now_ns,
                    struct mfs_chunk *chunk)
{
    const struct mfs_head *head;
    struct mfs_others others;
    struct heads heads;
    enum mfs_kind kind;
    int turn, error;

    if (max_bytes > 0 && max_bytes < MFS_CHUNK_ALIGN)
        return -EINVAL;
    settle(sender, now_ns);
    if (max_bytes == 0)
        max_bytes = sender->window.chunk_bytes;
    see_heads(sender, max_bytes, &heads);
    publish(sender, now_ns); /* before we look: of two who do so, one at least sees the other */
    look(sender, now_ns, &others);
    /* the room for slow ones was what it was at the last look */
    if (look_at_destinations(sender, &others, now_ns) ||
        sender->destinations.in[MFS_DESTINATION_SLOW].first) {
        see_heads(sender, max_bytes, &heads);
        publish(sender, now_ns);
    }
    if (sender->told.rank == MFS_RANK_NONE)
        return sender->blocked = -EAGAIN;
    turn = whose_turn(sender, &sender->told, &others);
    if (turn < 0)
        return sender->blocked = turn;
    kind =
        turn || heads.of[MFS_UNTAGGED].rank < heads.of[MFS_TAGGED].rank ? MFS_UNTAGGED : MFS_TAGGED;
    head = &heads.of[kind];
    error = admit(sender, &others, head->voq->class == MFS_VOQ_SLOW, head->bytes, now_ns);
    if (error)
        return sender->blocked = error;
    book(sender, &others, destination_of(head->voq), kind == MFS_UNTAGGED, head->bytes, now_ns);
    mfs_rmlq_take(sender->queue, head->voq, kind, max_bytes, chunk);
    if (mfs_rmlq_operations(sender->queue) == 0) /* nobody need wait for us */
        sender->told.rank = sender->told.untagged_rank = MFS_RANK_NONE;
    publish(sender, now_ns);
    return sender->blocked = 0;
}

unsigned mfs_sender_send(struct mfs_sender *sender, int64_t now_ns)
{
    const struct mfs_transport_ops *transport = &sender->transport;
    struct mfs_chunk chunk;
    unsigned sent = 0;

    while (mfs_rmlq_operations(sender->queue) > 0 &&
           (!transport->ready || transport->ready(transport->ctx)) &&
           mfs_sender_next(sender, 0, now_ns, &chunk) == 0) {
        transport->post(transport->ctx, &chunk);
        if (++sent % CHUNKS_A_LOOK == 0 && sender->others.now)
            now_ns = sender->others.now(sender->others.ctx, true);
    }
    return sent;
}

int mfs_sender_remove(struct mfs_sender *sender, struct mfs_op *op, int64_t now_ns)
{
    const int error = mfs_rmlq_remove(sender->queue, op);

    if (!error && mfs_rmlq_operations(sender->queue) == 0) {
        sender->blocked = 0;
        mfs_sender_publish(sender, now_ns);
    }
    return error;
}

/* --- what has left --- */

static void left(struct mfs_sender *sender, struct mfs_destination *destination, uint64_t bytes,
                 int64_t now_ns)
{
    const struct mfs_patience limits = patience(sender, now_ns);

    mfs_destination_left(&sender->destinations, destination, bytes, &limits, now_ns);
    sender->told.done_bytes += bytes;
}

static void told_done(struct mfs_sender *sender, int64_t now_ns)
{
    publish(sender, now_ns);
    rest(sender);
    if (!sender->rate_known && mfs_sample_due(sender->port, now_ns))
        mfs_sample_take(sender->port, done_bytes(sender, now_ns), now_ns);
}

void mfs_sender_done(struct mfs_sender *sender, struct mfs_destination *destination, uint64_t bytes,
                     int64_t now_ns)
{
    left(sender, destination, bytes, now_ns);
    told_done(sender, now_ns);
}

/*
 * The time, where nothing waits: the clock that is some milliseconds late and several times
 * cheaper, unless a sample of the bandwidth begins or ends.
 */
static int64_t cheap_now_ns(const struct mfs_sender *sender)
{
    const int64_t now_ns = sender->others.now(sender->others.ctx, false);

    if (sender->rested || mfs_sample_due(sender->port, now_ns))
        return sender->others.now(sender->others.ctx, true);
    return now_ns;
}

void mfs_sender_done_now(struct mfs_sender *sender, struct mfs_destination *destination,
                         uint64_t bytes, bool keep)
{
    struct mfs_express_room *room = &sender->room;

    if (keep && destination->state == MFS_DESTINATION_OPEN &&
        room->spare + bytes <= room->reuse_max / SPARE_SHARE &&
        destination->inflight_bytes > bytes && mfs_rmlq_operations(sender->queue) == 0) {
        room->spare += bytes; /* the others see its room taken */
        left(sender, destination, bytes, 0);
        return;
    }
    room->spare = 0;
    mfs_sender_done(sender, destination, bytes,
                    destination->state == MFS_DESTINATION_OPEN
                        ? cheap_now_ns(sender)
                        : sender->others.now(sender->others.ctx, true));
}

int mfs_sender_express(struct mfs_sender *sender, struct mfs_destination *destination,
                       uint64_t bytes, uint64_t largest)
{
    /* the last rank of all: it goes only when nobody of this host waits for the port */
    const struct mfs_told last = {.rank = MFS_RANK_NONE - 1, .untagged_rank = MFS_RANK_NONE};
    struct mfs_express_room *room = &sender->room;
    struct mfs_others others;
    int64_t now_ns;
    int error;

    if (destination->state != MFS_DESTINATION_OPEN ||
        (mfs_rmlq_operations(sender->queue) > 0 && mfs_rmlq_waits(sender->queue)))
        return -EBUSY;
    if (bytes <= room->spare && room->reused + bytes <= room->reuse_max) {
        room->spare -= bytes;
        room->reused += bytes;
        mfs_destination_sent(&sender->destinations, destination, bytes, 0);
        return 0;
    }
    mfs_window_state_rate(&sender->window, mfs_get(&sender->port->rate_Bps));
    if (bytes > (largest > 0 ? largest : sender->window.chunk_bytes))
        return -EMSGSIZE;
    now_ns = cheap_now_ns(sender);
    look(sender, now_ns, &others);
    (void)look_at_destinations(sender, &others, now_ns);
    if (whose_turn(sender, &last, &others) < 0)
        return -EBUSY;
    error = admit(sender, &others, false, bytes, now_ns);
    if (error)
        return error;
    book(sender, &others, destination, false, bytes, now_ns);
    *room = (struct mfs_express_room){.reuse_max = sender->window.chunk_bytes};
    publish(sender, now_ns);
    return 0;
}

void mfs_sender_overdraw(struct mfs_sender *sender, struct mfs_destination *destination,
                         uint64_t bytes)
{
    mfs_destination_sent(&sender->destinations, destination, bytes, 0);
}

void mfs_sender_close(struct mfs_sender *sender, struct mfs_destination *destination)
{
    const bool held = destination->inflight_bytes > 0;

    mfs_destination_close(&sender->destinations, destination);
    if (held && sender->others.now)
        mfs_sender_publish(sender, sender->others.now(sender->others.ctx, true));
}

/* --- settings, and what is asked --- */

int mfs_sender_set_policy(struct mfs_sender *sender, const struct mfs_policy *policy,
                          const struct mfs_params *params, int64_t now_ns)
{
    struct mfs_params here = *params;

    here.rate_Bps = mfs_get(&sender->port->rate_Bps);
    return mfs_rmlq_set_policy(sender->queue, policy, &here, now_ns);
}

uint64_t mfs_sender_promotions(struct mfs_sender *sender)
{
    const uint64_t before = sender->promotions;

    sender->promotions = mfs_rmlq_promotions(sender->queue);
    return sender->promotions - before;
}

uint64_t mfs_sender_stalls(struct mfs_sender *sender)
{
    const uint64_t before = sender->stalls;

    sender->stalls = sender->destinations.stalls;
    return sender->stalls - before;
}

uint64_t mfs_sender_chunk(struct mfs_sender *sender)
{
    mfs_window_state_rate(&sender->window, mfs_get(&sender->port->rate_Bps));
    return sender->window.chunk_bytes;
}

static const struct mfs_destination *only_busy(const struct mfs_destinations *all)
{
    uint32_t state = 0;

    while (!all->in[state].first)
        state++;
    return all->in[state].first;
}

bool mfs_sender_restless(const struct mfs_sender *sender)
{
    if (mfs_rmlq_operations(sender->queue) == 0)
        return false;
    if (sender->blocked == -EAGAIN) /* its destinations must move first */
        return false;
    if (sender->blocked != -ENOBUFS || sender->destinations.busy != 1)
        return true;
    /* its own bytes fill the window: their end is an event, and what waits for the same destination
     * can go no sooner; what waits for others can, when that one turns out to be slow */
    return mfs_rmlq_operations(sender->queue) > only_busy(&sender->destinations)->voq.operations;
}
