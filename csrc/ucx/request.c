/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The range is reserved once without memory behind it; pages come with first use.
 * Slots are handed out in ascending order and reused last-in first-out.
 */
#include "ucx/request.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_REQUESTS (UINT64_C(1) << 22)
#define SLOT_BYTES ((sizeof(struct mfs_ucx_request) + 63) & ~(size_t)63)

static struct {
    pthread_mutex_t mutex;
    _Atomic(char *) start; /* NULL until reserved */
    uint64_t used;         /* slots ever handed out */
    struct mfs_ucx_request *free;
} arena = {PTHREAD_MUTEX_INITIALIZER, NULL, 0, NULL};

struct mfs_ucx_request *mfs_ucx_request_alloc(void)
{
    struct mfs_ucx_request *request;
    char *start;

    pthread_mutex_lock(&arena.mutex);
    start = atomic_load_explicit(&arena.start, memory_order_relaxed);
    if (!start) {
        void *range = mmap(NULL, ARENA_REQUESTS * SLOT_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        start = range == MAP_FAILED ? NULL : range;
        atomic_store_explicit(&arena.start, start, memory_order_release);
    }
    request = arena.free;
    if (request)
        arena.free = request->next;
    else if (start && arena.used < ARENA_REQUESTS)
        request = (struct mfs_ucx_request *)(void *)(start + SLOT_BYTES * arena.used++);
    pthread_mutex_unlock(&arena.mutex);
    if (request)
        memset(request, 0, sizeof(*request));
    return request;
}

void mfs_ucx_request_put(struct mfs_ucx_request *request)
{
    pthread_mutex_lock(&arena.mutex);
    request->next = arena.free;
    arena.free = request;
    pthread_mutex_unlock(&arena.mutex);
}

bool mfs_ucx_request_ours(const void *request)
{
    const char *start = atomic_load_explicit(&arena.start, memory_order_acquire);

    return start && (const char *)request >= start &&
           (const char *)request < start + ARENA_REQUESTS * SLOT_BYTES;
}
