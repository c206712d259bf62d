/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a time, and not a rate, says that a destination is slow: a rate that was measured says as
 * much about how many bytes we gave it as about what it could take. See
 * docs/decisions/0020-destinations.md.
 */
#include "core/destination.h"

#define BURST_PART 4 /* of the silence before it: longer is no burst */

typedef struct mfs_destination destination_t;

static void append(struct mfs_destinations *all, destination_t *at)
{
    at->next = NULL;
    at->prev = all->in[at->state].last;
    *(at->prev ? &at->prev->next : &all->in[at->state].first) = at;
    all->in[at->state].last = at;
    if (at->state == MFS_DESTINATION_STALLED) {
        all->stalled++;
        if (!all->unsaid)
            all->unsaid = at;
        all->news |= MFS_NEWS_STALLED;
    }
}

static void detach(struct mfs_destinations *all, destination_t *at)
{
    if (all->unsaid == at)
        all->unsaid = at->next;
    all->stalled -= at->state == MFS_DESTINATION_STALLED;
    *(at->prev ? &at->prev->next : &all->in[at->state].first) = at->next;
    *(at->next ? &at->next->prev : &all->in[at->state].last) = at->prev;
}

static void queues_set(destination_t *at)
{
    at->queues = at->state != MFS_DESTINATION_OPEN || at->voq.limit != MFS_RANK_NONE;
}

/* Of a destination with bytes in flight. */
static void become(struct mfs_destinations *all, destination_t *at, uint32_t state)
{
    static const enum mfs_voq_class classes[] = {
        [MFS_DESTINATION_OPEN] = MFS_VOQ_OPEN,
        [MFS_DESTINATION_SLOW] = MFS_VOQ_SLOW,
        [MFS_DESTINATION_STALLED] = MFS_VOQ_PARKED,
    };

    detach(all, at);
    all->in[at->state].bytes -= at->inflight_bytes;
    if (at->state == MFS_DESTINATION_OPEN)
        at->allowed_bytes = 0;
    at->state = (uint16_t)state;
    queues_set(at);
    all->in[state].bytes += at->inflight_bytes;
    append(all, at);
    mfs_voq_move(all->queue, &at->voq, classes[state]);
}

int mfs_destination_open(struct mfs_destinations *all, destination_t *at, void *user)
{
    *at = (destination_t){.user = user};
    return mfs_voq_open(all->queue, &at->voq);
}

void mfs_destination_limit(struct mfs_destinations *all, destination_t *at, mfs_rank_t limit)
{
    if (at->voq.limit == limit)
        return;
    mfs_voq_limit(all->queue, &at->voq, limit);
    queues_set(at);
    all->news |= MFS_NEWS_LIMIT;
}

static void leave(struct mfs_destinations *all, destination_t *at)
{
    detach(all, at);
    all->busy--;
    if (at->state == MFS_DESTINATION_STALLED)
        at->state = MFS_DESTINATION_SLOW;
    /* one that is slow may have a chunk in any case */
    mfs_voq_move(all->queue, &at->voq, MFS_VOQ_OPEN);
}

void mfs_destination_close(struct mfs_destinations *all, destination_t *at)
{
    if (at->awaited)
        mfs_departed_forget(all->departures, at);
    if (at->inflight_bytes > 0) {
        all->in[at->state].bytes -= at->inflight_bytes;
        at->inflight_bytes = at->mark_bytes = 0;
        leave(all, at);
    }
    mfs_voq_close(all->queue, &at->voq);
}

void mfs_destination_begin(struct mfs_destinations *all, destination_t *at, uint64_t bytes,
                           int64_t now_ns)
{
    at->mark_bytes = at->mark_total = bytes;
    at->mark_ns = at->moved_ns = now_ns;
    at->silent_ns = 0;
    append(all, at);
    all->busy++;
    if (at->state == MFS_DESTINATION_SLOW)
        mfs_voq_move(all->queue, &at->voq, MFS_VOQ_SLOW);
}

