/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The batch that this process computes now: two words under a sequence lock, as a request's cell
 * is (requests.c). The engine's thread writes them at a step, NCCL's progress threads read them at
 * every message. A reader that finds the writer at work a thousand times takes "no batch": the
 * writer was preempted half-way, and a message without a tag is better than a wait.
 */
#include <pthread.h>

#include "core/atomic.h"
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
    sequence = mfs_get(&batch.sequence);
    mfs_set(&batch.sequence, sequence + 1);
    mfs_fence_release();
    mfs_set(&batch.request, request);
    mfs_set(&batch.layer, layer);
    mfs_publish(&batch.sequence, sequence + 2);
    pthread_mutex_unlock(&batch.mutex);
}

struct mfs_tag mfs_batch_get(void)
{
    struct mfs_tag tag = {MFS_REQUEST_NONE, 0, MFS_STAGE_COLLECTIVE};

    for (int tries = 0; tries < READ_TRIES; tries++) {
        const uint32_t before = mfs_see(&batch.sequence);
        const uint64_t request = mfs_get(&batch.request);
        const uint32_t layer = mfs_get(&batch.layer);

        mfs_fence_acquire();
        if (!(before & 1) && before == mfs_get(&batch.sequence)) {
            tag.request = request;
            tag.layer = layer;
            break;
        }
    }
    return tag;
}
