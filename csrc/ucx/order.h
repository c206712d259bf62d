/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flush waits for what was posted before it, and for nothing after it.
 *
 *   op op op | flush A | op op | flush B | op
 *   epoch 1 (3 unissued) epoch 2 (2)       epoch 3 (1, open)
 *
 * An operation counts in the open epoch of its endpoint, of its worker, and of its
 * tag on the endpoint: a flush that is posted under a tag is about that tag's
 * operations (NIXL flushes once for each transfer), and must not wait for less urgent
 * ones that happen to go to the same peer.
 * A flush closes an epoch; it may be handed to UCX when all epochs up to its own
 * have no unissued operation left. O(1) an operation, O(1) a flush.
 */
#ifndef MFS_UCX_ORDER_H
#define MFS_UCX_ORDER_H

#include "core/types.h"

enum { MFS_UCX_EPOCH_EP, MFS_UCX_EPOCH_WORKER, MFS_UCX_EPOCH_TAG, MFS_UCX_EPOCHS };

struct mfs_ucx_request;
struct mfs_ucx_order;

struct mfs_ucx_epoch {
    struct mfs_ucx_epoch *next;
    struct mfs_ucx_order *order;
    struct mfs_ucx_request *flush; /* that closed it; NULL: open, or closed by one that is gone */
    uint64_t unissued;
    bool closed;
};

/* Guarded by the mutex of the worker. */
struct mfs_ucx_order {
    struct mfs_ucx_epoch *first, *last; /* last: the open one; NULL: nothing ever counted */
    uint64_t unissued;                  /* in all epochs */
};

/* The order of one tag on one endpoint; exists while something of it is pending. */
struct mfs_ucx_tag_order {
    struct mfs_ucx_tag_order *next; /* in its bucket */
    struct mfs_tag tag;
    struct mfs_ucx_order order;
};

#define MFS_UCX_TAG_BUCKETS 64u /* of an endpoint; a power of two */

struct mfs_ucx_tag_orders {
    struct mfs_ucx_tag_order *buckets[MFS_UCX_TAG_BUCKETS];
};

static inline bool mfs_ucx_tagged(const struct mfs_tag *tag)
{
    return tag->request != MFS_REQUEST_NONE || tag->stage != MFS_STAGE_NONE;
}

/* NULL: nothing of this tag is pending (or, with make, no memory). */
struct mfs_ucx_order *mfs_ucx_tag_order(struct mfs_ucx_tag_orders *orders,
                                        const struct mfs_tag *tag, bool make);
/* Forget one that mfs_ucx_tag_order gave if nothing is pending in it any more. */
void mfs_ucx_tag_order_trim(struct mfs_ucx_tag_orders *orders, struct mfs_ucx_order *order);
void mfs_ucx_tag_orders_free(struct mfs_ucx_tag_orders *orders);

/* An operation begins: counted in the open epoch. NULL: no memory. */
struct mfs_ucx_epoch *mfs_ucx_order_enter(struct mfs_ucx_order *order);
/* It has been issued. Then see mfs_ucx_order_ready. */
void mfs_ucx_order_leave(struct mfs_ucx_epoch *epoch);
/* Must a flush that is posted now wait? */
bool mfs_ucx_order_pending(const struct mfs_ucx_order *order);
/* Close the open epoch with this flush. -ENOMEM. */
int mfs_ucx_order_close(struct mfs_ucx_order *order, struct mfs_ucx_request *flush);
/* The next flush that may be handed to UCX now, or NULL. */
struct mfs_ucx_request *mfs_ucx_order_ready(struct mfs_ucx_order *order);
void mfs_ucx_order_free(struct mfs_ucx_order *order);

#endif
