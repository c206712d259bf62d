/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How large the chunks of one sender are, and how much may be in flight on the port when it sends
 * (core/window.h has the formulas). Kept between chunks, since the estimate of the bandwidth moves
 * once in MFS_RATE_SAMPLE_NS. Guarded by the sender's owner.
 */
#ifndef MFS_CORE_WINDOW_STATE_H
#define MFS_CORE_WINDOW_STATE_H

#include "core/window.h"

struct mfs_window_state {
    uint64_t rate_Bps, chunk_bytes, window_bytes; /* the sizes, and the rate they are for */
    int64_t drain_ns;     /* a full window has left after so long (at most 1 s); 0: no rate is
                           * known */
    uint64_t more_bytes;  /* that the window is larger, since its owner has looked late */
    int64_t looked_ns;    /* when it looked last */
    int64_t gap_ns;       /* how long it had not looked, as of the longest time of late */
    int64_t gap_seen_ns;  /* when that ended */
    int64_t late_ns;      /* when it looked late last */
    bool full;            /* and found the window full */
    struct mfs_window_config config;
};

void mfs_window_state_init(struct mfs_window_state *state, const struct mfs_window_config *config);
/* The sizes for this rate from here on. */
void mfs_window_state_rate(struct mfs_window_state *state, uint64_t rate_Bps);
/* The owner looks, any number of times when it does; drained: nothing is in flight on the port. */
void mfs_window_state_look(struct mfs_window_state *state, bool drained, int64_t now_ns);
/* As long as this the owner itself may not have seen what went on. */
int64_t mfs_window_state_away(const struct mfs_window_state *state, int64_t now_ns);
/* Does a chunk of so many bytes fit beside what is in flight? A chunk alone always does. */
bool mfs_window_state_fits(const struct mfs_window_state *state, uint64_t inflight_bytes,
                           uint64_t bytes);

#endif
