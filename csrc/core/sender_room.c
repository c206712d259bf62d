/* SPDX-License-Identifier: Apache-2.0 */
#include "core/sender_inside.h"
#include "core/span.h"

#define SAY_NS INT64_C(1000000000) /* a stall that is worth a line in a log */
#define TRIAL_EVERY_NS INT64_C(100000000)   /* between two trials of try_others() at first */
#define TRIAL_RARELY_NS INT64_C(3000000000) /* and in the end */

void mfs_sender_patience(struct mfs_sender *sender)
{
    const struct mfs_window_state *window = &sender->window;
    int64_t due_ns = window->drain_ns, ahead_ns;

    if (due_ns > 0 && mfs_window_state_added(window) > 0)
        due_ns += (int64_t)((double)due_ns * (double)mfs_window_state_added(window) /
                            (double)window->window_bytes);
    /* What others have sent beyond their window is in front of ours, and so may be what they have
     * sent to slow destinations: where all of them seem slow it is the port. They are words that
     * others write, and for longer than a lease nobody is waited for. */
    ahead_ns = mfs_span_bytes(sender->ahead_bytes, window->rate_Bps);
    if (ahead_ns > sender->patience.lease_ns)
        ahead_ns = sender->patience.lease_ns;
    if (due_ns > 0 && due_ns < ahead_ns)
        due_ns = ahead_ns;
    if (due_ns > MFS_DRAIN_MAX_NS) /* by a word that is wrong */
        due_ns = MFS_DRAIN_MAX_NS;
    if (due_ns < window->config.depth_ns) /* also while the rate is not known */
        due_ns = window->config.depth_ns;
    sender->patience.due_ns = due_ns;
    sender->patience.window_bytes = window->window_bytes;
    sender->patience_more_bytes = window->more_bytes;
    sender->patience_rate_Bps = window->rate_Bps;
}

void mfs_sender_ahead(struct mfs_sender *sender, int64_t now_ns)
{
    sender->ahead_bytes = sender->others_bytes + sender->others_slow_bytes;
    mfs_sender_patience(sender);
    sender->ahead_until_ns =
        sender->ahead_bytes > 0 ? mfs_time_plus(now_ns, sender->patience.due_ns) : MFS_TIME_NEVER;
}

void mfs_sender_sample(struct mfs_sender *sender, int64_t now_ns)
{
    struct mfs_others others;

    mfs_sender_look(sender, now_ns, &others);
    mfs_sample_take(sender->port, others.done_bytes + sender->told.done_bytes, now_ns);
}

/* One is stalled, and nobody was told yet. */
static void say(struct mfs_sender *sender, int64_t now_ns)
{
    struct mfs_destination *stalled = mfs_destination_unsaid(&sender->destinations, SAY_NS, now_ns);

    if (stalled && sender->transport.stalled)
        sender->transport.stalled(sender->transport.ctx, stalled, now_ns - stalled->moved_ns);
}

/* How long what is in flight takes is known anew. */
static void beside(struct mfs_sender *sender, int64_t now_ns)
{
    struct mfs_destinations *all = &sender->destinations;

    if (sender->learns)
        mfs_window_state_beside(&sender->window, mfs_get(&sender->port->best_Bps), all->delay_ns);
    mfs_sender_patience(sender);
    all->delay_ns = 0;
    all->delay_since_ns = now_ns;
}

bool mfs_sender_news(struct mfs_sender *sender, int64_t now_ns)
{
    const bool limit = sender->destinations.news & MFS_NEWS_LIMIT;

    if (sender->destinations.unsaid)
        say(sender, now_ns);
    if (sender->destinations.news & MFS_NEWS_DELAY)
        beside(sender, now_ns);
    if (sender->destinations.news & MFS_NEWS_BURST) {
        const struct mfs_burst *burst = &sender->destinations.burst;

        mfs_window_state_burst(&sender->window, burst->bytes, burst->silent_ns, burst->span_ns,
                               now_ns);
    }
    sender->destinations.news = sender->destinations.unsaid ? MFS_NEWS_STALLED : 0;
    return limit;
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

void mfs_sender_full(struct mfs_sender *sender, const struct mfs_others *others, int64_t now_ns)
{
    mfs_window_state_full(&sender->window, sender->told.done_bytes +
                                               sender->destinations.in[MFS_DESTINATION_OPEN].bytes);
    if (!one_holds_it(sender, others)) {
        mfs_sample_is(sender->port, MFS_SAMPLE_FULL);
        return;
    }
    mfs_sample_is(sender->port, MFS_SAMPLE_HELD);
    if (sender->learns)
        try_others(sender, now_ns);
}
