/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far ahead of the wire we send, and how fast the wire is.
 *
 *   window = max(2 * chunk, rate * depth_ns, floor) + more + beside     bytes in flight on a port
 *   chunk  = clamp(rate * chunk_ns, min, max)     cut to whole pages, a small one to 128 bytes;
 *            with a fixed window, the rate is window / depth_ns until it is known
 *
 * Priority only helps for bytes that are still ours, so the window is one
 * bandwidth-delay product plus a chunk, no more. But a sender that is not always
 * scheduled in time (few cores) finds all of it gone when it looks again, and the port
 * has stood idle meanwhile: then it needs `more`. The rate is learned from
 * completions in intervals in which the port never ran empty (idle time says
 * nothing about speed); its seed is the configuration or the link speed.
 */
#ifndef MFS_CORE_WINDOW_H
#define MFS_CORE_WINDOW_H

#include "types.h"

#define MFS_RATE_SAMPLE_NS 20000000 /* a busy interval worth a sample */
#define MFS_CHUNK_ALIGN 128u /* LL128 lines of NCCL and GPUDirect writes stay whole */
/* Chunks of 16 pages and more are whole ones: copies between processes and registrations take
 * pages. */
#define MFS_CHUNK_PAGE 4096u

struct mfs_window_config {
    int64_t chunk_ns;         /* sending time of a chunk [200 us] */
    uint64_t chunk_min_bytes; /* [65536] */
    uint64_t chunk_max_bytes; /* [4194304] */
    int64_t depth_ns;         /* delay that the window covers [2 ms] */
    uint64_t window_min_bytes; /* the floor, for a rate that is learned: a window that is
                                * too small would be all that it learns from [0] */
    uint64_t window_bytes;    /* fixed window; 0: from the formula [0] */
};

MFS_API void mfs_window_config_init(struct mfs_window_config *config);
MFS_API uint64_t mfs_window_chunk(const struct mfs_window_config *config, uint64_t rate_Bps);
MFS_API uint64_t mfs_window_bytes(const struct mfs_window_config *config, uint64_t rate_Bps);

/*
 * FLOOR: it is there until the port has shown what it carries (best_Bps). From then on it is what
 * that carries in 6 depth_ns at most: on a slow port it would be much more time than it was meant
 * to be (0.5 MiB are 4 ms at 1 Gbit/s, and 42 at 100 Mbit/s), and all of it in front of what is
 * urgent. Less than that, and a port whose peer answers 10 ms late would have shown less and less.
 * best_Bps 0: not known.
 */
MFS_API uint64_t mfs_window_floor(const struct mfs_window_config *config, uint64_t floor_bytes,
                                  uint64_t best_Bps);

/*
 * SHARED: the port at the other end is shared by so many hosts, as its owner tells them, and all of
 * their windows lie in its queue. Together they have the floor of one: by it the rate is learned
 * as long as all of them send, and who is more urgent finds one window in front of him and not one
 * of each. Two chunks each stay, whatever is told. 0 or 1: nobody else has anything for it.
 */
static inline uint64_t mfs_window_shared(uint64_t floor_bytes, uint32_t sharers)
{
    return sharers > 1 ? floor_bytes / sharers : floor_bytes;
}

/*
 * LATE: a sender that found its window full and looks again after gap_ns was away, if that is half
 * of what the window covers or more. It needs more than the window if it is away often (again
 * within four times its absence, so for a quarter of its time; not for a hiccup), and if the port
 * has stood idle meanwhile: all that was in flight is told to be over as soon as it looks. "As
 * soon" is a quarter of the time in which the port would carry it, since what is over is told in
 * parts, and an eighth of the window's.
 *
 * The other end may be what is away: where a byte is over when the receiving process says so, all
 * that is in flight to it is told at once, after a silence. That is the same to the port, and a
 * silence counts as an absence, if the bytes are over as soon (mfs_window_state_burst).
 */
static inline bool mfs_window_away(const struct mfs_window_config *config, int64_t gap_ns)
{
    return gap_ns >= config->depth_ns / 2;
}
MFS_API int64_t mfs_window_soon_ns(const struct mfs_window_config *config, uint64_t rate_Bps,
                                   uint64_t bytes);
/*
 * What a sender then adds to its window: twice as much in all, up to four times what the port
 * carries while the sender is away (a rate that was learned meanwhile is that of a port which
 * stood idle for some of the time). 0 for a fixed window, and while no rate is known.
 */
MFS_API uint64_t mfs_window_more(const struct mfs_window_config *config, uint64_t more_bytes,
                                 uint64_t window_bytes, uint64_t rate_Bps, int64_t away_ns);
/* What it still adds gap_ns later, if it was in time: about a third in 200 ms. */
MFS_API uint64_t mfs_window_fade(uint64_t more_bytes, int64_t gap_ns);

/*
 * BESIDE: bytes that no sender of the port knows of lie in the same queue of the network: reads of
 * this host's memory that it serves, programs without us, other hosts that send to the same
 * receiver. Who serves a queue in order gives each the share that it has in it, so that next to
 * them a window of rate * depth_ns gets next to nothing, and learns a rate that makes it smaller
 * still. What is in flight takes delay_ns, and the port has carried best_Bps: so best * delay bytes
 * lie there, ours among them, and half of that may be ours. On a port that is ours alone this is
 * what is on its way in the time that an empty queue takes; it adds nothing there.
 *
 *   beside = min(best * delay / (sharers + 1), (rate + best) * 4 * depth) - window, at least 0
 *
 * Hosts of which we know that they share the port go by the same rule: one part for each, and one
 * for those of whom nobody knows. Where there are none of these, what all have shrinks to windows.
 *
 * The bound keeps the order where nobody is beside us and the port has become slower (to a tenth:
 * what was handed over has left in 44 times depth_ns, until that best is forgotten). It grows less
 * than the rate does, so that several who all go by this rule come to equal shares. 0 for a fixed
 * window.
 */
MFS_API uint64_t mfs_window_beside(const struct mfs_window_config *config, uint64_t window_bytes,
                                   uint64_t rate_Bps, uint64_t best_Bps, int64_t delay_ns,
                                   uint32_t sharers);

/*
 * The next estimate from the last (0: none yet) and an interval of span_ns > 0 in which the port
 * never ran empty and `bytes` were completed: a quarter of the way to the sample. A burst into
 * an empty socket buffer is not bandwidth: a sample counts as twice the last at most. `full`:
 * the window was full in it; without, it shows what was asked for, not what the port can do,
 * and may only raise an estimate that is there.
 */
MFS_API uint64_t mfs_rate_next(uint64_t rate_Bps, uint64_t bytes, int64_t span_ns, bool full);

#endif
