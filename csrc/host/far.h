/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of other hosts: the tables between the senders of this host and its agent, the one process
 * that talks to the agents of other hosts.
 *
 *   UCX workers --own: uid and port-----------------> agent --+
 *   senders <---workers: which port is whose -------- agent <-+   what agents tell
 *   senders ----claims: what waits for a far port --> agent --+   each other
 *   senders <---limits: which ranks may go there ---- agent <-+
 *   sockets <---answers: how urgent its reads are --- agent <-+   (host/answers.h)
 *   senders <---guests: what others want of ours ---- agent <-+   (host/guest.h)
 *
 * A far port is one direction of one NIC of another host: for our puts its ingress, for our gets
 * its egress. Everything ends by itself: who has not moved for the lease has no claim, a limit ends
 * when it says so and a lease later at most, and without an agent nothing is told or heeded.
 *
 * Only spans of time are exchanged, from now to a key: two hosts never compare their clocks. So
 * nothing is told under a policy whose keys are no times (mfs_policy_keys_are_times).
 *
 * An agent calls these from one thread; claims and limits take no lock and make no system call.
 */
#ifndef MFS_HOST_FAR_H
#define MFS_HOST_FAR_H

#include "host/host.h"
#include "host/port.h"

#define MFS_FAR_PORTS_MAX 256u
#define MFS_FAR_WORKERS_MAX 4096u
#define MFS_FAR_OWN_MAX 1024u
#define MFS_FAR_NAME_MAX 63
#define MFS_FAR_NONE 4294967295u /* no far port */
#define MFS_FAR_NO_LEVEL 64u /* nothing waits; no limit */
#define MFS_FAR_SHARED_MAX_NS INT64_C(50000000)
#define MFS_FAR_SHARERS_MAX 256u /* hosts that share a port, as far as anybody is believed */

/* A UCX worker of this host that is there, as its process has entered it. */
struct mfs_far_own {
    uint64_t uid; /* ucp_worker_address_query() says it of its address */
    char port[MFS_PORT_NAME_MAX + 1]; /* that its traffic uses, in both directions */
};

struct mfs_guest;

/* What a host wants of a port. */
struct mfs_claim {
    uint32_t far;   /* which; MFS_FAR_NONE: one of this host's own */
    uint32_t level; /* of the best that waits; MFS_FAR_NO_LEVEL: nothing does */
    int64_t span_ns; /* from now to its key; a day at most */
    uint64_t waiting_bytes; /* at least */
    uint64_t inflight_bytes;
    uint64_t done_bytes; /* ever, also by senders that have gone; it may begin anew */
    uint32_t under_way; /* where nothing waits: level + 1 of the best that has just gone; 0: none */
};

/* --- the agent --- */

/*
 * This process is the host's agent, for so long from now (10 s at most): call it again before that.
 * The tables of far ports and workers are empty when it begins. -EBUSY: another process is.
 */
MFS_API int mfs_far_attend(struct mfs_host *host, int64_t for_ns);
/* It is not any more: every limit ends now. */
MFS_API void mfs_far_depart(struct mfs_host *host);

/* The UCX workers of this host; returns how many. */
MFS_API uint32_t mfs_far_own(struct mfs_host *host, struct mfs_far_own *own, uint32_t room);
/* It moves when one comes or goes. */
MFS_API uint64_t mfs_far_own_version(struct mfs_host *host);

/* A far port is known from now on, and keeps its index. key: not 0, names host, port and
 * direction; name: for people. -ENOSPC: too many are; -EINVAL; -EAGAIN: see mfs_segment_lock. */
MFS_API int mfs_far_port(struct mfs_host *host, uint64_t key, const char *name, uint32_t *far);
/* Its host has gone: whatever is known of it is forgotten. */
MFS_API void mfs_far_forget(struct mfs_host *host, uint32_t far);
/* What goes to that worker enters the one far port when it is put, and leaves the other when it is
 * got; MFS_FAR_NONE: not known, and both: the worker has gone. uid: of a worker, or of an address
 * (mfs_far_address). -ENOSPC, -EINVAL, -EAGAIN. */
MFS_API int mfs_far_worker(struct mfs_host *host, uint64_t uid, uint32_t puts, uint32_t gets);
/* What stands for all workers that are connected to by this IP address; 0: it is none. */
MFS_API uint64_t mfs_far_address(const char *ip);

/* What this host wants of far ports, one row a port; returns how many. */
MFS_API uint32_t mfs_far_claims(struct mfs_host *host, int64_t now_ns, struct mfs_claim *claims,
                                uint32_t room);
/* For so long, and for the lease at most: what is worse is held back. level: MFS_FAR_NO_LEVEL: the
 * limit ends now. */
MFS_API void mfs_far_limit(struct mfs_host *host, uint32_t far, uint32_t level, int64_t span_ns,
                           int64_t for_ns);
/* What its host reads of us is of this level, for so long, and for the lease at most.
 * MFS_FAR_NO_LEVEL: nothing is said any more. */
MFS_API void mfs_far_answers(struct mfs_host *host, uint32_t far, uint32_t level, int64_t for_ns);
/* For so long, and for MFS_FAR_SHARED_MAX_NS at most: so many hosts, this one among them, have
 * something for that port. 0: it is not known any more. */
MFS_API void mfs_far_share(struct mfs_host *host, uint32_t far, uint32_t sharers, int64_t for_ns);
/* What our own senders want of a port of this host, all together, without the guest that stands
 * for others (NULL: there is none): also what waits for destinations that are slow, perhaps because
 * others fill this port, but not for those that take no bytes, nor what a limit holds back. False:
 * nothing. */
MFS_API bool mfs_port_claim(struct mfs_port *port, const struct mfs_guest *guest, int64_t now_ns,
                            struct mfs_claim *claim);

/* --- a process that has UCX workers --- */

/* Are workers to be entered: is there an agent, or is one to come (MFS_PEERS)? */
MFS_API bool mfs_far_wanted(struct mfs_host *host);
/* A worker of this process; place: of which it is taken out. -ENOSPC, -EINVAL, -EAGAIN. */
MFS_API int mfs_far_own_enter(struct mfs_host *host, uint64_t uid, const char *port,
                              uint32_t *place);
MFS_API void mfs_far_own_leave(struct mfs_host *host, uint32_t place);
/* All that this process has entered are of that port. -EINVAL, -EAGAIN: they stay as they are. */
MFS_API int mfs_far_own_move(struct mfs_host *host, const char *port);

#endif
