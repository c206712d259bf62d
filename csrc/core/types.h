/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words that every floor shares: stage, tag, time, rank.
 *
 * Time is int64_t nanoseconds on a clock that the caller passes in (on a host:
 * CLOCK_MONOTONIC, which all processes of the host share). Sizes are bytes,
 * rates bytes per second. Functions return 0 or -errno; outputs are set only on
 * success.
 */
#ifndef MFS_CORE_TYPES_H
#define MFS_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MFS_API __attribute__((visibility("default")))
/* For what runs some tens of instructions at every call that is intercepted. */
#define MFS_LIKELY(condition) __builtin_expect(!!(condition), 1)

#define MFS_TIME_NEVER INT64_MAX /* no such moment: no deadline, no promotion due */
#define MFS_REQUEST_NONE 0u      /* the key of "no request": untagged traffic */

/* Levels run from 0 (served first) to K-1; the scavenger level follows, at K. */
#define MFS_LEVELS_MAX 32

/*
 * Where a flow goes that is in level `now` and that the policy puts into `wanted`, of `levels`
 * levels: it is promoted only, but to the scavenger level and back. MFS_LEVELS_MAX: it is new.
 */
static inline uint32_t mfs_level_next(uint32_t levels, uint32_t now, uint32_t wanted)
{
    if (wanted >= levels)
        return levels;
    return now < levels && now < wanted ? now : wanted;
}

/* The three kinds of traffic of one prefill (arXiv 2603.17456, section 2). */
enum mfs_stage {
    MFS_STAGE_NONE = 0, /* untagged: placed as stage 3 of a request of which nothing is known */
    MFS_STAGE_KV_REUSE = 1, /* fetch reusable KV; needed before a layer computes */
    MFS_STAGE_COLLECTIVE = 2, /* between the hosts of a unit; blocks computing */
    MFS_STAGE_P2D = 3, /* new KV from prefill to decode; ends the TTFT */
};

/* "kv_reuse", "collective", "p2d", "none"; NULL for a number that is no stage. */
MFS_API const char *mfs_stage_name(uint32_t stage);

/* What travels with an operation. Operations with equal tags on one port are one flow. */
struct mfs_tag {
    uint64_t request; /* key of the request (mfs_request_key), or MFS_REQUEST_NONE */
    uint32_t layer;   /* layer (or layer group) that produces or consumes the bytes */
    uint32_t stage;   /* enum mfs_stage */
};

/*
 * The place of a flow in the order of a port, as one number so that processes
 * can compare theirs with one load: level in the top 6 bits, key in the other
 * 58. Smaller goes first. MFS_RANK_NONE (nothing waits) is larger than all.
 */
typedef uint64_t mfs_rank_t;
#define MFS_RANK_NONE UINT64_MAX
#define MFS_RANK_LAST (MFS_RANK_NONE - 1) /* behind whatever waits for a turn of its own */
#define MFS_KEY_BITS 58
#define MFS_KEY_MAX ((INT64_C(1) << MFS_KEY_BITS) - 1)

/* Keys outside [0, MFS_KEY_MAX] are clamped. */
static inline mfs_rank_t mfs_rank_make(unsigned level, int64_t key)
{
    if (key < 0)
        key = 0;
    else if (key > MFS_KEY_MAX)
        key = MFS_KEY_MAX;
    return ((uint64_t)level << MFS_KEY_BITS) | (uint64_t)key;
}

/* What waits in a queue: its best chunk, and its best untagged one (perhaps the same). */
struct mfs_next {
    mfs_rank_t rank;          /* MFS_RANK_NONE: the queue is empty */
    mfs_rank_t untagged_rank; /* MFS_RANK_NONE: nothing untagged waits */
    uint64_t bytes;           /* of the chunk that goes next; 0 when empty */
    uint64_t untagged_bytes;  /* of the best untagged one; 0 when there is none */
    bool untagged;            /* the chunk that goes next is untagged */
};

static inline unsigned mfs_rank_level(mfs_rank_t rank)
{
    return (unsigned)(rank >> MFS_KEY_BITS);
}

static inline int64_t mfs_rank_key(mfs_rank_t rank)
{
    return (int64_t)(rank & (uint64_t)MFS_KEY_MAX);
}

#endif
