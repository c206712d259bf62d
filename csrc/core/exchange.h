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
 * Pure functions. Times are spans: the clocks of two hosts are never compared.
 */
#ifndef MFS_CORE_EXCHANGE_H
#define MFS_CORE_EXCHANGE_H

#include "core/types.h"

#define MFS_EXCHANGE_BEGIN 2u /* senders that are allowed at first */
/* Two windows: claims that are older are worth nothing. */
#define MFS_EXCHANGE_DELAY_MAX_NS INT64_C(4000000)

/* How many of `count` senders with a claim may send, when `allowed` of them might until now.
 * backlog_ns: the port serves for so long what has come; delay_ns: from a claim to its limit. */
MFS_API uint32_t mfs_exchange_allowed(uint32_t allowed, uint32_t count, int64_t backlog_ns,
                                      int64_t delay_ns);
/* The limit that lets the `allowed` best of these claims through, and those that equal them; claims
 * are left in another order. MFS_RANK_NONE: all. */
MFS_API mfs_rank_t mfs_exchange_limit(mfs_rank_t *claims, uint32_t count, uint32_t allowed);

#endif
