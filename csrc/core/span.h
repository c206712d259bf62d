/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times and spans that are added with saturation: "never" stays never, nothing wraps. And bytes as
 * the span that they take at a rate.
 */
#ifndef MFS_CORE_SPAN_H
#define MFS_CORE_SPAN_H

#include "core/types.h"

/* Spans longer than this (36 years) are cut to it; products of spans cannot overflow. */
#define MFS_SPAN_MAX (INT64_C(1) << 60)

/* t - span, and t stays "never" if it is. */
static inline int64_t mfs_time_minus(int64_t time_ns, int64_t span_ns)
{
    int64_t result;

    if (time_ns == MFS_TIME_NEVER)
        return MFS_TIME_NEVER;
    if (__builtin_sub_overflow(time_ns, span_ns, &result))
        return span_ns > 0 ? INT64_MIN : MFS_TIME_NEVER;
    return result;
}

static inline int64_t mfs_time_plus(int64_t time_ns, int64_t span_ns)
{
    return span_ns == INT64_MIN ? time_ns : mfs_time_minus(time_ns, -span_ns);
}

static inline int64_t mfs_time_earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t mfs_span_times(int64_t span_ns, int64_t factor)
{
    int64_t result;

    if (__builtin_mul_overflow(span_ns, factor, &result) || result > MFS_SPAN_MAX)
        return MFS_SPAN_MAX;
    return result < -MFS_SPAN_MAX ? -MFS_SPAN_MAX : result;
}

/* Sending time of bytes at a rate; 0 when the rate is unknown. */
static inline int64_t mfs_span_bytes(uint64_t bytes, uint64_t rate_Bps)
{
    double span_ns;

    if (rate_Bps == 0)
        return 0;
    span_ns = (double)bytes * 1e9 / (double)rate_Bps;
    return span_ns < (double)MFS_SPAN_MAX ? (int64_t)span_ns : MFS_SPAN_MAX;
}

/* Bytes that are sent in a span at a rate, 9e18 at most; 0 for a span that is over. The inverse of
 * mfs_span_bytes(). */
static inline uint64_t mfs_bytes_span(int64_t span_ns, uint64_t rate_Bps)
{
    const double bytes = (double)rate_Bps * (double)span_ns * 1e-9;

    if (span_ns <= 0)
        return 0;
    return bytes < 9e18 ? (uint64_t)bytes : UINT64_C(9000000000000000000);
}

#endif
