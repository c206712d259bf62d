/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Destinations: what can stall by itself, as the peer of an endpoint or a connection of NCCL's.
 * Each has a queue of its own (core/rmlq.h) and an account of its bytes in flight, so that one
 * that takes no bytes holds only its own.
 *
 *            3 due                       lease
 *   OPEN ----------------> SLOW --------------------> STALLED
 *     ^                     |  ^                         |
 *     +--- half a window ---+  +------ a byte moves -----+
 *          in 2 due
 *
 * due = the time in which a full window leaves the port: whatever is in flight on a port that is
 * as fast as it is said to be has left by then. So a destination is
 *
 *   open     bytes that it has in flight use up the port's window, as they should.
 *   slow     what was in flight to it has not left within three times that time (and as long as
 *            the sender itself did not look): it is not the port that keeps it. Its bytes leave the
 *            port's account. It may use what room the port really has left, and as many bytes in
 *            any case as it has shown that it takes: one chunk at first, twice as many each time
 *            that what was in flight has left within twice that time, half of that when it has
 *            not. Once half a window has left in time, it is open again.
 *   stalled  none of its bytes has moved for the lease. It gets none until one does.
 *
 * A mark stands for all bytes that are in flight when it is set; it is reached when so many have
 * left, and the next is set then. One clock reading for each mark, none for each chunk.
 *
 *   sum of inflight_bytes over the destinations = open_bytes + slow_bytes + stalled_bytes
 *
 * All O(1), but for mfs_voq_move. Guarded by the sender's owner.
 */
#ifndef MFS_CORE_DESTINATION_H
#define MFS_CORE_DESTINATION_H

#include "core/departed.h"
#include "core/exchange.h"
#include "core/rmlq.h"

#define MFS_SLOW_DUES 3 /* so many times as long as is due: slow */
#define MFS_OPEN_DUES 2 /* no longer than this: it takes more */
#define MFS_DELAY_NS INT64_C(20000000) /* for which a delay stands */

struct mfs_destination {
    struct mfs_voq voq;       /* first: what waits for it */
    void *user;               /* the transport's own, to tell who it is */
    uint64_t inflight_bytes;
    uint64_t mark_bytes;      /* to leave until the mark is reached */
    uint64_t mark_total;      /* for which it stands */
    uint64_t allowed_bytes;   /* while it is slow: in flight, whatever the port has room for */
    int64_t mark_ns;          /* when it was set; 0: at the next look */
    int64_t moved_ns;         /* when a byte left last, or the first was sent; 0: as above */
    int64_t took_ns;          /* that the last mark was waited for; 0: there was none */
    int64_t silent_ns;        /* the same, where this mark was set when that one was reached; else
                               * 0 */
    struct mfs_destination *next, *prev; /* of those with bytes in flight in its state */
    uint32_t queues;          /* 0: an operation may go without the queue; else it is not open, or
                               * has a limit */
    struct mfs_far_end end;   /* written by who knows other hosts */
    /* Flows whose end is awaited, oldest first, and how many bytes it takes to the last of them. */
    struct mfs_departed *awaited_first, *awaited_last;
    uint64_t awaited_bytes;
    union {
        struct {
            uint16_t state; /* enum mfs_destination_state */
            uint16_t awaited; /* flows in that list */
        };
        uint32_t judged; /* 0: it is open and nothing is awaited, so what leaves is only counted */
    };
};

enum mfs_destination_state {
    MFS_DESTINATION_OPEN,
    MFS_DESTINATION_SLOW,
    MFS_DESTINATION_STALLED,
    MFS_DESTINATION_STATES,
};

enum mfs_destination_news {
    MFS_NEWS_STALLED = 1, /* `unsaid` is somebody */
    MFS_NEWS_LIMIT = 2, /* a limit has changed what can be sent */
    MFS_NEWS_DELAY = 4, /* delay_ns stands for another MFS_DELAY_NS */
    MFS_NEWS_BURST = 8, /* `burst` is another one */
};

/*
 * All that was in flight to a destination for which more waits was told to be over within span_ns,
 * after none of it had been for silent_ns. (core/window_state.h judges it.)
 */
struct mfs_burst {
    int64_t silent_ns, span_ns;
    uint64_t bytes;
};

