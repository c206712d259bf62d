/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our requests: the caller holds one of these, instead of one of UCX's, while its operation is
 * deferred.
 *
 *   block of the arena:  | request | caller's area | request | caller's area | ...
 *                                  ^ the handle: what the caller holds
 *
 * The arena is one reserved range of addresses, so that "ours or UCX's?" is one
 * comparison. Blocks belong to a worker and go back when it ends. The caller's area
 * is what its context asked for (request_size, request_init); often nothing.
 *
 *   QUEUED --all chunks posted--> IN FLIGHT --last one done--> DONE --freed--> slot free
 */
#ifndef MFS_UCX_REQUEST_H
#define MFS_UCX_REQUEST_H

#include "core/atomic.h"
#include "core/rmlq.h"
#include "ucx/epochs.h"
#include "ucx/symbols.h"

struct mfs_ucx_worker;
struct mfs_ucx_ep;

enum mfs_ucx_kind { MFS_UCX_PUT, MFS_UCX_GET, MFS_UCX_FLUSH, MFS_UCX_CLOSE };

/* All fields are guarded by the worker's mutex, but for status and seen (atomic). */
struct mfs_ucx_request {
    _Alignas(16) struct mfs_op op; /* first: the queue hands this pointer back */
    struct mfs_ucx_worker *worker; /* NULL: the slot's worker is gone */
    struct mfs_ucx_ep *ep;         /* holds a reference; NULL: flush of the whole worker */
    struct mfs_ucx_request *next, *prev; /* worker's queued operations; ready, done or free list */
    struct mfs_ucx_request *ep_next, *ep_prev; /* the endpoint's queued operations */
    /* An operation: the epochs that count it until it has been issued. A flush: the first is the
     * epoch that it closed, until all operations of that have been issued. Others are NULL. */
    struct mfs_ucx_epoch *epochs[MFS_UCX_EPOCHS];
    struct mfs_tag tag; /* of an operation, for who looks */
    void *buffer;
    uint64_t remote_addr;
    ucp_rkey_h rkey;
    /* What the caller gave; only what attributes says was set. */
    ucp_send_nbx_callback_t callback;
    void *user_data;
    ucp_mem_h memh;
    uint32_t attributes; /* op_attr_mask */
    uint32_t inflight; /* chunks posted and not done */
    _Atomic int status; /* ucs_status_t as the caller sees it; UCS_INPROGRESS until done */
    int result; /* first error of a chunk; the outcome once finished */
    uint16_t posting; /* threads between taking a chunk and the return of its post */
    uint8_t kind; /* enum mfs_ucx_kind */
    uint8_t lane; /* where it waits, or waited */
    uint8_t memory_type;
    _Atomic bool seen; /* the caller has been told an error */
    bool queued : 1; /* in the queue */
    bool issued : 1; /* all of it was handed to UCX (or dropped) */
    bool returned : 1; /* the caller holds it */
    bool released : 1; /* the caller gave it back before it was done */
    bool silent : 1; /* no callback any more (ucp_request_free) */
    bool listed : 1; /* on the done list, its callback still due */
    bool canceled : 1; /* by the caller: its error is no loss; a flush waits for nothing more */
    bool untagged : 1; /* belongs to no request: kept in order with the endpoint's others */
    bool force : 1; /* close: UCP_EP_CLOSE_FLAG_FORCE */
};

/* Where a worker's requests come from. Guarded by the worker's mutex. */
struct mfs_ucx_pool {
    size_t stride; /* of a slot in bytes; 0: not set up */
    void (*init)(void *handle); /* caller's, for each new slot; NULL: none */
    void (*cleanup)(void *handle);
    struct mfs_ucx_block *blocks; /* newest first */
    struct mfs_ucx_request *free;
};

/* area_bytes: the caller's area in each request. -E2BIG: larger than a block holds. */
int mfs_ucx_pool_init(struct mfs_ucx_pool *pool, size_t area_bytes, void (*init)(void *),
                      void (*cleanup)(void *));
/* Free the pool with all of its requests. */
void mfs_ucx_pool_free(struct mfs_ucx_pool *pool);
/* NULL: no memory. Zeroed, but for the caller's area. */
struct mfs_ucx_request *mfs_ucx_pool_get(struct mfs_ucx_pool *pool);
void mfs_ucx_pool_put(struct mfs_ucx_pool *pool, struct mfs_ucx_request *request);
/* `each` for every slot that was ever handed out; one that was put back refers to no endpoint. */
void mfs_ucx_pool_each(const struct mfs_ucx_pool *pool,
                       void (*each)(const struct mfs_ucx_request *request, void *ctx), void *ctx);

#define MFS_UCX_ARENA_BYTES ((uintptr_t)1 << 31)
#define MFS_UCX_NO_ARENA ((uintptr_t)1 << 63) /* no program has anything there */

/* Where it begins; MFS_UCX_NO_ARENA until it is reserved. */
extern _Atomic uintptr_t mfs_ucx_arena;

static inline bool mfs_ucx_request_ours(const void *handle)
{
    return (uintptr_t)handle - mfs_see(&mfs_ucx_arena) < MFS_UCX_ARENA_BYTES;
}

static inline void *mfs_ucx_request_handle(struct mfs_ucx_request *request)
{
    return request + 1;
}

static inline struct mfs_ucx_request *mfs_ucx_request_of(void *handle)
{
    return (struct mfs_ucx_request *)handle - 1;
}

#endif
