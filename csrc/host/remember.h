/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: what a sender has last read of requests. A process that has gone wrong may
 * have written over the table of requests; then those that a sender has known go on as they were,
 * instead of losing their deadlines in the middle of a transfer.
 *
 * Of ROWS requests, each in the row of its key; the newer one stays. Used by one sender alone.
 */
#ifndef MFS_HOST_REMEMBER_H
#define MFS_HOST_REMEMBER_H

#include "host/host.h"

#define MFS_REMEMBER_ROWS 256u

struct mfs_remember {
    struct {
        uint64_t key;
        struct mfs_facts facts;
    } rows[MFS_REMEMBER_ROWS];
};

void mfs_remember_init(struct mfs_remember *remember);
/* What the segment says of a request; what it has said, if it does not and has been written over.
 * False: it is not known. */
bool mfs_remember_read(struct mfs_remember *remember, struct mfs_host *host, uint64_t key,
                       struct mfs_facts *facts);

#endif
