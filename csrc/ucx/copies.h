/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of small puts that nobody holds a request of (ucp_put_nbi).
 *
 * UCX takes up to some 8 KiB at the post, over every transport, and a program may not look whether
 * it did: Open MPI 4.1's accumulate frees its buffer at once. What we queue is read later, so
 * it is copied. A worker has room for so many at a time; what finds none is handed to UCX at
 * once, behind what is queued before it.
 *
 *   base  | copy | copy | copy | ...     one range of addresses: whose buffer it is shows by it
 */
#ifndef MFS_UCX_COPIES_H
#define MFS_UCX_COPIES_H

#include "core/types.h"

#define MFS_UCX_COPY_BYTES ((size_t)8 << 10)
#define MFS_UCX_COPIES_MAX 512u

/* Guarded by the worker's mutex. */
struct mfs_ucx_copies {
    char *base;    /* NULL: none was needed yet */
    void *free;    /* each begins with a pointer to the next */
    unsigned used; /* ever, from the start */
};

/* Of bytes <= MFS_UCX_COPY_BYTES of host memory; NULL: no room, or it cannot be read by us. */
void *mfs_ucx_copy_make(struct mfs_ucx_copies *copies, const void *buffer, size_t bytes);
/* A buffer of an operation that is over; nothing happens if it is the caller's own. */
void mfs_ucx_copy_end(struct mfs_ucx_copies *copies, void *buffer);
void mfs_ucx_copies_free(struct mfs_ucx_copies *copies);

#endif