/* The mark was reached: which state does the time that it took ask for? */
static inline uint32_t judge(destination_t *at, const struct mfs_patience *patience, int64_t now_ns)
{
    const int64_t took_ns = now_ns - at->mark_ns - patience->gap_ns;

    if (patience->due_ns == 0)
        return MFS_DESTINATION_OPEN;
    if (at->mark_ns == 0 || now_ns == 0) /* it is not known how long it took */
        return at->state == MFS_DESTINATION_OPEN ? MFS_DESTINATION_OPEN : MFS_DESTINATION_SLOW;
    if (at->state == MFS_DESTINATION_OPEN) {
        at->allowed_bytes = 0;
        return took_ns > MFS_SLOW_DUES * patience->due_ns ? MFS_DESTINATION_SLOW
                                                          : MFS_DESTINATION_OPEN;
    }
    if (took_ns > MFS_OPEN_DUES * patience->due_ns) {
        at->allowed_bytes = at->mark_total / 2;
        return MFS_DESTINATION_SLOW;
    }
    if (at->allowed_bytes < at->mark_total)
        at->allowed_bytes = at->mark_total;
    at->allowed_bytes = at->allowed_bytes < patience->window_bytes / 2 ? 2 * at->allowed_bytes
                                                                       : patience->window_bytes;
    return at->mark_total >= patience->window_bytes - patience->window_bytes / 2
               ? MFS_DESTINATION_OPEN
               : MFS_DESTINATION_SLOW;
}

/*
 * What was in flight at the mark has left. Chunks that were posted together leave together, so the
 * mark that is set when the first of them has left is reached soon, whatever lies in the network's
 * queue. The next one is set when the last has, and stands for what was posted since: of two marks
 * in a row the longer one tells the way. And what leaves is seen half a look late in the mean.
 */
static void note_delay(struct mfs_destinations *all, destination_t *at,
                       const struct mfs_patience *patience, int64_t now_ns)
{
    const int64_t took_ns = now_ns - at->mark_ns - patience->gap_ns / 2;
    const int64_t longer_ns = took_ns > at->took_ns ? took_ns : at->took_ns;

    if (at->mark_ns == 0 || now_ns == 0 || longer_ns <= 0)
        return;
    at->took_ns = took_ns;
    if (all->delay_ns == 0 || longer_ns < all->delay_ns)
        all->delay_ns = longer_ns;
    if (now_ns - all->delay_since_ns >= MFS_DELAY_NS)
        all->news |= MFS_NEWS_DELAY;
}

/*
 * The mark was reached, by these bytes. It was set when the first of what was in flight had left,
 * and the mark before it tells how long that was waited for; or all of it is told at once, more
 * than the mark stands for. One chunk alone says nothing: as long as that the port may have had it.
 */
static void note_burst(struct mfs_destinations *all, const destination_t *at, uint64_t bytes,
                       const struct mfs_patience *patience, int64_t now_ns)
{
    const int64_t took_ns = now_ns - at->mark_ns;
    const bool once = bytes > at->mark_total;
    const int64_t silent_ns = (once ? took_ns : at->silent_ns) - patience->gap_ns;
    const int64_t span_ns = once ? 0 : took_ns;

    if (at->mark_ns == 0 || now_ns == 0 || at->voq.operations == 0 || silent_ns <= 0 ||
        span_ns > silent_ns / BURST_PART)
        return;
    all->burst = (struct mfs_burst){silent_ns, span_ns, once ? bytes : at->mark_total};
    all->news |= MFS_NEWS_BURST;
}

