/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: what a sender wants of far ports, and the limits that it keeps to
 * (host/far.h). It looks at both now and then, where it looks for dead owners, while the host has
 * an agent; no chunk costs more for it.
 */
#ifndef MFS_HOST_CLAIMS_H
#define MFS_HOST_CLAIMS_H

#include "host/segment.h"
#include "host/sender.h"

/* What it wants of one far port, or of its own. */
struct mfs_claim_own {
    struct mfs_claim_cell *cell; /* NULL: none was left */
    mfs_rank_t rank;
    uint64_t waiting_bytes, inflight_bytes;
    uint64_t before_bytes; /* in flight when it told last */
    uint32_t port; /* a far one's index, or MFS_CLAIM_OF_OWN */
    bool used; /* a destination is there */
};

struct mfs_claims {
    struct mfs_claim_own *own;
    uint32_t count, room;
    uint64_t done_bytes; /* of the sender, when it told last */
    uint64_t held_bytes; /* in flight at its destinations then */
    uint32_t sender; /* its number, as it stands in the rows */
    uint32_t sharers; /* of the far port that the fewest hosts share, of those in use; NOBODY */
    bool active; /* limits may be set, and rows taken */
};

struct mfs_sender;

/* Of the sender in that cell of the host's port. Returns when to do it again. */
int64_t mfs_claims_tell(struct mfs_claims *claims, struct mfs_host *host,
                        const struct mfs_port_cell *port, const struct mfs_sender_cell *cell,
                        struct mfs_sender *sender, int64_t lease_ns, int64_t now_ns);
/* The sender leaves. */
void mfs_claims_close(struct mfs_claims *claims, struct mfs_host *host);

#endif
