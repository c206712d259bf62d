/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table with chains. As many scopes as there are transfers waiting at one time;
 * the memory of one that is gone is used for the next.
 */
#include "ucx/scope.h"

#include <stdlib.h>

static struct mfs_ucx_scope **bucket_of(struct mfs_ucx_ep *ep, const struct mfs_tag *tag)
{
    uint64_t hash = (uint64_t)(uintptr_t)ep ^ tag->request;

    hash ^= ((uint64_t)tag->layer << 32 | tag->stage) * UINT64_C(0x9E3779B97F4A7C15);
    hash = (hash ^ hash >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return &ep->worker->scopes[(hash >> 32) % MFS_UCX_SCOPE_BUCKETS];
}

struct mfs_ucx_scope *mfs_ucx_scope_find(struct mfs_ucx_ep *ep, const struct mfs_tag *tag)
{
    struct mfs_ucx_scope *scope = *bucket_of(ep, tag);

    while (scope && (scope->ep != ep || scope->tag.request != tag->request ||
                     scope->tag.layer != tag->layer || scope->tag.stage != tag->stage))
        scope = scope->next;
    return scope;
}

struct mfs_ucx_scope *mfs_ucx_scope_get(struct mfs_ucx_ep *ep, const struct mfs_tag *tag)
{
    struct mfs_ucx_scope *scope = mfs_ucx_scope_find(ep, tag), **bucket = bucket_of(ep, tag);

    if (scope)
        return scope;
    scope = ep->worker->free_scopes;
    if (scope)
        ep->worker->free_scopes = scope->next;
    else
        scope = malloc(sizeof(*scope));
    if (scope) {
        *scope = (struct mfs_ucx_scope){.ep = ep, .tag = *tag, .next = *bucket};
        *bucket = scope;
    }
    return scope;
}

void mfs_ucx_scope_reap(struct mfs_ucx_scope *scope)
{
    struct mfs_ucx_worker *worker = scope->ep->worker;
    struct mfs_ucx_scope **at = bucket_of(scope->ep, &scope->tag);

    if (mfs_ucx_order_pending(&scope->order))
        return;
    while (*at != scope)
        at = &(*at)->next;
    *at = scope->next;
    mfs_ucx_order_free(&scope->order);
    scope->next = worker->free_scopes;
    worker->free_scopes = scope;
}

static void chain_free(struct mfs_ucx_scope *scope)
{
    while (scope) {
        struct mfs_ucx_scope *next = scope->next;

        mfs_ucx_order_free(&scope->order);
        free(scope);
        scope = next;
    }
}

void mfs_ucx_scopes_free(struct mfs_ucx_worker *worker)
{
    for (unsigned i = 0; i < MFS_UCX_SCOPE_BUCKETS; i++)
        chain_free(worker->scopes[i]);
    chain_free(worker->free_scopes);
}
