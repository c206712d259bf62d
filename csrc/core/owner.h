/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One of a host's own ports, and who may send through it: the rule of core/exchange.h, with what a
 * real exchange adds to it.
 *
 *   members   other hosts, each with its best claim, and this host with its own best
 *   limit     the rank down to which members may send; others are told it, ours yield by a guest
 *
 * LIARS: a host that always says "urgent" must not gain by it. While its level is better than
 * another member's it spends credit, a nanosecond each; each member earns 1/n of one at the same
 * time. So it is in front of others for its share of the time, with 4 s of it in advance, and
 * beyond that it counts as what has no deadline, behind the others of that level. What has just
 * gone is urgent in the network (host/answers.h), so it spends as what waits does. This host's own
 * traffic is not bounded so: its processes are trusted as they are without peers.
 *
 * THE RATE, where nobody has configured it, is the most that members have completed in 30 ms while
 * several wanted the port: limits that come late leave it idle now and then, so the mean would be
 * less. On a port that completes less than four fifths of that nothing queues, and what is in
 * flight is on its way; that is how long a way is known.
 *
 * Pure functions. Times are of the caller's clock, rates bytes per second.
 */
#ifndef MFS_CORE_OWNER_H
#define MFS_CORE_OWNER_H

#include "core/types.h"

#define MFS_OWNER_MEMBERS_MAX 257 /* who: 0 this host, from 1 on others */
#define MFS_OWNER_PERIOD_NS                                                                        \
    INT64_C(4000000000) /* of credit in advance, for all members together                          \
                         */

/* A host with a claim on the port. */
struct mfs_owner_member {
    uint32_t who;
    mfs_rank_t rank; /* of its best; MFS_RANK_NONE: nothing waits */
    uint64_t inflight_bytes, done_bytes;
    int64_t base_ns; /* there and back, when nothing is in the way */
    int64_t at_ns;   /* when it was said */
    uint32_t under_way; /* where nothing waits: level + 1 of the best that has just gone; 0: none */
};

/* What a member may still spend. */
struct mfs_owner_credit {
    double left_ns;
    bool known;
    bool spent; /* its claims do not count as urgent now */
};

/* What it had completed when it was seen last, and at which look. */
struct mfs_owner_seen {
    uint64_t done_bytes, look;
};

struct mfs_owner_rate {
    double most_Bps[2]; /* in this span of 5 s and the one before */
    int64_t way_ns; /* 0: not known */
    int64_t turned_ns, since_ns, seen_ns;
    double area; /* bytes in flight, summed over time */
    uint64_t base_bytes; /* moved_bytes when the sample began */
    uint32_t base_count;
    uint32_t base_who[MFS_OWNER_MEMBERS_MAX]; /* members then, in their order */
};

/* Zeroed, and then mfs_owner_init(). */
struct mfs_owner {
    uint32_t allowed; /* members that may send */
    mfs_rank_t limit;
    bool mixed; /* members are of several levels */
    int64_t judged_ns;
    int64_t charged_ns; /* 0: never */
    uint64_t spent_times; /* that a member has used all of its credit */
    uint32_t credits_high;
    struct mfs_owner_credit credits[MFS_OWNER_MEMBERS_MAX];
    /* Completed by members, and by those that are other hosts. A member comes and goes with all
     * that it has ever completed, so only what it adds from one look to the next one counts. */
    uint64_t moved_bytes, others_bytes;
    uint64_t looks;
    struct mfs_owner_seen seen[MFS_OWNER_MEMBERS_MAX];
    struct mfs_owner_rate rate;
};

MFS_API void mfs_owner_init(struct mfs_owner *owner);
/*
 * The limit from now on; MFS_RANK_NONE: all may send. The members are left as they are believed:
 * bytes in flight cut to what the port sends in 8 ms, ranks and levels of those who have had their
 * share made worse.
 *
 * A `who` is named once at most. configured_Bps: of the port, or 0; seed_Bps: as this host's own
 * senders know it, or 0; wait_ns: that a claim and a limit spend in agents and queues, beside their
 * way.
 */
MFS_API mfs_rank_t mfs_owner_judge(struct mfs_owner *owner, struct mfs_owner_member *members,
                                   uint32_t count, double configured_Bps, double seed_Bps,
                                   int64_t wait_ns, int64_t now_ns);
/* As it has been learned; 0: it has not. */
MFS_API double mfs_owner_rate_Bps(const struct mfs_owner *owner);
/* That number may be another host's from now on. */
MFS_API void mfs_owner_forget(struct mfs_owner *owner, uint32_t who);

#endif
