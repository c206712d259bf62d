/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scopes: the operations of one tag on one endpoint, for flushes posted under that tag.
 *
 *   put (tag A) put (tag A) put (tag B) put (tag B) flush (tag B)
 *     scope A: 2 unissued     scope B: 2 unissued -- the flush waits for these
 *
 * A tag says that its traffic is a transfer on its own, so a flush under a tag asks
 * only whether that transfer is over. Else no transfer to a peer could ever end before
 * one that was posted earlier, whatever its deadline. A flush without a tag, and every
 * flush of a worker, waits for all (order.h).
 */
#ifndef MFS_UCX_SCOPE_H
#define MFS_UCX_SCOPE_H

#include "ucx/worker.h"

/* All with the worker's mutex held. */
struct mfs_ucx_scope {
    struct mfs_ucx_order order; /* first: an epoch leads back to its scope */
    struct mfs_ucx_ep *ep;
    struct mfs_tag tag;
    struct mfs_ucx_scope *next; /* in its bucket, or free */
};

/* NULL: nothing of that tag waits on the endpoint. */
struct mfs_ucx_scope *mfs_ucx_scope_find(struct mfs_ucx_ep *ep, const struct mfs_tag *tag);
/* The same, made if it is not there; NULL: no memory. */
struct mfs_ucx_scope *mfs_ucx_scope_get(struct mfs_ucx_ep *ep, const struct mfs_tag *tag);
/* Gone, if nothing in it waits any more. */
void mfs_ucx_scope_reap(struct mfs_ucx_scope *scope);
void mfs_ucx_scopes_free(struct mfs_ucx_worker *worker);

#endif