void mfs_destination_judge(struct mfs_destinations *all, destination_t *at, uint64_t bytes,
                           const struct mfs_patience *patience, int64_t now_ns)
{
    const bool marked = bytes >= at->mark_bytes;
    uint32_t state = at->state;

    if (at->awaited)
        mfs_departed_done(all->departures, at, bytes, now_ns);
    if (state == MFS_DESTINATION_OPEN && bytes == at->inflight_bytes && bytes > 0 &&
        judge(at, patience, now_ns) == MFS_DESTINATION_OPEN) { /* most often */
        if (at->silent_ns > 0 || bytes > at->mark_total)
            note_burst(all, at, bytes, patience, now_ns);
        all->in[MFS_DESTINATION_OPEN].bytes -= bytes;
        at->inflight_bytes = at->mark_bytes = 0;
        *(at->prev ? &at->prev->next : &all->in[MFS_DESTINATION_OPEN].first) = at->next;
        *(at->next ? &at->next->prev : &all->in[MFS_DESTINATION_OPEN].last) = at->prev;
        all->busy--;
        return;
    }

    if (bytes > at->inflight_bytes) /* of a life before: mfs_destination_close */
        bytes = at->inflight_bytes;
    if (bytes == 0)
        return;
    all->in[state].bytes -= bytes;
    at->inflight_bytes -= bytes;
    at->mark_bytes -= marked ? at->mark_bytes : bytes;
    at->moved_ns = now_ns;
    if (marked) {
        if (at->silent_ns > 0 || bytes > at->mark_total)
            note_burst(all, at, bytes, patience, now_ns);
        note_delay(all, at, patience, now_ns);
        state = judge(at, patience, now_ns);
    }
    if (!marked && state == MFS_DESTINATION_STALLED)
        state = MFS_DESTINATION_SLOW;
    if (marked) {
        at->silent_ns = at->mark_ns > 0 ? now_ns - at->mark_ns : 0;
        at->mark_bytes = at->mark_total = at->inflight_bytes;
        at->mark_ns = now_ns;
    }
    if (at->inflight_bytes == 0) {
        leave(all, at);
        at->state = (uint16_t)state;
        queues_set(at);
    } else if (marked || state == MFS_DESTINATION_SLOW) {
        become(all, at, state); /* in the order of its list, it is the last one now */
    }
}

/* The first of a list, by the time in whose order the list is. One that is not known is now. */
static destination_t *first_in_time(struct mfs_destinations *all, uint32_t state, int64_t now_ns)
{
    destination_t *at;

    while ((at = all->in[state].first) != NULL) {
        int64_t *time_ns = state == MFS_DESTINATION_OPEN ? &at->mark_ns : &at->moved_ns;

        if (*time_ns != 0)
            break;
        *time_ns = now_ns;
        detach(all, at);
        append(all, at);
    }
    return at;
}

bool mfs_destination_look_at_all(struct mfs_destinations *all, const struct mfs_patience *patience,
                                 int64_t now_ns)
{
    const int64_t late_ns = mfs_destination_late_ns(patience);
    destination_t *at;
    bool changed = false;

    while ((at = first_in_time(all, MFS_DESTINATION_OPEN, now_ns)) != NULL &&
           now_ns - at->mark_ns > late_ns) {
        if (at->moved_ns == 0)
            at->moved_ns = now_ns;
        become(all, at, MFS_DESTINATION_SLOW);
        changed = true;
    }
    while ((at = first_in_time(all, MFS_DESTINATION_SLOW, now_ns)) != NULL &&
           now_ns - at->moved_ns > patience->lease_ns + patience->gap_ns) {
        become(all, at, MFS_DESTINATION_STALLED);
        all->stalls++;
        changed = true;
    }
    return changed;
}

destination_t *mfs_destination_unsaid(struct mfs_destinations *all, int64_t age_ns, int64_t now_ns)
{
    destination_t *at = all->unsaid;

    if (MFS_LIKELY(!at) || now_ns - at->moved_ns <= age_ns)
        return NULL;
    all->unsaid = at->next;
    return at;
}

void mfs_destination_try(struct mfs_destinations *all, destination_t *at, uint64_t allowed_bytes)
{
    become(all, at, MFS_DESTINATION_SLOW);
    at->allowed_bytes = allowed_bytes;
    at->mark_bytes = at->mark_total = at->inflight_bytes;
    at->mark_ns = at->moved_ns;
}
