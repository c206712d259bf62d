/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How large the chunks of one sender are, and how much may be in flight on the port when it sends
 * (core/window.h has the formulas). Kept between chunks, since the estimate of the bandwidth moves
 * once in MFS_RATE_SAMPLE_NS. Guarded by the sender's owner.
 */
#ifndef MFS_CORE_WINDOW_STATE_H
#define MFS_CORE_WINDOW_STATE_H

#include "core/window.h"

/* A rate at which a window would take longer is an error (the word is one that others write), and
 * a destination that takes no bytes would keep the port for as long. */
#define MFS_DRAIN_MAX_NS INT64_C(1000000000)

struct mfs_window_state {
    uint64_t rate_Bps, chunk_bytes, window_bytes; /* the sizes, and the rate they are for */
    int64_t drain_ns; /* a full window has left after so long, at most the above; 0: no rate is
                       * known */
    uint64_t more_bytes; /* that the window is larger, since its owner has looked late */
    uint64_t beside_bytes; /* that it is larger, since others are in the network's queue */
    uint64_t floor_bytes; /* of the window, where nobody shares the port at the other end and it has
                           * not shown yet what it carries: */
    uint64_t best_Bps;
    uint32_t sharers; /* hosts that do, as its owner tells; 0: none is known */
    int64_t looked_ns; /* when it looked last */
    int64_t gap_ns; /* how long it had not looked, as of the longest time of late */
    int64_t gap_seen_ns; /* when that ended */
    bool full; /* at the last look something did not fit */
    uint64_t full_bytes; /* then: all that the owner has ever sent */
    /* An absence whose end is not judged yet: it was late if left_bytes have left in time. */
    uint64_t left_bytes; /* 0: there is none */
    int64_t back_ns; /* when it ended, also once it is judged */
    int64_t until_ns; /* in time */
    int64_t away_ns; /* its length */
    bool often; /* the one before was not long before it */
    int64_t burst_ns; /* when what was in flight was told to be over in one burst, last */
    struct mfs_window_config config;
};

void mfs_window_state_init(struct mfs_window_state *state, const struct mfs_window_config *config);
/* The sizes for this rate from here on. */
void mfs_window_state_rate(struct mfs_window_state *state, uint64_t rate_Bps);
/* So many hosts share the port at the other end from here on (SHARED of core/window.h). */
void mfs_window_state_share(struct mfs_window_state *state, uint32_t sharers);
/* The owner looks, any number of times when it does. Of its bytes done_bytes have ever left; alone:
 * nobody else has any in flight. */
void mfs_window_state_look(struct mfs_window_state *state, uint64_t done_bytes, bool alone,
                           int64_t now_ns);
/* At this look a chunk did not fit; the owner has ever sent so many bytes. */
void mfs_window_state_full(struct mfs_window_state *state, uint64_t sent_bytes);
/* Bytes that were in flight were told to be over within span_ns, after silent_ns without any. */
void mfs_window_state_burst(struct mfs_window_state *state, uint64_t bytes, int64_t silent_ns,
                            int64_t span_ns, int64_t now_ns);
/* Somebody more urgent waits elsewhere: from here on no more than the window. */
void mfs_window_state_yield(struct mfs_window_state *state);
/* What is in flight has taken delay_ns lately (0: not known), and the port carried best_Bps before.
 */
void mfs_window_state_beside(struct mfs_window_state *state, uint64_t best_Bps, int64_t delay_ns);
/* What may be in flight beyond window_bytes. */
static inline uint64_t mfs_window_state_added(const struct mfs_window_state *state)
{
    return state->more_bytes + state->beside_bytes;
}
/* As long as this the owner itself may not have seen what went on. */
int64_t mfs_window_state_away(const struct mfs_window_state *state, int64_t now_ns);
/* Does a chunk of so many bytes fit beside what is in flight? A chunk alone always does. */
bool mfs_window_state_fits(const struct mfs_window_state *state, uint64_t inflight_bytes,
                           uint64_t bytes);

#endif
