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

/* --- orders by tag --- */

static struct mfs_ucx_tag_order **tag_place(struct mfs_ucx_tag_orders *orders,
                                            const struct mfs_tag *tag)
{
    uint64_t hash =
        (tag->request ^ ((uint64_t)tag->layer << 32 | tag->stage)) * UINT64_C(0x9E3779B97F4A7C15);
    struct mfs_ucx_tag_order **place = &orders->buckets[(hash >> 40) % MFS_UCX_TAG_BUCKETS];

    while (*place && ((*place)->tag.request != tag->request || (*place)->tag.layer != tag->layer ||
                      (*place)->tag.stage != tag->stage))
        place = &(*place)->next;
    return place;
}

struct mfs_ucx_order *mfs_ucx_tag_order(struct mfs_ucx_tag_orders *orders,
                                        const struct mfs_tag *tag, bool make)
{
    struct mfs_ucx_tag_order **place = tag_place(orders, tag);

    if (!*place && make) {
        *place = calloc(1, sizeof(**place)); /* one for each transfer, not for each operation */
        if (*place)
            (*place)->tag = *tag;
    }
    return *place ? &(*place)->order : NULL;
}

void mfs_ucx_tag_order_trim(struct mfs_ucx_tag_orders *orders, struct mfs_ucx_order *order)
{
    struct mfs_ucx_tag_order *entry =
        (struct mfs_ucx_tag_order *)(void *)((char *)order -
                                             offsetof(struct mfs_ucx_tag_order, order));

    if (mfs_ucx_order_pending(order))
        return;
    *tag_place(orders, &entry->tag) = entry->next;
    mfs_ucx_order_free(order);
    free(entry);
}

void mfs_ucx_tag_orders_free(struct mfs_ucx_tag_orders *orders)
{
    for (unsigned i = 0; i < MFS_UCX_TAG_BUCKETS; i++) {
        while (orders->buckets[i]) {
            struct mfs_ucx_tag_order *entry = orders->buckets[i];

            orders->buckets[i] = entry->next;
            mfs_ucx_order_free(&entry->order);
            free(entry);
        }
    }
}
