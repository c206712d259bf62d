/* SPDX-License-Identifier: Apache-2.0 */
#include "core/sender_inside.h"

#define CHUNKS_A_LOOK 8 /* at the clock, which costs more than a small chunk */

/* --- what goes next --- */

/* The port has room for it beside all that is in flight, or its destination takes so much. */
static bool slow_fits(const struct mfs_sender *sender, const struct mfs_head *slow)
{
    const struct mfs_destination *destination = mfs_destination_of(slow->voq);
    const uint64_t held = sender->others_bytes + sender->others_slow_bytes +
                          sender->destinations.in[MFS_DESTINATION_OPEN].bytes +
                          sender->destinations.in[MFS_DESTINATION_SLOW].bytes;

    return destination->inflight_bytes + slow->bytes <= destination->allowed_bytes ||
           mfs_window_state_fits(&sender->window, held, slow->bytes);
}

/* Where one of the slow is better than the open ones, and there is room for it, that one. */
static __attribute__((noinline)) void see_slow(const struct mfs_sender *sender, enum mfs_kind kind,
                                               uint64_t max_bytes, struct mfs_head *best)
{
    struct mfs_head slow;

    mfs_rmlq_best(sender->queue, MFS_VOQ_SLOW, kind, max_bytes, &slow);
    if (slow.rank < best->rank && slow_fits(sender, &slow))
        *best = slow;
}

/* The best chunk of a kind that can be sent. */
static inline void candidate(const struct mfs_sender *sender, enum mfs_kind kind,
                             uint64_t max_bytes, struct mfs_head *best)
{
    mfs_rmlq_best(sender->queue, MFS_VOQ_OPEN, kind, max_bytes, best);
    if (sender->destinations.in[MFS_DESTINATION_SLOW].first)
        see_slow(sender, kind, max_bytes, best);
}

/* What the others are told of at the next tell. Returns the best kind. */
static inline enum mfs_kind see(struct mfs_sender *sender, uint64_t max_bytes)
{
    const struct mfs_rmlq *queue = sender->queue;
    const bool slow = sender->destinations.in[MFS_DESTINATION_SLOW].first != NULL;
    const struct mfs_heap *tagged = &queue->order[MFS_VOQ_OPEN][MFS_TAGGED];
    struct mfs_told *told = &sender->told;
    struct mfs_head best;

    told->untagged_rank = MFS_RANK_NONE;
    if (slow || queue->order[MFS_VOQ_OPEN][MFS_UNTAGGED].count > 0) {
        candidate(sender, MFS_UNTAGGED, max_bytes, &best);
        told->untagged_rank = best.rank;
        told->untagged_bytes = best.bytes;
    }
    best.rank = tagged->count > 0 ? tagged->entries[0].rank : MFS_RANK_NONE;
    if (slow)
        candidate(sender, MFS_TAGGED, max_bytes, &best);
    told->rank = told->untagged_rank < best.rank ? told->untagged_rank : best.rank;
    return told->untagged_rank < best.rank ? MFS_UNTAGGED : MFS_TAGGED;
}

static __attribute__((noinline)) void set_rate(struct mfs_sender *sender, uint64_t rate_Bps,
                                               int64_t now_ns)
{
    sender->rate_Bps = rate_Bps;
    mfs_window_state_rate(&sender->window, rate_Bps);
    mfs_rmlq_set_rate(sender->queue, rate_Bps, now_ns);
}

/* Every flow to where it belongs, at the port's rate of now. */
static inline void place_due(struct mfs_sender *sender, int64_t now_ns)
{
    const uint64_t rate_Bps = mfs_sender_port_rate(sender);

    if (rate_Bps != sender->rate_Bps)
        set_rate(sender, rate_Bps, now_ns);
    if (mfs_rmlq_is_due(sender->queue, now_ns))
        mfs_rmlq_place_due(sender->queue, now_ns);
}

void mfs_sender_publish(struct mfs_sender *sender, int64_t now_ns)
{
    place_due(sender, now_ns);
    (void)see(sender, sender->window.chunk_bytes);
    mfs_sender_tell(sender, now_ns);
    mfs_sender_rest(sender);
}

