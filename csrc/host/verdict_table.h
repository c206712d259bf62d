/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: the table of host/verdict.h in the segment.
 *
 * A cell is taken and given back under the lock, with the request that it belongs to. The agent
 * alone writes its verdict and its end, without the lock: a verdict carries the key that it is
 * about, so that one that comes when the cell has become another request's means nothing there.
 */
#ifndef MFS_HOST_VERDICT_TABLE_H
#define MFS_HOST_VERDICT_TABLE_H

#include <stdatomic.h>

#include "host/verdict.h"

struct mfs_follow_cell {
    _Alignas(64) _Atomic uint64_t key; /* of the request here; MFS_REQUEST_NONE: the cell is free */
    _Atomic uint64_t owner, owner_key;
    _Atomic uint64_t verdict; /* of owner_key, with enum mfs_verdict in its last three bits */
    _Atomic int64_t until_ns; /* it is fresh */
};

struct mfs_follow_table {
    _Atomic uint64_t owner; /* the agent's name */
    _Atomic uint64_t version;
    struct mfs_follow_cell cells[MFS_FOLLOWS_MAX];
};

struct mfs_segment;
struct mfs_request_cell;

/* What is known of a request, with its owner's verdict if that is fresh. follows: of its cell. */
void mfs_verdict_apply(const struct mfs_segment *segment, uint32_t follows, uint64_t key,
                       struct mfs_facts *facts);
/* The request is dropped; the lock is held. */
void mfs_verdict_let_go(struct mfs_segment *segment, struct mfs_request_cell *cell);
/* No verdict is fresh any more. */
void mfs_verdict_void(struct mfs_segment *segment);
/* The same if the agent has gone; the lock is held. */
void mfs_verdict_reap(struct mfs_segment *segment);

/* --- requests.c --- */

/* The live cell of a request; NULL: there is none. */
struct mfs_request_cell *mfs_request_cell_find(struct mfs_segment *segment, uint64_t key);
/* What its own host has written; false: it is being written, or is gone. */
bool mfs_request_read_own(struct mfs_segment *segment, uint64_t key, struct mfs_facts *facts,
                          uint32_t *follows);

#endif
