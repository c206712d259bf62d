/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: how large the chunks of one member are, and how much may be in flight
 * on the port when it sends (core/window.h has the formulas). Kept between chunks, since the
 * estimate of the bandwidth moves once in MFS_RATE_SAMPLE_NS. Of the member's owner; several
 * threads of it may meet here, and one of them is then off by a chunk or an estimate.
 */
#ifndef MFS_HOST_ROOM_H
#define MFS_HOST_ROOM_H

#include <stdatomic.h>

#include "core/window.h"

struct mfs_room {
    _Atomic uint64_t rate_Bps, chunk_bytes, window_bytes; /* the sizes, and the rate they are for */
    _Atomic uint64_t more_bytes; /* that the window is larger, since the owner has looked late */
    _Atomic int64_t looked_ns; /* when it looked last */
    _Atomic int64_t late_ns; /* when it looked late last */
    _Atomic bool full; /* and found the window full */
    struct mfs_window_config config;
};

/* By the configuration of the process, as the next. */
void mfs_room_config(struct mfs_window_config *window);
void mfs_room_init(struct mfs_room *room);
uint64_t mfs_room_chunk(struct mfs_room *room, uint64_t rate_Bps);
/* The owner looks; drained: nothing is in flight on the port. */
void mfs_room_look(struct mfs_room *room, bool drained, int64_t now_ns);
/* Does a chunk of so many bytes fit beside what is in flight? A chunk alone always does. */
bool mfs_room_fits(struct mfs_room *room, uint64_t rate_Bps, uint64_t inflight_bytes,
                   uint64_t bytes);

#endif
