/* SPDX-License-Identifier: Apache-2.0 */
#include "host/room.h"

#include "host/config.h"

#define GET(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define SET(word, value) atomic_store_explicit(&(word), (value), memory_order_relaxed)

void mfs_room_config(struct mfs_window_config *window)
{
    const struct mfs_config *config = mfs_config_get();

    mfs_window_config_init(window);
    window->chunk_ns = config->chunk_time;
    window->chunk_min_bytes = config->chunk_min;
    window->chunk_max_bytes = config->chunk_max;
    window->depth_ns = config->window_time;
    window->window_min_bytes = config->port_rate > 0 ? 0 : config->window_min;
    window->window_bytes = config->window;
}

void mfs_room_init(struct mfs_room *room)
{
    *room = (struct mfs_room){.rate_Bps = UINT64_MAX};
    mfs_room_config(&room->config);
}

static void sizes_for(struct mfs_room *room, uint64_t rate_Bps)
{
    if (GET(room->rate_Bps) == rate_Bps)
        return;
    SET(room->chunk_bytes, mfs_window_chunk(&room->config, rate_Bps));
    SET(room->window_bytes, mfs_window_bytes(&room->config, rate_Bps));
    SET(room->rate_Bps, rate_Bps);
}

uint64_t mfs_room_chunk(struct mfs_room *room, uint64_t rate_Bps)
{
    sizes_for(room, rate_Bps);
    return GET(room->chunk_bytes);
}

void mfs_room_look(struct mfs_room *room, bool drained, int64_t now_ns)
{
    const int64_t gap_ns = now_ns - GET(room->looked_ns);
    const uint64_t more_bytes = GET(room->more_bytes);
    const bool late = mfs_window_late(&room->config, gap_ns, drained && GET(room->full));

    if (late || more_bytes > 0)
        SET(room->more_bytes, mfs_window_more(&room->config, more_bytes, GET(room->window_bytes),
                                              gap_ns, late ? now_ns - GET(room->late_ns) : 0));
    if (late)
        SET(room->late_ns, now_ns);
    SET(room->full, false);
    SET(room->looked_ns, now_ns);
}

bool mfs_room_fits(struct mfs_room *room, uint64_t rate_Bps, uint64_t inflight_bytes,
                   uint64_t bytes)
{
    bool fits;

    sizes_for(room, rate_Bps);
    fits = inflight_bytes == 0 ||
           inflight_bytes + bytes <= GET(room->window_bytes) + GET(room->more_bytes);
    SET(room->full, !fits);
    return fits;
}
