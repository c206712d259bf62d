/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/core only: what the files of a sender share. What each chunk needs is inline.
 *
 *   sender.c           operations in, the best chunk out, what has left
 *   sender_express.c   operations that go at once, without the queue
 *   sender_room.c      the window is full; destinations that take no bytes
 *   sender_made.c      made and ended; settings, and what is asked
 */
#ifndef MFS_CORE_SENDER_INSIDE_H
#define MFS_CORE_SENDER_INSIDE_H

#include <errno.h>

#include "core/atomic.h"
#include "core/rmlq_inside.h"
#include "core/trust.h"
#include "core/sender.h"

/* --- sender_room.c --- */
/* How long bytes may take, at the rate and with the window of now. */
void mfs_sender_patience(struct mfs_sender *sender);
/* The same, with what the others have in flight now. */
void mfs_sender_ahead(struct mfs_sender *sender, int64_t now_ns);
/* A sample of the rate is due. */
void mfs_sender_sample(struct mfs_sender *sender, int64_t now_ns);
/* Of the destinations. True: a limit has changed what can be sent. */
bool mfs_sender_news(struct mfs_sender *sender, int64_t now_ns);
/* A chunk did not fit beside what is in flight to open destinations. */
void mfs_sender_full(struct mfs_sender *sender, const struct mfs_others *others, int64_t now_ns);

/* --- the others of the port --- */

static inline void mfs_sender_tell(struct mfs_sender *sender, int64_t now_ns)
{
    sender->told.inflight_bytes = sender->destinations.in[MFS_DESTINATION_OPEN].bytes;
    sender->told.slow_bytes = sender->destinations.in[MFS_DESTINATION_SLOW].bytes;
    sender->told.stalled = sender->destinations.stalled;
    if (sender->others.publish)
        sender->others.publish(sender->others.ctx, &sender->told, now_ns);
}

static inline void mfs_sender_look(struct mfs_sender *sender, int64_t now_ns,
                                   struct mfs_others *others)
{
    *others = (struct mfs_others){.best = MFS_RANK_NONE, .untagged_best = MFS_RANK_NONE};
    if (sender->others.look)
        sender->others.look(sender->others.ctx, now_ns, others);
    sender->others_bytes = others->inflight_bytes;
    sender->others_slow_bytes = others->slow_bytes;
}

/* A rate that was configured is what it was, and one that no port has is the last that could be
 * one, whatever stands in the word that all can write. */
static inline uint64_t mfs_sender_port_rate(struct mfs_sender *sender)
{
    const uint64_t rate_Bps = mfs_get(&sender->port->rate_Bps);
    uint64_t believed_Bps = sender->known_Bps;

    if (MFS_LIKELY(believed_Bps == 0 ? rate_Bps <= MFS_RATE_MAX_BPS : rate_Bps == believed_Bps))
        return rate_Bps;
    if (believed_Bps == 0 && sender->rate_Bps <= MFS_RATE_MAX_BPS)
        believed_Bps = sender->rate_Bps;
    mfs_set(&sender->port->rate_Bps, believed_Bps);
    return believed_Bps;
}

/* The owner looks: what does not leave in time leaves the account instead. True if so, or if a
 * limit has changed what can be sent. */
static inline __attribute__((always_inline)) bool mfs_sender_look_at_own(
    struct mfs_sender *sender, const struct mfs_others *others, int64_t now_ns)
{
    mfs_window_state_look(&sender->window, sender->told.done_bytes, others->inflight_bytes == 0,
                          now_ns);
    if (sender->patience_more_bytes != sender->window.more_bytes ||
        sender->patience_rate_Bps != sender->window.rate_Bps)
        mfs_sender_patience(sender);
    if (others->inflight_bytes + others->slow_bytes > sender->ahead_bytes ||
        now_ns > sender->ahead_until_ns)
        mfs_sender_ahead(sender, now_ns);
    sender->patience.gap_ns = sender->window.gap_ns;
    if (!MFS_LIKELY(sender->destinations.news == 0) && mfs_sender_news(sender, now_ns))
        return true;
    if (!mfs_destination_look(&sender->destinations, &sender->patience, now_ns))
        return false;
    mfs_sample_is(sender->port, MFS_SAMPLE_SLOW); /* it was not the port */
    return true;
}

/* Nothing of it that can be sent waits or is under way: the port may be idle from here on. (What
 * was told is of before a slow destination's last bytes left.) */
static inline void mfs_sender_rest(struct mfs_sender *sender)
{
    if (sender->told.rank == MFS_RANK_NONE && sender->destinations.busy == 0 &&
        (mfs_rmlq_operations(sender->queue) == 0 || !mfs_rmlq_waits(sender->queue)))
        sender->rested = true;
}

/* Whose turn is it? 0: our best's; 1: our best untagged one's; -EBUSY: another's. */
static inline int mfs_sender_turn(const struct mfs_sender *sender, const struct mfs_told *told,
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

/* Room for these bytes, and the pacer's leave. slow: their destination is; they are a candidate
 * only where there is room. */
static inline int mfs_sender_admit(struct mfs_sender *sender, const struct mfs_others *others,
                                   bool slow, uint64_t bytes, int64_t now_ns)
{
    const uint64_t open =
        others->inflight_bytes + sender->destinations.in[MFS_DESTINATION_OPEN].bytes;

    if (!slow && !mfs_window_state_fits(&sender->window, open, bytes)) {
        mfs_sender_full(sender, others, now_ns);
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
static inline void mfs_sender_book(struct mfs_sender *sender, const struct mfs_others *others,
                                   struct mfs_destination *destination, bool untagged,
                                   uint64_t bytes, int64_t now_ns)
{
    mfs_destination_sent(&sender->destinations, destination, bytes, now_ns);
    if (untagged)
        mfs_share_spend(sender->port, bytes);
    else if (sender->told.untagged_rank != MFS_RANK_NONE || others->untagged_best != MFS_RANK_NONE)
        mfs_share_earn(sender->port, sender->untagged_permille, bytes);
}

/* So many bytes have left; the others are not told yet. It may be vague_ns later than now_ns: what
 * is stamped has the latest time, and what is judged the earliest. */
static inline void mfs_sender_left(struct mfs_sender *sender, struct mfs_destination *destination,
                                   uint64_t bytes, int64_t now_ns, int64_t vague_ns)
{
    now_ns += vague_ns;
    sender->patience.gap_ns = mfs_window_state_away(&sender->window, now_ns) + vague_ns;
    mfs_destination_left(&sender->destinations, destination, bytes, &sender->patience, now_ns);
    sender->told.done_bytes += bytes;
}

/* The others are told that something has left. */
static inline void mfs_sender_tell_done(struct mfs_sender *sender, int64_t now_ns)
{
    mfs_sender_tell(sender, now_ns);
    mfs_sender_rest(sender);
    if (sender->learns && mfs_sample_due(sender->port, now_ns))
        mfs_sender_sample(sender, now_ns);
}

#endif
