/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all senders of a port share, as a few words that any of them may change at any time: what
 * is owed to untagged traffic, when the pacer lets the next chunk go, how fast the port has been.
 * Where several processes send, the words lie in memory that they share (host/segment.h). No lock:
 * two senders that meet in a word are off by a chunk.
 *
 * SHARE: untagged traffic keeps s thousandths of the port. While some waits, each tagged byte
 * earns it s/(1000-s) of a byte; a chunk that this pays for is due, and goes before all else. So
 * n bytes of untagged traffic leave the host before
 *
 *     n * 1000 / s + one chunk a sender
 *
 * bytes in all have left through the port.
 */
#ifndef MFS_CORE_PORT_STATE_H
#define MFS_CORE_PORT_STATE_H

#include <stdatomic.h>

#include "core/types.h"

/* What the interval that is being measured says; what is larger stays. */
enum mfs_sample {
    MFS_SAMPLE_ASKED, /* the window was never full: what was asked for. It may only raise the rate
                       */
    MFS_SAMPLE_FULL, /* it was: what the port can do */
    MFS_SAMPLE_HELD, /* it was full of bytes of one destination, which may be what is slow: less
                      * than half the rate is not the port's */
    MFS_SAMPLE_SLOW, /* a destination was what was slow: it may only raise the rate */
};

struct mfs_port_state {
    _Atomic uint64_t rate_Bps; /* 0: unknown yet */
    _Atomic uint64_t untagged_credit; /* thousandths of bytes that are owed to untagged traffic */
    _Atomic int64_t pace_next_ns; /* the next chunk may leave then */
    _Atomic int64_t sample_since_ns; /* start of the busy interval that is being measured */
    _Atomic uint64_t sample_base; /* the senders' done_bytes when it began */
    _Atomic uint32_t sample_full; /* enum mfs_sample: what it says of the port */
    _Atomic uint64_t best_Bps; /* that was seen in the last minutes; 0: nothing was */
};

/* Is an untagged chunk of so many bytes paid for? share: thousandths, 0..1000. */
bool mfs_share_due(const struct mfs_port_state *port, uint64_t share, uint64_t bytes);
/* Tagged bytes were sent while untagged traffic waited. */
void mfs_share_earn(struct mfs_port_state *port, uint64_t share, uint64_t bytes);
/* Untagged bytes were sent; also by their rank alone: they have had it. */
void mfs_share_spend(struct mfs_port_state *port, uint64_t bytes);
/* Of two ports that have a device in common: what pays for so many bytes goes from one to the
 * other, if it is there. */
void mfs_share_move(struct mfs_port_state *from, struct mfs_port_state *to, uint64_t bytes);

/* May a chunk leave now, at no more than pace_Bps? Then its time is taken. */
bool mfs_pace_take(struct mfs_port_state *port, uint64_t pace_Bps, uint64_t bytes, int64_t now_ns);

/* A busy interval begins; done_bytes: what the port's senders have completed since ever. */
void mfs_sample_begin(struct mfs_port_state *port, uint64_t done_bytes, int64_t now_ns);
void mfs_sample_is(struct mfs_port_state *port, enum mfs_sample kind);
/* Is the busy interval long enough for a sample? */
bool mfs_sample_due(const struct mfs_port_state *port, int64_t now_ns);
/* Move the estimate by what was completed in the interval; the next one begins. */
void mfs_sample_take(struct mfs_port_state *port, uint64_t done_bytes, int64_t now_ns);

#endif
