/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batch is two words under a sequence lock, as a request's cell is (requests.c): the
 * engine's thread writes them at a step, NCCL's progress threads read them at every message.
 * A reader that finds the writer at work a thousand times takes "no batch": it was preempted
 * half-way, and a message without a tag is better than a wait.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "host/host.h"

#define READ_TRIES 1000

static struct {
    pthread_mutex_t mutex; /* of writers */
    _Atomic uint32_t sequence;
    _Atomic uint32_t layer;
    _Atomic uint64_t request;
} batch = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void mfs_batch_set(uint64_t request, uint32_t layer)
{
    uint32_t sequence;

    pthread_mutex_lock(&batch.mutex);
    sequence = atomic_load_explicit(&batch.sequence, memory_order_relaxed);
    atomic_store_explicit(&batch.sequence, sequence + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&batch.request, request, memory_order_relaxed);
    atomic_store_explicit(&batch.layer, layer, memory_order_relaxed);
    atomic_store_explicit(&batch.sequence, sequence + 2, memory_order_release);
    pthread_mutex_unlock(&batch.mutex);
}

struct mfs_tag mfs_batch_get(void)
{
    struct mfs_tag tag = {MFS_REQUEST_NONE, 0, MFS_STAGE_COLLECTIVE};

    for (int tries = 0; tries < READ_TRIES; tries++) {
        const uint32_t before = atomic_load_explicit(&batch.sequence, memory_order_acquire);
        const uint64_t request = atomic_load_explicit(&batch.request, memory_order_relaxed);
        const uint32_t layer = atomic_load_explicit(&batch.layer, memory_order_relaxed);

        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) &&
            before == atomic_load_explicit(&batch.sequence, memory_order_relaxed)) {
            tag.request = request;
            tag.layer = layer;
            break;
        }
    }
    return tag;
}
