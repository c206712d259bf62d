/* SPDX-License-Identifier: Apache-2.0 */
#include "host/guest.h"

#include <errno.h>
#include <stdlib.h>

#include "core/exchange.h"
#include "host/attach.h"
#include "host/cell.h"
#include "host/config.h"

struct mfs_guest {
    struct mfs_port *port;
    struct mfs_sender_cell *cell;
    struct mfs_guest_word word;
    uint64_t done_bytes; /* what stands in the cell */
    uint32_t owner;      /* as well */
    bool told;
};

int mfs_guest_join(struct mfs_port *port, struct mfs_guest **out)
{
    struct mfs_guest *guest = calloc(1, sizeof(*guest));
    int error;

    if (!guest)
        return -ENOMEM;
    error = mfs_cell_take(port->host, port->cell, NULL, 0, NULL, &guest->cell);
    if (error) {
        free(guest);
        return error;
    }
    guest->port = port;
    guest->owner = port->host->process + 1;
    guest->done_bytes = mfs_get(&guest->cell->done_bytes);
    *out = guest;
    return 0;
}

const struct mfs_sender_cell *mfs_guest_cell(const struct mfs_guest *guest)
{
    return guest->cell;
}

/* Of the cell, which counts for the port's rate: it never runs back. */
static void done_add(struct mfs_guest *guest, uint64_t done_bytes)
{
    if (guest->told && done_bytes > guest->word.done_bytes)
        guest->done_bytes += done_bytes - guest->word.done_bytes;
    guest->told = true;
}

int mfs_guest_tell(struct mfs_guest *guest, uint32_t level, int64_t span_ns,
                   uint64_t inflight_bytes, uint64_t done_bytes, int64_t now_ns)
{
    const uint64_t most_bytes = mfs_port_window(guest->port) / 2;
    const mfs_rank_t rank = mfs_exchange_rank(level, span_ns, now_ns);
    struct mfs_told told = {
        .untagged_rank = MFS_RANK_NONE,
        .inflight_bytes = inflight_bytes < most_bytes ? inflight_bytes : most_bytes,
    };

    if (mfs_get(&guest->cell->owner) != guest->owner)
        return -ENOENT;
    done_add(guest, done_bytes);
    told.done_bytes = guest->done_bytes;
    told.rank =
        mfs_exchange_believe(&guest->word, rank, done_bytes, mfs_config_get()->lease, now_ns);
    mfs_cell_tell(guest->cell, &told, now_ns);
    return 0;
}

void mfs_guest_leave(struct mfs_guest *guest)
{
    if (!guest)
        return;
    if (mfs_get(&guest->cell->owner) == guest->owner)
        mfs_cell_clear(guest->cell);
    free(guest);
}
