/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epochs of the operations of one tag on one endpoint, for flushes posted under that tag.
 *
 *   put (tag A) put (tag A) put (tag B) put (tag B) flush (tag B)
 *     of A: 2 unissued        of B: 2 unissued -- the flush waits for these
 *
 * A tag says that its traffic is a transfer on its own, so a flush under a tag asks only whether
 * that transfer is over (docs/decisions/0015). A flush without a tag, and every flush of a worker,
 * waits for all (epochs.h).
 */
#ifndef MFS_UCX_TAG_EPOCHS_H
#define MFS_UCX_TAG_EPOCHS_H

#include "ucx/worker.h"

/* All with the worker's mutex held. */
struct mfs_ucx_tag_epochs {
    struct mfs_ucx_epochs epochs; /* first: an epoch leads back to its tag's */
    struct mfs_ucx_ep *ep;
    struct mfs_tag tag;
    struct mfs_ucx_tag_epochs *next; /* in its bucket */
};

/* NULL: nothing of that tag waits on the endpoint. */
struct mfs_ucx_tag_epochs *mfs_ucx_tag_epochs_find(struct mfs_ucx_ep *ep,
                                                   const struct mfs_tag *tag);
/* The same, made if it is not there; NULL: no memory. */
struct mfs_ucx_tag_epochs *mfs_ucx_tag_epochs_get(struct mfs_ucx_ep *ep, const struct mfs_tag *tag);
/* Gone, if nothing of that tag waits any more. */
void mfs_ucx_tag_epochs_reap(struct mfs_ucx_tag_epochs *of_tag);

#endif
