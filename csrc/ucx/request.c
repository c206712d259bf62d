/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The range is reserved once, without memory behind it; pages come with first use.
 * A worker takes blocks as its deferred operations grow in number and keeps them
 * until it ends: what is kept is the most that ever waited at one time.
 */
#include "ucx/request.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_BYTES ((size_t)1 << 16)

struct mfs_ucx_block {
    struct mfs_ucx_block *next;
    size_t used; /* bytes, this header included */
};

#define HEADER_BYTES ((sizeof(struct mfs_ucx_block) + 63) & ~(size_t)63)

static struct {
    pthread_mutex_t mutex;
    size_t used; /* bytes ever handed out */
    struct mfs_ucx_block *free;
} arena = {PTHREAD_MUTEX_INITIALIZER, 0, NULL};

_Atomic uintptr_t mfs_ucx_arena = MFS_UCX_NO_ARENA;

static struct mfs_ucx_block *block_get(void)
{
    struct mfs_ucx_block *block;
    uintptr_t start;

    pthread_mutex_lock(&arena.mutex);
    start = mfs_get(&mfs_ucx_arena);
    if (start == MFS_UCX_NO_ARENA) {
        void *range = mmap(NULL, MFS_UCX_ARENA_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        start = range == MAP_FAILED ? MFS_UCX_NO_ARENA : (uintptr_t)range;
        mfs_publish(&mfs_ucx_arena, start);
    }
    block = arena.free;
    if (block) {
        arena.free = block->next;
    } else if (start != MFS_UCX_NO_ARENA && arena.used < MFS_UCX_ARENA_BYTES) {
        block = (struct mfs_ucx_block *)(start + arena.used);
        arena.used += BLOCK_BYTES;
    }
    pthread_mutex_unlock(&arena.mutex);
    if (block)
        block->used = HEADER_BYTES;
    return block;
}

int mfs_ucx_pool_init(struct mfs_ucx_pool *pool, size_t area_bytes, void (*init)(void *),
                      void (*cleanup)(void *))
{
    if (area_bytes > BLOCK_BYTES - HEADER_BYTES - sizeof(struct mfs_ucx_request) - 63)
        return -E2BIG;
    pool->stride = (sizeof(struct mfs_ucx_request) + area_bytes + 63) & ~(size_t)63;
    pool->init = init;
    pool->cleanup = cleanup;
    return 0;
}

void mfs_ucx_pool_free(struct mfs_ucx_pool *pool)
{
    while (pool->blocks) {
        struct mfs_ucx_block *block = pool->blocks;

        pool->blocks = block->next;
        for (size_t at = HEADER_BYTES; at + pool->stride <= block->used; at += pool->stride) {
            struct mfs_ucx_request *request = (void *)((char *)block + at);

            if (pool->cleanup)
                pool->cleanup(mfs_ucx_request_handle(request));
            request->worker = NULL; /* a caller that kept it finds it canceled */
            mfs_publish(&request->status, UCS_ERR_CANCELED);
        }
        pthread_mutex_lock(&arena.mutex);
        block->next = arena.free;
        arena.free = block;
        pthread_mutex_unlock(&arena.mutex);
    }
    pool->free = NULL;
}

static struct mfs_ucx_request *slot_new(struct mfs_ucx_pool *pool)
{
    struct mfs_ucx_request *request;

    if (!pool->blocks || pool->blocks->used + pool->stride > BLOCK_BYTES) {
        struct mfs_ucx_block *block = block_get();

        if (!block)
            return NULL;
        block->next = pool->blocks;
        pool->blocks = block;
    }
    request = (void *)((char *)pool->blocks + pool->blocks->used);
    pool->blocks->used += pool->stride;
    if (pool->init)
        pool->init(mfs_ucx_request_handle(request));
    return request;
}

struct mfs_ucx_request *mfs_ucx_pool_get(struct mfs_ucx_pool *pool)
{
    struct mfs_ucx_request *request = pool->free;

    if (request)
        pool->free = request->next;
    else
        request = slot_new(pool);
    if (request)
        memset(request, 0, sizeof(*request));
    return request;
}

void mfs_ucx_pool_each(const struct mfs_ucx_pool *pool,
                       void (*each)(const struct mfs_ucx_request *request, void *ctx), void *ctx)
{
    for (const struct mfs_ucx_block *block = pool->blocks; block; block = block->next) {
        for (size_t at = HEADER_BYTES; at + pool->stride <= block->used; at += pool->stride)
            each((const void *)((const char *)block + at), ctx);
    }
}

void mfs_ucx_pool_put(struct mfs_ucx_pool *pool, struct mfs_ucx_request *request)
{
    request->next = pool->free;
    pool->free = request;
}
