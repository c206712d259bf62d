/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which ranks may send to a receiver's port, as the receiver tells those who have something for it.
 *
 *   senders  --- claims: the best rank that each has waiting for the port ------> receiver
 *   senders  <-- limit: what has a larger rank is held back (mfs_voq_limit) ----- receiver
 *
 * The limit is the rank of the allowed-th best claim. As many are allowed as keep the port busy:
 * one more whenever it is about to run dry, one less while what has come takes it a quarter of the
 * delay or more. So what a limit holds back would only have waited at the port, in front of
 * something better and in the window of its sender.
 *
 * A sender whom nobody has told a limit sends as it likes, and so does everybody where limits
 * arrive too late to be of use.
 *
 * Nobody believes another host for ever (docs/decisions/0053): what a limit has held back for ten
 * leases goes until the sender looks at its limits again, and a port waits for what another host
 * wants of it only while that one's bytes move, five leases in a row at most.
 *
 * Pure functions. Times are spans: the clocks of two hosts are never compared.
 */
#ifndef MFS_CORE_EXCHANGE_H
#define MFS_CORE_EXCHANGE_H

#include "core/types.h"

#define MFS_EXCHANGE_BEGIN 2u /* senders that are allowed at first */
/* Two windows: claims that are older are worth nothing. */
#define MFS_EXCHANGE_DELAY_MAX_NS INT64_C(4000000)
#define MFS_EXCHANGE_SPAN_MAX_NS INT64_C(86400000000000) /* a day; longer ones are cut to it */
#define MFS_EXCHANGE_HELD_LEASES 10 /* that a limit holds something back */
#define MFS_EXCHANGE_GUEST_LEASES 5 /* that a guest goes first in a row */

/* How many of `count` senders with a claim may send, when `allowed` of them might until now.
 * backlog_ns: the port serves for so long what has come; delay_ns: from a claim to its limit. */
MFS_API uint32_t mfs_exchange_allowed(uint32_t allowed, uint32_t count, int64_t backlog_ns,
                                      int64_t delay_ns);
/* The limit that lets the `allowed` best of these claims through, and those that equal them; claims
 * are left in another order. MFS_RANK_NONE: all. */
MFS_API mfs_rank_t mfs_exchange_limit(mfs_rank_t *claims, uint32_t count, uint32_t allowed);

/* A rank's key as it goes to another host: the span from now to it, cut. */
MFS_API int64_t mfs_exchange_span(mfs_rank_t rank, int64_t now_ns);
/* And as it comes from one. No better than what a host puts in front of all of its own (rank 0);
 * MFS_RANK_NONE: there is no such level. */
MFS_API mfs_rank_t mfs_exchange_rank(uint32_t level, int64_t span_ns, int64_t now_ns);

/* --- a sender --- */

/* What it knows of the port at the other end of a destination. */
struct mfs_far_end {
    uint64_t peer;      /* who is there, as other hosts name him; 0: not known */
    uint64_t version;   /* of the table by which the port was found */
    uint32_t port;      /* its index there */
    int64_t held_ns;    /* since when a limit has held its best back; 0: it does not */
};

/* The limit to keep to, of the one that was told: none once it has held the best for ten leases. */
MFS_API mfs_rank_t mfs_exchange_heed(struct mfs_far_end *end, mfs_rank_t best, mfs_rank_t limit,
                                     int64_t lease_ns, int64_t now_ns);

/* --- an owner --- */

/* What is remembered of a guest; zeroed at first. */
struct mfs_guest_word {
    int64_t since_ns; /* since when it has waited, or not been believed; 0: neither */
    int64_t moved_ns; /* when its bytes moved last */
    uint64_t done_bytes;
    bool doubted;
};

/* The rank by which it waits, as far as it is believed; MFS_RANK_NONE: it is not waited for. */
MFS_API mfs_rank_t mfs_exchange_believe(struct mfs_guest_word *word, mfs_rank_t rank,
                                        uint64_t done_bytes, int64_t lease_ns, int64_t now_ns);

#endif
