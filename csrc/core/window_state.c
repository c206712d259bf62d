/* SPDX-License-Identifier: Apache-2.0 */
#include "core/window_state.h"

#include "core/policy_rules.h"

/* A rate at which a window would take longer is an error (the word is one that others write), and
 * a destination that takes no bytes would keep the port for as long. */
#define DRAIN_MAX_NS INT64_C(1000000000)

void mfs_window_state_init(struct mfs_window_state *state, const struct mfs_window_config *config)
{
    *state = (struct mfs_window_state){.rate_Bps = UINT64_MAX, .config = *config};
    mfs_window_state_rate(state, 0);
}

void mfs_window_state_rate(struct mfs_window_state *state, uint64_t rate_Bps)
{
    if (MFS_LIKELY(state->rate_Bps == rate_Bps))
        return;
    state->chunk_bytes = mfs_window_chunk(&state->config, rate_Bps);
    state->window_bytes = mfs_window_bytes(&state->config, rate_Bps);
    state->drain_ns = mfs_span_bytes(state->window_bytes, rate_Bps);
    if (state->drain_ns > DRAIN_MAX_NS)
        state->drain_ns = DRAIN_MAX_NS;
    state->rate_Bps = rate_Bps;
}

void mfs_window_state_look(struct mfs_window_state *state, bool drained, int64_t now_ns)
{
    const int64_t gap_ns = now_ns - state->looked_ns;
    const bool late = mfs_window_late(&state->config, gap_ns, drained && state->full);

    if (late || state->more_bytes > 0)
        state->more_bytes = mfs_window_more(&state->config, state->more_bytes, state->window_bytes,
                                            gap_ns, late ? now_ns - state->late_ns : 0);
    if (late)
        state->late_ns = now_ns;
    state->full = false;
    state->looked_ns = now_ns;
    /* what has left meanwhile is not all told at the first look */
    if (gap_ns >= state->gap_ns || now_ns - state->gap_seen_ns > state->config.depth_ns) {
        state->gap_ns = gap_ns;
        state->gap_seen_ns = now_ns;
    }
}

int64_t mfs_window_state_away(const struct mfs_window_state *state, int64_t now_ns)
{
    const int64_t gap_ns = now_ns - state->looked_ns;

    return gap_ns > state->gap_ns ? gap_ns : state->gap_ns;
}

bool mfs_window_state_fits(const struct mfs_window_state *state, uint64_t inflight_bytes,
                           uint64_t bytes)
{
    return inflight_bytes == 0 || inflight_bytes + bytes <= state->window_bytes + state->more_bytes;
}
