/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UNTAGGED: A sender whose traffic never has the best rank would wait for ever, so the port keeps
 * an account for all of them. An untagged chunk that is due goes before all else, and the others
 * yield to it as to a better rank: otherwise whoever fills the window would also be the one to see
 * its room. Among untagged chunks the best rank (in most policies the oldest) has the turn, so no
 * sender's is passed over. Two senders may both see the same credit, which costs a chunk. What is
 * left when nobody waits is kept, at most about a chunk; a sender that looks less often than the
 * lease would never find any if it were dropped.
 *
 * RATE: it begins with what the configuration says, or with the speed of the link, and is
 * corrected, unless it was configured, by the bytes completed over an interval in which the port
 * was never idle. The interval starts anew when a chunk finds the port empty and its sender had
 * nothing to send before. A port that is merely empty each time we look is not idle: a socket's
 * buffer may take a whole window at once. An interval in which the window was never full shows what
 * was asked for, not what the port can do: it may only raise an estimate. So may one in which a
 * destination turned out to be what was slow; and where one destination held the whole window while
 * others waited, less than half the estimate is not the port's. Else the rate of a slow receiver
 * whose traffic is the most urgent would become that of the port, and by that rate it would not be
 * slow. Whoever moves the start of the interval owns the sample.
 *
 * BEST: what the port has shown that it can carry, to know by it that others use it now: it goes
 * up as the rate does, and down by a 4096th of the difference with each full interval of 20 ms, so
 * that a port which has become slower is forgotten in minutes. It begins with what was measured:
 * the speed of a link is not what a virtual one has, or a switch behind it.
 */
#include "core/port_state.h"

#include "core/atomic.h"
#include "core/span.h"
#include "core/trust.h"
#include "core/window.h"

/* A chunk takes no longer, at any pace that is meant. */
#define PACE_AHEAD_NS INT64_C(60000000000)
#define PACE_CHUNK_BYTES (UINT64_C(4) << 20) /* the largest that others send, at the same pace */
#define BEST_SAMPLES 4096 /* after so many the best is forgotten by two thirds */
#define CREDIT_MAX (UINT64_C(1) << 43) /* bytes; its products below stay in 64 bits */

bool mfs_share_due(const struct mfs_port_state *port, uint64_t share, uint64_t bytes)
{
    return share == 1000 || (share > 0 && mfs_get(&port->untagged_credit) / 1000 >= bytes);
}

void mfs_share_earn(struct mfs_port_state *port, uint64_t share, uint64_t bytes)
{
    if (share == 1000 || mfs_get(&port->untagged_credit) > CREDIT_MAX * 1000)
        return;
    if (bytes > CREDIT_MAX)
        bytes = CREDIT_MAX;
    mfs_add(&port->untagged_credit, bytes * 1000 * share / (1000 - share));
}

void mfs_share_spend(struct mfs_port_state *port, uint64_t bytes)
{
    uint64_t credit = mfs_get(&port->untagged_credit);

    while (credit > 0 && !mfs_replace(&port->untagged_credit, &credit,
                                      credit / 1000 >= bytes ? credit - bytes * 1000 : 0))
        ;
}

void mfs_share_move(struct mfs_port_state *from, struct mfs_port_state *to, uint64_t bytes)
{
    uint64_t credit = mfs_get(&from->untagged_credit);

    while (bytes > 0 && credit / 1000 >= bytes &&
           mfs_get(&to->untagged_credit) / 1000 < CREDIT_MAX) {
        if (mfs_replace(&from->untagged_credit, &credit, credit - bytes * 1000)) {
            mfs_add(&to->untagged_credit, bytes * 1000);
            break;
        }
    }
}

static int64_t pace_span_ns(uint64_t bytes, uint64_t pace_Bps)
{
    const int64_t span_ns = mfs_span_bytes(bytes, pace_Bps);

    return span_ns < PACE_AHEAD_NS ? span_ns : PACE_AHEAD_NS;
}

