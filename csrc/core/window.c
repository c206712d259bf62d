/* SPDX-License-Identifier: Apache-2.0 */
#include "core/window.h"

#include <string.h>

#include "core/span.h"

#define MORE_TIMES 4 /* what the port carries in an absence */
#define FADE_NS 200e6
#define BESIDE_DEPTHS                                                                              \
    4 /* at the rates of now and of ever: no more than leaves in so many depth_ns */
#define FLOOR_DEPTHS 6 /* the same, at the best rate */

void mfs_window_config_init(struct mfs_window_config *config)
{
    memset(config, 0, sizeof(*config));
    config->chunk_ns = 200000;
    config->chunk_min_bytes = 65536;
    config->chunk_max_bytes = 4194304;
    config->depth_ns = 2000000;
}

static uint64_t whole(double bytes)
{
    return bytes < 9e18 ? (uint64_t)bytes : UINT64_C(9000000000000000000);
}

uint64_t mfs_window_chunk(const struct mfs_window_config *config, uint64_t rate_Bps)
{
    uint64_t chunk = mfs_bytes_span(config->chunk_ns, rate_Bps);

    /* until the rate is known: the smallest chunk, to be gentle to others; or what the rate would
     * be for which a fixed window was chosen (one that never fills teaches none) */
    if (rate_Bps == 0 && config->window_bytes > 0 && config->depth_ns > 0)
        chunk = whole((double)config->window_bytes * (double)config->chunk_ns /
                      (double)config->depth_ns);
    if (chunk < config->chunk_min_bytes)
        chunk = config->chunk_min_bytes;
    if (chunk > config->chunk_max_bytes)
        chunk = config->chunk_max_bytes;
    chunk -= chunk % (chunk < 16 * MFS_CHUNK_PAGE ? MFS_CHUNK_ALIGN : MFS_CHUNK_PAGE);
    return chunk ? chunk : MFS_CHUNK_ALIGN;
}

uint64_t mfs_window_bytes(const struct mfs_window_config *config, uint64_t rate_Bps)
{
    uint64_t chunk = mfs_window_chunk(config, rate_Bps);
    uint64_t window;

    if (config->window_bytes)
        return config->window_bytes;
    window = mfs_bytes_span(config->depth_ns, rate_Bps);
    if (window < config->window_min_bytes)
        window = config->window_min_bytes;
    return window > 2 * chunk ? window : 2 * chunk;
}

int64_t mfs_window_soon_ns(const struct mfs_window_config *config, uint64_t rate_Bps,
                           uint64_t bytes)
{
    return config->depth_ns / 8 + mfs_span_bytes(bytes / 4, rate_Bps);
}

uint64_t mfs_window_more(const struct mfs_window_config *config, uint64_t more_bytes,
                         uint64_t window_bytes, uint64_t rate_Bps, int64_t away_ns)
{
    const uint64_t carries = mfs_bytes_span(away_ns, rate_Bps);
    const uint64_t more = 2 * more_bytes + window_bytes;
    const uint64_t most = carries < UINT64_MAX / MORE_TIMES ? MORE_TIMES * carries : UINT64_MAX;

    if (config->window_bytes)
        return 0;
    return more > more_bytes && more < most ? more : most;
}

uint64_t mfs_window_fade(uint64_t more_bytes, int64_t gap_ns)
{
    if (more_bytes == 0 || gap_ns <= 0)
        return more_bytes;
    return gap_ns < FADE_NS ? more_bytes - (uint64_t)((double)more_bytes * (double)gap_ns / FADE_NS)
                            : 0;
}

uint64_t mfs_window_floor(const struct mfs_window_config *config, uint64_t floor_bytes,
                          uint64_t best_Bps)
{
    const uint64_t carries =
        whole((double)best_Bps * FLOOR_DEPTHS * (double)config->depth_ns * 1e-9);

    return best_Bps > 0 && carries < floor_bytes ? carries : floor_bytes;
}

uint64_t mfs_window_beside(const struct mfs_window_config *config, uint64_t window_bytes,
                           uint64_t rate_Bps, uint64_t best_Bps, int64_t delay_ns, uint32_t sharers)
{
    const double both_Bps = (double)rate_Bps + (double)best_Bps;
    const uint64_t most = whole(both_Bps * BESIDE_DEPTHS * (double)config->depth_ns * 1e-9);
    const uint64_t parts = sharers > 1 ? (uint64_t)sharers + 1 : 2;
    uint64_t wanted = mfs_bytes_span(delay_ns, best_Bps) / parts;

    if (config->window_bytes)
        return 0;
    if (wanted > most)
        wanted = most;
    return wanted > window_bytes ? wanted - window_bytes : 0;
}

uint64_t mfs_rate_next(uint64_t rate_Bps, uint64_t bytes, int64_t span_ns, bool full)
{
    const double sample = (double)bytes * 1e9 / (double)span_ns;
    uint64_t sample_Bps = sample < 9e18 ? (uint64_t)sample : UINT64_C(9000000000000000000);

    if (rate_Bps == 0)
        return full ? sample_Bps : 0;
    if (sample_Bps / 2 > rate_Bps)
        sample_Bps = 2 * rate_Bps;
    if (sample_Bps > rate_Bps)
        return rate_Bps + (sample_Bps - rate_Bps) / 4;
    return full ? rate_Bps - (rate_Bps - sample_Bps) / 4 : rate_Bps;
}
