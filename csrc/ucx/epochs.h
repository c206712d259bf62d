/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flush waits for what was posted before it, and for nothing after it.
 *
 *   op op op | flush A | op op | flush B | op
 *   epoch 1 (3 unissued) epoch 2 (2)       epoch 3 (1, open)
 *
 * An operation counts in the open epoch of its endpoint, in that of its worker, and, if
 * it has a tag, in that of its tag on the endpoint (tag_epochs.h).
 * A flush closes an epoch; it may be handed to UCX when all epochs up to its own
 * have no unissued operation left. O(1) an operation, O(1) a flush.
 */
#ifndef MFS_UCX_EPOCHS_H
#define MFS_UCX_EPOCHS_H

#include "core/types.h"
#include "ucx/slabs.h"

enum { MFS_UCX_EPOCH_EP, MFS_UCX_EPOCH_WORKER, MFS_UCX_EPOCH_TAG, MFS_UCX_EPOCHS };

struct mfs_ucx_request;
struct mfs_ucx_epochs;

struct mfs_ucx_epoch {
    struct mfs_ucx_epoch *next;
    struct mfs_ucx_epochs *epochs; /* that it is one of */
    struct mfs_ucx_request *flush; /* that closed it; NULL: open, or closed by one that is gone */
    uint64_t unissued;
    bool closed;
};

/* Guarded by the mutex of the worker, as is the memory that epochs come from. */
struct mfs_ucx_epochs {
    struct mfs_ucx_epoch *first, *last; /* last: the open one; NULL: nothing ever counted */
    uint64_t unissued;                  /* in all epochs */
};

/* An operation begins: counted in the open epoch. NULL: no memory. */
struct mfs_ucx_epoch *mfs_ucx_epochs_enter(struct mfs_ucx_epochs *epochs,
                                           struct mfs_ucx_slabs *memory);
/* It has been issued. Then see mfs_ucx_epochs_ready. */
void mfs_ucx_epochs_leave(struct mfs_ucx_epoch *epoch);
/* Must a flush that is posted now wait? */
bool mfs_ucx_epochs_pending(const struct mfs_ucx_epochs *epochs);
/* Close the open epoch with this flush; it is returned. NULL: no memory. */
struct mfs_ucx_epoch *mfs_ucx_epochs_close(struct mfs_ucx_epochs *epochs,
                                           struct mfs_ucx_slabs *memory,
                                           struct mfs_ucx_request *flush);
/* The next flush that may be handed to UCX now, or NULL. */
struct mfs_ucx_request *mfs_ucx_epochs_ready(struct mfs_ucx_epochs *epochs,
                                             struct mfs_ucx_slabs *memory);
/* All of them are over, whatever they counted. */
void mfs_ucx_epochs_end(struct mfs_ucx_epochs *epochs, struct mfs_ucx_slabs *memory);

#endif
