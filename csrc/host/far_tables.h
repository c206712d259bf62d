/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: the tables of host/far.h in the segment, and how senders read them.
 *
 *   own[]      written under the lock by the process that has the worker; the dead's are reaped
 *   workers[]  open addressing by uid, written under the lock by the agent; a reader that finds
 *              half of a change finds no port, or that of the worker before
 *   ports[]    the same; the words of a limit, and of answers, are the agent's alone: what it says
 *              is written before its end, so that an old one never has a new end
 *   claims[]   one of a sender and a far port, or its own port, taken by the sender; the dead's are
 *              reaped
 *   claimed[]  a bit of each row that is taken, so that readers look at no other. It is set as
 * often as the row is written, and gone before the row is free: one that is missing comes back, and
 * one too many only costs a look.
 */
#ifndef MFS_HOST_FAR_TABLES_H
#define MFS_HOST_FAR_TABLES_H

#include <stdatomic.h>

#include "host/far.h"

#define MFS_CLAIMS_MAX 1024u
#define MFS_CLAIMED_WORDS (MFS_CLAIMS_MAX / 64)
#define MFS_CLAIM_OF_OWN(port) (MFS_FAR_PORTS_MAX + (port)) /* by its index in the segment */
#define MFS_FAR_ATTEND_MAX_NS INT64_C(10000000000)
#define MFS_FAR_NAME_WORDS ((MFS_FAR_NAME_MAX + 1) / sizeof(uint64_t))
#define MFS_FAR_OWN_NAME_WORDS ((MFS_PORT_NAME_MAX + 1) / sizeof(uint64_t))

struct mfs_far_own_cell {
    _Atomic uint32_t owner; /* process slot + 1; 0: free */
    _Atomic uint64_t uid;
    _Atomic uint64_t name[MFS_FAR_OWN_NAME_WORDS];
};

struct mfs_far_worker_cell {
    _Atomic uint64_t uid;    /* 0: never used */
    _Atomic uint32_t far[2]; /* by the direction of our sender; MFS_FAR_NONE: not known */
};

struct mfs_far_port_cell {
    _Alignas(64) _Atomic uint64_t key; /* 0: free */
    _Atomic uint64_t limit;            /* a rank of this host's clock */
    _Atomic int64_t until_ns;          /* the limit ends */
    _Atomic uint32_t answers;          /* level of what is read by it and leaves by us */
    _Atomic int64_t answers_until_ns;
    _Atomic int64_t shared_until_ns;   /* what is told of sharers ends */
    _Atomic uint32_t sharers;          /* hosts that have something for it */
    _Atomic uint64_t done_bytes;       /* of all senders here, ever: rows come and go */
    _Atomic uint64_t name[MFS_FAR_NAME_WORDS];
};

struct mfs_claim_cell {
    _Alignas(64) _Atomic uint32_t owner; /* process slot + 1; 0: free */
    _Atomic uint32_t far; /* a far port, or MFS_CLAIM_OF_OWN */
    _Atomic uint64_t rank; /* of the best that waits, or MFS_RANK_NONE */
    _Atomic uint64_t waiting_bytes, inflight_bytes;
    _Atomic int64_t stamp_ns; /* when it was told */
    _Atomic uint32_t sender;  /* whose: port * MFS_SENDERS_MAX + its cell there */
    /* Of the whole sender: once as many bytes are in flight and done, by its cell, nothing of what
     * it had then waits any more. */
    _Atomic uint64_t all_bytes;
};

struct mfs_far_tables {
    _Atomic uint32_t agent; /* its process slot + 1; 0: there is none */
    _Atomic int64_t until_ns; /* it is there */
    _Atomic uint64_t version; /* of workers and ports */
    _Atomic uint64_t own_version;
    struct mfs_far_own_cell own[MFS_FAR_OWN_MAX];
    struct mfs_far_worker_cell workers[MFS_FAR_WORKERS_MAX];
    struct mfs_far_port_cell ports[MFS_FAR_PORTS_MAX];
    _Alignas(64) _Atomic uint64_t claimed[MFS_CLAIMED_WORDS];
    struct mfs_claim_cell claims[MFS_CLAIMS_MAX];
};

struct mfs_living;

/* Level and span of a rank as they are told; MFS_FAR_NO_LEVEL and 0: of none. */
void mfs_far_rank_tell(mfs_rank_t rank, int64_t now_ns, uint32_t *level, int64_t *span_ns);

/* Is there an agent now? */
bool mfs_far_attended(const struct mfs_far_tables *far, int64_t now_ns);
/* The port that a sender of this direction reaches at the worker; MFS_FAR_NONE. */
uint32_t mfs_far_find(const struct mfs_far_tables *far, uint64_t uid, enum mfs_direction direction);
/* The limit of now; MFS_RANK_NONE: there is none. */
mfs_rank_t mfs_far_limit_now(const struct mfs_far_tables *far, uint32_t port, int64_t lease_ns,
                             int64_t now_ns);
/* The level of answers to reads that enter by this port; MFS_FAR_NO_LEVEL: nobody says. */
uint32_t mfs_far_answers_now(const struct mfs_far_tables *far, uint32_t port, int64_t now_ns);
/* How many hosts have something for it now, as far as its owner has told; 0: it has not. */
uint32_t mfs_far_sharers_now(const struct mfs_far_tables *far, uint32_t port, int64_t now_ns);
/* The port's name; false: there is none of that index. */
bool mfs_far_name(const struct mfs_far_tables *far, uint32_t port, char name[MFS_FAR_NAME_MAX + 1]);
bool mfs_far_port_known(const struct mfs_far_tables *far, uint32_t port);
/* What all the host's senders want of each: added up, as told within the lease. */
struct mfs_segment;
struct mfs_far_sums {
    uint64_t seen[MFS_FAR_PORTS_MAX / 64]; /* a bit of each port that somebody wants something of */
    mfs_rank_t rank[MFS_FAR_PORTS_MAX]; /* of those, the best that waits */
    mfs_rank_t gone[MFS_FAR_PORTS_MAX]; /* and of senders all of whose bytes are in flight */
    struct mfs_claim claim[MFS_FAR_PORTS_MAX];
};
void mfs_far_sum(const struct mfs_segment *segment, int64_t lease_ns, int64_t now_ns,
                 struct mfs_far_sums *sums);
bool mfs_far_summed(const struct mfs_far_sums *sums, uint32_t port);
/* The row is written to from now on; it is free. */
void mfs_far_row_used(struct mfs_far_tables *far, const struct mfs_claim_cell *row);
void mfs_far_row_free(struct mfs_far_tables *far, struct mfs_claim_cell *row);
/* What nobody alive owns; the lock is held. */
void mfs_far_reap(struct mfs_far_tables *far, const struct mfs_living *living);

#endif
