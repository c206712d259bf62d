/* SPDX-License-Identifier: Apache-2.0 */
/* A hash table with chains. As many in it as there are transfers waiting at one time. */
#include "ucx/tag_epochs.h"

static struct mfs_ucx_tag_epochs **bucket_of(struct mfs_ucx_ep *ep, const struct mfs_tag *tag)
{
    uint64_t hash = (uint64_t)(uintptr_t)ep ^ tag->request;

    hash ^= ((uint64_t)tag->layer << 32 | tag->stage) * UINT64_C(0x9E3779B97F4A7C15);
    hash = (hash ^ hash >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return &ep->worker->tag_epochs[(hash >> 32) % MFS_UCX_TAG_BUCKETS];
}

struct mfs_ucx_tag_epochs *mfs_ucx_tag_epochs_find(struct mfs_ucx_ep *ep, const struct mfs_tag *tag)
{
    struct mfs_ucx_tag_epochs *of_tag = *bucket_of(ep, tag);

    while (of_tag && (of_tag->ep != ep || of_tag->tag.request != tag->request ||
                      of_tag->tag.layer != tag->layer || of_tag->tag.stage != tag->stage))
        of_tag = of_tag->next;
    return of_tag;
}

struct mfs_ucx_tag_epochs *mfs_ucx_tag_epochs_get(struct mfs_ucx_ep *ep, const struct mfs_tag *tag)
{
    struct mfs_ucx_tag_epochs *of_tag = mfs_ucx_tag_epochs_find(ep, tag);
    struct mfs_ucx_tag_epochs **bucket = bucket_of(ep, tag);

    if (of_tag)
        return of_tag;
    of_tag = mfs_ucx_slabs_get(&ep->worker->tag_memory, sizeof(*of_tag));
    if (of_tag) {
        *of_tag = (struct mfs_ucx_tag_epochs){.ep = ep, .tag = *tag, .next = *bucket};
        *bucket = of_tag;
    }
    return of_tag;
}

void mfs_ucx_tag_epochs_reap(struct mfs_ucx_tag_epochs *of_tag)
{
    struct mfs_ucx_worker *worker = of_tag->ep->worker;
    struct mfs_ucx_tag_epochs **at = bucket_of(of_tag->ep, &of_tag->tag);

    if (mfs_ucx_epochs_pending(&of_tag->epochs))
        return;
    while (*at != of_tag)
        at = &(*at)->next;
    *at = of_tag->next;
    mfs_ucx_epochs_end(&of_tag->epochs, &worker->epoch_memory);
    mfs_ucx_slabs_put(&worker->tag_memory, of_tag);
}
