/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/copies.h"

#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define RANGE (MFS_UCX_COPIES_MAX * MFS_UCX_COPY_BYTES)

static bool is_copy(const struct mfs_ucx_copies *copies, const void *buffer)
{
    return copies->base && (uintptr_t)buffer - (uintptr_t)copies->base < RANGE;
}

static void *room(struct mfs_ucx_copies *copies)
{
    void *copy = copies->free;

    if (copy) {
        copies->free = *(void **)copy;
        return copy;
    }
    if (!copies->base)
        copies->base = malloc(RANGE); /* pages come with first use */
    if (!copies->base || copies->used == MFS_UCX_COPIES_MAX)
        return NULL;
    return copies->base + copies->used++ * MFS_UCX_COPY_BYTES;
}

void *mfs_ucx_copy_make(struct mfs_ucx_copies *copies, const void *buffer, size_t bytes)
{
    void *copy = room(copies);
    const struct iovec to = {copy, bytes}, from = {(void *)(uintptr_t)buffer, bytes};

    /* by the kernel: a GPU's memory is an error there, and would be a crash here */
    if (copy && process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)bytes) {
        mfs_ucx_copy_end(copies, copy);
        copy = NULL;
    }
    return copy;
}

void mfs_ucx_copy_end(struct mfs_ucx_copies *copies, void *buffer)
{
    if (!is_copy(copies, buffer))
        return;
    *(void **)buffer = copies->free;
    copies->free = buffer;
}

void mfs_ucx_copies_free(struct mfs_ucx_copies *copies)
{
    free(copies->base);
    *copies = (struct mfs_ucx_copies){NULL, NULL, 0};
}