bool mfs_pace_take(struct mfs_port_state *port, uint64_t pace_Bps, uint64_t bytes, int64_t now_ns)
{
    const int64_t takes_ns = pace_span_ns(bytes, pace_Bps);
    const int64_t ahead_ns =
        pace_span_ns(bytes > PACE_CHUNK_BYTES ? bytes : PACE_CHUNK_BYTES, pace_Bps);
    int64_t next_ns = mfs_get(&port->pace_next_ns), start_ns;

    do {
        if (!mfs_moment_come(next_ns, now_ns, ahead_ns))
            return false;
        /* up to a millisecond of lateness is made up, so that coarse polling keeps the rate */
        start_ns = next_ns > now_ns - 1000000 && next_ns <= now_ns ? next_ns : now_ns - 1000000;
    } while (!mfs_replace(&port->pace_next_ns, &next_ns, mfs_time_plus(start_ns, takes_ns)));
    return true;
}

void mfs_sample_begin(struct mfs_port_state *port, uint64_t done_bytes, int64_t now_ns)
{
    mfs_set(&port->sample_base, done_bytes);
    mfs_set(&port->sample_full, MFS_SAMPLE_ASKED);
    mfs_set(&port->sample_since_ns, now_ns);
}

void mfs_sample_is(struct mfs_port_state *port, enum mfs_sample kind)
{
    if (mfs_get(&port->sample_full) < kind)
        mfs_set(&port->sample_full, kind);
}

bool mfs_sample_due(const struct mfs_port_state *port, int64_t now_ns)
{
    const int64_t since_ns = mfs_get(&port->sample_since_ns);

    return mfs_moment_come(since_ns, now_ns - MFS_RATE_SAMPLE_NS, 2 * MFS_RATE_SAMPLE_NS);
}

/* The rate after an interval of this kind, from the one that was known (0: none). */
static uint64_t rate_after(enum mfs_sample kind, uint64_t rate_Bps, uint64_t bytes, int64_t span_ns)
{
    const double sample_Bps = (double)bytes * 1e9 / (double)span_ns, known_Bps = (double)rate_Bps;

    if (sample_Bps > (double)MFS_RATE_MAX_BPS) /* one of its two counts is rubbish */
        return rate_Bps;
    if (kind == MFS_SAMPLE_HELD && sample_Bps < known_Bps / 2)
        return rate_Bps;
    if (kind != MFS_SAMPLE_SLOW || rate_Bps == 0)
        return mfs_rate_next(rate_Bps, bytes, span_ns, kind != MFS_SAMPLE_ASKED);
    /* what others have shown beside the slow one is taken whole, up to four times the rate */
    if (sample_Bps > 4 * known_Bps)
        return (uint64_t)(4 * known_Bps);
    return sample_Bps > known_Bps ? (uint64_t)sample_Bps : rate_Bps;
}

static uint64_t best_after(enum mfs_sample kind, uint64_t best_Bps, uint64_t bytes, int64_t span_ns)
{
    const bool full = kind == MFS_SAMPLE_FULL;
    const double sample_Bps = (double)bytes * 1e9 / (double)span_ns;

    if (sample_Bps > (double)MFS_RATE_MAX_BPS || best_Bps > MFS_RATE_MAX_BPS)
        return 0;
    if (best_Bps == 0 || sample_Bps > (double)best_Bps)
        return mfs_rate_next(best_Bps, bytes, span_ns, full);
    return full ? best_Bps - (best_Bps - (uint64_t)sample_Bps) / BEST_SAMPLES : best_Bps;
}

void mfs_sample_take(struct mfs_port_state *port, uint64_t done_bytes, int64_t now_ns)
{
    int64_t since_ns = mfs_get(&port->sample_since_ns);
    const int64_t span_ns = mfs_moment_age(since_ns, now_ns);
    enum mfs_sample kind;
    uint64_t bytes;

    if (!mfs_sample_due(port, now_ns) || !mfs_replace(&port->sample_since_ns, &since_ns, now_ns))
        return;
    bytes = done_bytes - mfs_swap(&port->sample_base, done_bytes);
    kind = mfs_swap(&port->sample_full, MFS_SAMPLE_ASKED);
    if (span_ns <= 0)
        return;
    mfs_set(&port->rate_Bps, rate_after(kind, mfs_get(&port->rate_Bps), bytes, span_ns));
    mfs_set(&port->best_Bps, best_after(kind, mfs_get(&port->best_Bps), bytes, span_ns));
}