void mfs_sender_watch(struct mfs_sender *sender, int64_t now_ns)
{
    struct mfs_others others;

    mfs_sender_publish(sender, now_ns);
    mfs_sender_look(sender, now_ns, &others);
    if (mfs_sender_look_at_own(sender, &others, now_ns))
        mfs_sender_publish(sender, now_ns);
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

/* The next chunk would not fit, whatever it is: so much is known without another look. */
static inline bool now_full(const struct mfs_sender *sender, const struct mfs_others *others)
{
    const struct mfs_destinations *all = &sender->destinations;

    return !all->in[MFS_DESTINATION_SLOW].first &&
           !mfs_window_state_fits(&sender->window,
                                  others->inflight_bytes + all->in[MFS_DESTINATION_OPEN].bytes, 1);
}

/* What waits is untagged, and a limit holds it back: it goes when its share pays for it. */
static __attribute__((noinline, cold)) bool share_of_held(const struct mfs_sender *sender,
                                                          const struct mfs_others *others)
{
    return sender->told.rank == MFS_RANK_LAST && mfs_sender_turn(sender, &sender->told, others) > 0;
}

int mfs_sender_next(struct mfs_sender *sender, uint64_t max_bytes, int64_t now_ns,
                    struct mfs_chunk *chunk)
{
    struct mfs_others others;
    struct mfs_head head;
    enum mfs_kind kind;
    int turn, error;

    if (max_bytes > 0 && max_bytes < MFS_CHUNK_ALIGN)
        return -EINVAL;
    place_due(sender, now_ns);
    if (max_bytes == 0)
        max_bytes = sender->window.chunk_bytes;
    kind = see(sender, max_bytes);
    /* before we look: of two who do so, one at least sees the other */
    mfs_sender_tell(sender, now_ns);
    mfs_sender_look(sender, now_ns, &others);
    /* the room for slow ones was what it was at the last look */
    if (mfs_sender_look_at_own(sender, &others, now_ns) ||
        sender->destinations.in[MFS_DESTINATION_SLOW].first) {
        kind = see(sender, max_bytes);
        mfs_sender_tell(sender, now_ns);
    }
    if (sender->told.rank >= MFS_RANK_LAST && !share_of_held(sender, &others))
        return sender->blocked = -EAGAIN;
    turn = mfs_sender_turn(sender, &sender->told, &others);
    if (turn < 0) {
        if (others.best < sender->told.rank)
            mfs_window_state_yield(&sender->window);
        return sender->blocked = turn;
    }
    if (turn)
        kind = MFS_UNTAGGED;
    candidate(sender, kind, max_bytes, &head);
    error = mfs_sender_admit(sender, &others, head.voq->class == MFS_VOQ_SLOW, head.bytes, now_ns);
    if (error)
        return sender->blocked = error;
    mfs_sender_book(sender, &others, mfs_destination_of(head.voq), kind == MFS_UNTAGGED, head.bytes,
                    now_ns);
    if (others.best != MFS_RANK_NONE && mfs_rank_level(head.rank) == sender->weigher.level)
        mfs_weigh_sent(sender->weigher.clock, sender->weigher.mark, sender->weigher.weight,
                       head.bytes);
    mfs_rmlq_take(sender->queue, head.voq, kind, max_bytes, chunk);
    sender->blocked = 0;
    if (mfs_rmlq_operations(sender->queue) == 0) /* nobody need wait for us */
        sender->told.rank = sender->told.untagged_rank = MFS_RANK_NONE;
    else if (now_full(sender, &others)) {
        place_due(sender, now_ns);
        (void)see(sender, max_bytes);
        mfs_sender_full(sender, &others, now_ns);
        sender->blocked = -ENOBUFS;
    }
    mfs_sender_tell(sender, now_ns);
    return 0;
}

unsigned mfs_sender_send(struct mfs_sender *sender, int64_t now_ns)
{
    const struct mfs_transport_ops *transport = &sender->transport;
    struct mfs_chunk chunk;
    unsigned sent = 0;

    while (mfs_rmlq_operations(sender->queue) > 0 &&
           (!transport->ready || transport->ready(transport->ctx)) &&
           mfs_sender_next(sender, 0, now_ns, &chunk) == 0) {
        const uint64_t done_bytes = sender->told.done_bytes;

        transport->post(transport->ctx, &chunk);
        sent++;
        if (sender->blocked == -ENOBUFS && sender->told.done_bytes == done_bytes)
            break;
        if (sent % CHUNKS_A_LOOK == 0 && sender->others.now)
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

void mfs_sender_done(struct mfs_sender *sender, struct mfs_destination *destination, uint64_t bytes,
                     int64_t now_ns)
{
    mfs_sender_left(sender, destination, bytes, now_ns, 0);
    mfs_sender_tell_done(sender, now_ns);
}
