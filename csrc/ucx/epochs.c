/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/epochs.h"

static struct mfs_ucx_epoch *open_epoch(struct mfs_ucx_epochs *epochs, struct mfs_ucx_slabs *memory)
{
    struct mfs_ucx_epoch *epoch = epochs->last;

    if (epoch && !epoch->closed)
        return epoch;
    epoch = mfs_ucx_slabs_get(memory, sizeof(*epoch));
    if (!epoch)
        return NULL;
    *epoch = (struct mfs_ucx_epoch){.epochs = epochs};
    *(epochs->last ? &epochs->last->next : &epochs->first) = epoch;
    epochs->last = epoch;
    return epoch;
}

static void remove_first(struct mfs_ucx_epochs *epochs, struct mfs_ucx_slabs *memory)
{
    struct mfs_ucx_epoch *epoch = epochs->first;

    epochs->first = epoch->next;
    if (!epochs->first)
        epochs->last = NULL;
    mfs_ucx_slabs_put(memory, epoch);
}

struct mfs_ucx_epoch *mfs_ucx_epochs_enter(struct mfs_ucx_epochs *epochs,
                                           struct mfs_ucx_slabs *memory)
{
    struct mfs_ucx_epoch *epoch = open_epoch(epochs, memory);

    if (epoch) {
        epoch->unissued++;
        epochs->unissued++;
    }
    return epoch;
}

void mfs_ucx_epochs_leave(struct mfs_ucx_epoch *epoch)
{
    epoch->unissued--;
    epoch->epochs->unissued--;
}

bool mfs_ucx_epochs_pending(const struct mfs_ucx_epochs *epochs)
{
    return epochs->unissued > 0 || (epochs->first && epochs->first->closed);
}

struct mfs_ucx_epoch *mfs_ucx_epochs_close(struct mfs_ucx_epochs *epochs,
                                           struct mfs_ucx_slabs *memory,
                                           struct mfs_ucx_request *flush)
{
    struct mfs_ucx_epoch *epoch = open_epoch(epochs, memory);

    if (epoch) {
        epoch->flush = flush;
        epoch->closed = true;
    }
    return epoch;
}

struct mfs_ucx_request *mfs_ucx_epochs_ready(struct mfs_ucx_epochs *epochs,
                                             struct mfs_ucx_slabs *memory)
{
    const struct mfs_ucx_epoch *epoch = epochs->first;
    struct mfs_ucx_request *flush;

    if (!epoch || !epoch->closed || epoch->unissued > 0)
        return NULL;
    flush = epoch->flush;
    remove_first(epochs, memory);
    return flush;
}

void mfs_ucx_epochs_end(struct mfs_ucx_epochs *epochs, struct mfs_ucx_slabs *memory)
{
    while (epochs->first)
        remove_first(epochs, memory);
    epochs->unissued = 0;
}
