/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/order.h"

#include <errno.h>
#include <stdlib.h>

static struct mfs_ucx_epoch *open_epoch(struct mfs_ucx_order *order)
{
    struct mfs_ucx_epoch *epoch = order->last;

    if (epoch && !epoch->closed)
        return epoch;
    epoch = calloc(1, sizeof(*epoch)); /* one for each deferred flush, not for each operation */
    if (!epoch)
        return NULL;
    epoch->order = order;
    if (order->last)
        order->last->next = epoch;
    else
        order->first = epoch;
    order->last = epoch;
    return epoch;
}

struct mfs_ucx_epoch *mfs_ucx_order_enter(struct mfs_ucx_order *order)
{
    struct mfs_ucx_epoch *epoch = open_epoch(order);

    if (epoch) {
        epoch->unissued++;
        order->unissued++;
    }
    return epoch;
}

void mfs_ucx_order_leave(struct mfs_ucx_epoch *epoch)
{
    epoch->unissued--;
    epoch->order->unissued--;
}

bool mfs_ucx_order_pending(const struct mfs_ucx_order *order)
{
    return order->unissued > 0 || (order->first && order->first->closed);
}

int mfs_ucx_order_close(struct mfs_ucx_order *order, struct mfs_ucx_request *flush)
{
    struct mfs_ucx_epoch *epoch = open_epoch(order);

    if (!epoch)
        return -ENOMEM;
    epoch->flush = flush;
    epoch->closed = true;
    return 0;
}

struct mfs_ucx_request *mfs_ucx_order_ready(struct mfs_ucx_order *order)
{
    struct mfs_ucx_epoch *epoch = order->first;
    struct mfs_ucx_request *flush;

    if (!epoch || !epoch->closed || epoch->unissued > 0)
        return NULL;
    flush = epoch->flush;
    order->first = epoch->next;
    if (!order->first)
        order->last = NULL;
    free(epoch);
    return flush;
}

void mfs_ucx_order_free(struct mfs_ucx_order *order)
{
    while (order->first) {
        struct mfs_ucx_epoch *epoch = order->first;

        order->first = epoch->next;
        free(epoch);
    }
    order->last = NULL;
    order->unissued = 0;
}
