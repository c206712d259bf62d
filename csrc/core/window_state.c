/* SPDX-License-Identifier: Apache-2.0 */
#include "core/window_state.h"

#include "core/span.h"

void mfs_window_state_init(struct mfs_window_state *state, const struct mfs_window_config *config)
{
    *state = (struct mfs_window_state){
        .rate_Bps = UINT64_MAX, .floor_bytes = config->window_min_bytes, .config = *config};
    mfs_window_state_rate(state, 0);
}

void mfs_window_state_rate(struct mfs_window_state *state, uint64_t rate_Bps)
{
    if (MFS_LIKELY(state->rate_Bps == rate_Bps))
        return;
    state->chunk_bytes = mfs_window_chunk(&state->config, rate_Bps);
    state->window_bytes = mfs_window_bytes(&state->config, rate_Bps);
    state->drain_ns = mfs_span_bytes(state->window_bytes, rate_Bps);
    if (state->drain_ns > MFS_DRAIN_MAX_NS)
        state->drain_ns = MFS_DRAIN_MAX_NS;
    state->rate_Bps = rate_Bps;
}

static void floor_follow(struct mfs_window_state *state)
{
    const uint64_t floor_bytes =
        mfs_window_floor(&state->config, state->floor_bytes, state->best_Bps);
    const uint64_t rate_Bps = state->rate_Bps;

    state->config.window_min_bytes = mfs_window_shared(floor_bytes, state->sharers);
    state->rate_Bps = UINT64_MAX;
    mfs_window_state_rate(state, rate_Bps);
}

__attribute__((noinline, cold)) void mfs_window_state_share(struct mfs_window_state *state,
                                                            uint32_t sharers)
{
    if (sharers > state->sharers)
        state->beside_bytes = 0; /* it was for fewer, and is worked out again within 20 ms */
    state->sharers = sharers;
    floor_follow(state);
}

/* It was away for gap_ns, and something did not fit when it went. */
static void back(struct mfs_window_state *state, uint64_t done_bytes, int64_t gap_ns,
                 int64_t now_ns)
{
    const uint64_t held = state->full_bytes > done_bytes ? state->full_bytes - done_bytes : 0;

    state->often = (now_ns - state->back_ns) / 4 <= gap_ns;
    state->left_bytes = state->full_bytes;
    state->until_ns = now_ns + mfs_window_soon_ns(&state->config, state->rate_Bps, held);
    state->away_ns = gap_ns;
    state->back_ns = now_ns;
}

/* Has all that was in flight when it went left by now, so that the port has stood idle? */
static void judge(struct mfs_window_state *state, uint64_t done_bytes, bool alone, int64_t now_ns)
{
    if (done_bytes < state->left_bytes && now_ns <= state->until_ns)
        return; /* not known yet */
    if (done_bytes >= state->left_bytes && alone && state->often)
        state->more_bytes = mfs_window_more(&state->config, state->more_bytes, state->window_bytes,
                                            state->rate_Bps, state->away_ns);
    state->left_bytes = 0;
}

void mfs_window_state_look(struct mfs_window_state *state, uint64_t done_bytes, bool alone,
                           int64_t now_ns)
{
    const int64_t gap_ns = now_ns - state->looked_ns;

    if (state->full && mfs_window_away(&state->config, gap_ns))
        back(state, done_bytes, gap_ns, now_ns);
    else if (state->more_bytes > 0)
        state->more_bytes = mfs_window_fade(state->more_bytes, gap_ns);
    if (state->left_bytes > 0)
        judge(state, done_bytes, alone, now_ns);
    state->full = false;
    state->looked_ns = now_ns;
    /* what has left meanwhile is not all told at the first look */
    if (gap_ns >= state->gap_ns || now_ns - state->gap_seen_ns > state->config.depth_ns) {
        state->gap_ns = gap_ns;
        state->gap_seen_ns = now_ns;
    }
}

void mfs_window_state_burst(struct mfs_window_state *state, uint64_t bytes, int64_t silent_ns,
                            int64_t span_ns, int64_t now_ns)
{
    if (!mfs_window_away(&state->config, silent_ns) ||
        span_ns > mfs_window_soon_ns(&state->config, state->rate_Bps, bytes))
        return;
    if ((now_ns - state->burst_ns) / 4 <= silent_ns)
        state->more_bytes = mfs_window_more(&state->config, state->more_bytes, state->window_bytes,
                                            state->rate_Bps, silent_ns);
    state->burst_ns = now_ns;
}

void mfs_window_state_full(struct mfs_window_state *state, uint64_t sent_bytes)
{
    state->full = true;
    state->full_bytes = sent_bytes;
}

void mfs_window_state_yield(struct mfs_window_state *state)
{
    state->more_bytes = 0;
    state->left_bytes = 0;
}

void mfs_window_state_beside(struct mfs_window_state *state, uint64_t best_Bps, int64_t delay_ns)
{
    if (state->best_Bps != best_Bps && state->floor_bytes > 0) {
        state->best_Bps = best_Bps;
        floor_follow(state);
    }
    state->beside_bytes = mfs_window_beside(&state->config, state->window_bytes, state->rate_Bps,
                                            best_Bps, delay_ns, state->sharers);
}

int64_t mfs_window_state_away(const struct mfs_window_state *state, int64_t now_ns)
{
    const int64_t gap_ns = now_ns - state->looked_ns;

    return gap_ns > state->gap_ns ? gap_ns : state->gap_ns;
}

bool mfs_window_state_fits(const struct mfs_window_state *state, uint64_t inflight_bytes,
                           uint64_t bytes)
{
    return inflight_bytes == 0 ||
           inflight_bytes + bytes <= state->window_bytes + mfs_window_state_added(state);
}
