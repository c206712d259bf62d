/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One verdict a request, on all hosts that move its bytes: is it given up, as hopeless or shed?
 *
 *   its owner     the host where its prefill runs: its control plane plans (core/plan.h)
 *   a follower    another host with bytes of it: while the owner's verdict is fresh, the queues
 *                 there read it in place of what their own control plane says
 *
 *   control plane --follow--> table --asks--> agent ==> the owner's agent, which looks into its
 *   queues <---facts with the verdict------- agent <== own segment
 *
 * A verdict is fresh for MFS_VERDICT_HOLD_NS after it was told. Without a fresh one each host
 * decides for itself. It goes one hop: a host does not tell of requests that it follows itself.
 */
#ifndef MFS_HOST_VERDICT_H
#define MFS_HOST_VERDICT_H

#include "host/host.h"

#define MFS_FOLLOWS_MAX 1024u
#define MFS_VERDICT_HOLD_NS INT64_C(500000000)

/* 0: its owner does not know the request. */
enum mfs_verdict {
    MFS_VERDICT_HOPELESS = MFS_REQUEST_HOPELESS,
    MFS_VERDICT_SHED = MFS_REQUEST_SHED,
    MFS_VERDICT_KNOWN = 4, /* without the other two: it is not given up */
    MFS_VERDICT_ALL = 7,
};

struct mfs_follow {
    uint32_t place; /* in the table */
    uint64_t owner; /* the agent of the host that decides */
    uint64_t key;   /* of the request there */
};

/* --- a control plane --- */

/* The name of this host's agent among agents; 0: there is none now. */
MFS_API uint64_t mfs_verdict_owner(struct mfs_host *host);
/*
 * A request that is registered here follows that of `owner` which has the key `owner_key` there,
 * until it is dropped; verdict: what has been told already, or 0. -ENOENT: it is not registered;
 * -ENOTCONN: there is no agent here; -ENOSPC: too many follow others; -EINVAL, -EAGAIN.
 */
MFS_API int mfs_verdict_follow(struct mfs_host *host, uint64_t key, uint64_t owner,
                               uint64_t owner_key, uint32_t verdict);

/* --- the agent --- */

/* Its name among agents; after mfs_far_attend(). */
MFS_API void mfs_verdict_attend(struct mfs_host *host, uint64_t owner);
/* What follows others, a row each; returns how many. */
MFS_API uint32_t mfs_verdict_follows(struct mfs_host *host, struct mfs_follow *rows, uint32_t room);
/* It moves when one comes or goes. */
MFS_API uint64_t mfs_verdict_version(struct mfs_host *host);
/* What this host itself says of a request: 0 if it is not registered or follows another's. */
MFS_API uint32_t mfs_verdict_own(struct mfs_host *host, uint64_t key);
/* The owner says so, and that holds for so long (MFS_VERDICT_HOLD_NS at most); 0: not at all. */
MFS_API void mfs_verdict_tell(struct mfs_host *host, const struct mfs_follow *follow,
                              uint32_t verdict, int64_t for_ns);

#endif
