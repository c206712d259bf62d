/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing that is read from memory that other processes write is trusted: one of them, or a fault
 * of its, may have written anything. These say what such a word can mean at most.
 */
#ifndef MFS_CORE_TRUST_H
#define MFS_CORE_TRUST_H

#include "core/types.h"

/*
 * Has the owner of this stamp moved within the lease? A stamp of the future is no proof: a lease
 * ahead it may be (its writer has read the clock after us), beyond that nobody of this clock has
 * written it.
 */
static inline bool mfs_stamp_fresh(int64_t stamp_ns, int64_t now_ns, int64_t lease_ns)
{
    const uint64_t lease = (uint64_t)lease_ns;

    return (uint64_t)now_ns - (uint64_t)stamp_ns + lease <= 2 * lease;
}

/*
 * Has a moment come that is shared by processes, and that each of them sets at most `most_ns`
 * ahead? One that lies further ahead was set by nobody of this clock: it has come.
 */
static inline bool mfs_moment_come(int64_t moment_ns, int64_t now_ns, int64_t most_ns)
{
    return moment_ns <= now_ns || (uint64_t)moment_ns - (uint64_t)now_ns > (uint64_t)most_ns;
}

/* Time since a moment that is shared; 0 if that lies ahead. */
static inline int64_t mfs_moment_age(int64_t moment_ns, int64_t now_ns)
{
    int64_t age_ns;

    if (moment_ns >= now_ns)
        return 0;
    return __builtin_sub_overflow(now_ns, moment_ns, &age_ns) ? INT64_MAX : age_ns;
}

/* No port is faster: a rate beyond it is rubbish. */
#define MFS_RATE_MAX_BPS UINT64_C(100000000000000)

/* An index or a count that is read: at most `most`. */
static inline uint32_t mfs_at_most(uint32_t value, uint32_t most)
{
    return value < most ? value : most;
}

#endif
