/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's lock: one locked instruction to take it, none to give it.
 *
 * NCCL polls: between two looks at UCX a mutex of the system's would take more time than the
 * look. Who waits is a thread that would poll otherwise, or the one that sets up connections,
 * and gives the processor away. There is no order among those who wait.
 */
#ifndef MFS_NCCL_LOCK_H
#define MFS_NCCL_LOCK_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/atomic.h"

struct mfs_nccl_lock {
    _Atomic uint32_t held;
};

#define MFS_NCCL_LOCK_LOOKS 64 /* before the processor is given away */

static inline bool mfs_nccl_lock_try(struct mfs_nccl_lock *lock)
{
    /* acquire: what the last holder wrote is seen */
    return mfs_swap(&lock->held, 1) == 0;
}

static inline void mfs_nccl_lock_take(struct mfs_nccl_lock *lock)
{
    while (!mfs_nccl_lock_try(lock)) {
        int looks = MFS_NCCL_LOCK_LOOKS;

        while (looks > 0 && mfs_get(&lock->held) != 0)
            looks--;
        if (looks == 0)
            sched_yield();
    }
}

static inline void mfs_nccl_lock_give(struct mfs_nccl_lock *lock)
{
    mfs_publish(&lock->held, 0);
}

#endif