struct mfs_destinations {
    struct mfs_rmlq *queue;
    struct mfs_departures *departures; /* NULL: nobody watches */
    /* Those with bytes in flight: open by mark_ns, slow by moved_ns, stalled by when. */
    struct {
        struct mfs_destination *first, *last;
        uint64_t bytes;
    } in[MFS_DESTINATION_STATES];
    struct mfs_destination *unsaid; /* of the stalled, the first whose stall was not told */
    uint32_t news; /* enum mfs_destination_news: for the owner's next look */
    uint32_t busy; /* with bytes in flight */
    uint32_t stalled; /* of them */
    uint64_t stalls; /* ever */
    /* How long what is in flight takes, as long as more of it stays: the least of all destinations,
     * since one alone may be slow. Of the time from delay_since_ns on; 0: of none. */
    int64_t delay_ns, delay_since_ns;
    struct mfs_burst burst; /* the last one */
};

/* How long bytes may take. */
struct mfs_patience {
    int64_t due_ns; /* in which what is in flight should leave; 0: not known */
    int64_t gap_ns; /* that the sender itself did not look */
    int64_t lease_ns; /* after which what has not moved does not count */
    uint64_t window_bytes; /* of the port */
};

/* Of a voq, which is the first member of its destination. */
static inline struct mfs_destination *mfs_destination_of(struct mfs_voq *voq)
{
    return (struct mfs_destination *)(void *)voq;
}

/* -ENOMEM. The memory is the caller's; user is kept for it. */
int mfs_destination_open(struct mfs_destinations *all, struct mfs_destination *destination,
                         void *user);
/* Nothing of it is queued any more; what is in flight is forgotten, and is not told later. */
void mfs_destination_close(struct mfs_destinations *all, struct mfs_destination *destination);
/* What is worse is held back: mfs_voq_limit(). */
void mfs_destination_limit(struct mfs_destinations *all, struct mfs_destination *destination,
                           mfs_rank_t limit);
/* The first bytes of one that had none in flight. */
void mfs_destination_begin(struct mfs_destinations *all, struct mfs_destination *destination,
                           uint64_t bytes, int64_t now_ns);
/* now_ns 0: the time is not known, and is taken from the next look. */
static inline void mfs_destination_sent(struct mfs_destinations *all,
                                        struct mfs_destination *destination, uint64_t bytes,
                                        int64_t now_ns)
{
    all->in[destination->state].bytes += bytes;
    if (destination->inflight_bytes == 0)
        mfs_destination_begin(all, destination, bytes, now_ns);
    destination->inflight_bytes += bytes;
}

/* These bytes reach the mark, or it is not open, or the end of a flow is awaited. */
void mfs_destination_judge(struct mfs_destinations *all, struct mfs_destination *destination,
                           uint64_t bytes, const struct mfs_patience *patience, int64_t now_ns);
static inline void mfs_destination_left(struct mfs_destinations *all,
                                        struct mfs_destination *destination, uint64_t bytes,
                                        const struct mfs_patience *patience, int64_t now_ns)
{
    if (destination->judged || bytes >= destination->mark_bytes) {
        mfs_destination_judge(all, destination, bytes, patience, now_ns);
        return;
    }
    all->in[MFS_DESTINATION_OPEN].bytes -= bytes;
    destination->inflight_bytes -= bytes;
    destination->mark_bytes -= bytes;
    destination->moved_ns = now_ns;
}

/* An open one with bytes in flight is taken for slow, with so much in flight allowed. */
void mfs_destination_try(struct mfs_destinations *all, struct mfs_destination *destination,
                         uint64_t allowed_bytes);
/* One that has been stalled for longer than age_ns, each once for a stall; NULL: none. */
struct mfs_destination *mfs_destination_unsaid(struct mfs_destinations *all, int64_t age_ns,
                                               int64_t now_ns);
/* Judge those whose time is over. Returns whether one has changed its state. */
bool mfs_destination_look_at_all(struct mfs_destinations *all, const struct mfs_patience *patience,
                                 int64_t now_ns);
static inline int64_t mfs_destination_late_ns(const struct mfs_patience *patience)
{
    return (patience->due_ns > 0 ? MFS_SLOW_DUES * patience->due_ns : patience->lease_ns) +
           patience->gap_ns;
}
static inline bool mfs_destination_look(struct mfs_destinations *all,
                                        const struct mfs_patience *patience, int64_t now_ns)
{
    const struct mfs_destination *first = all->in[MFS_DESTINATION_OPEN].first;

    if (MFS_LIKELY(!all->in[MFS_DESTINATION_SLOW].first &&
                   (!first || (first->mark_ns != 0 &&
                               now_ns - first->mark_ns <= mfs_destination_late_ns(patience)))))
        return false;
    return mfs_destination_look_at_all(all, patience, now_ns);
}

#endif
