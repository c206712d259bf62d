/* SPDX-License-Identifier: Apache-2.0 */
#include "host/cell.h"

#include <errno.h>

#include "host/attach.h"
#include "host/waits.h"

_Static_assert(MFS_SENDERS_MAX <= UINT8_MAX, "a member's number is a byte");

/* The segment's lock is held. */
static struct mfs_sender_cell *cell_free(struct mfs_port_cell *port)
{
    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        if (!mfs_get(&port->senders[i].owner))
            return &port->senders[i];
    }
    return NULL;
}

void mfs_cell_clear(struct mfs_sender_cell *cell)
{
    mfs_set(&cell->rank, MFS_RANK_NONE);
    mfs_set(&cell->untagged_rank, MFS_RANK_NONE);
    mfs_set(&cell->inflight_bytes, 0);
    mfs_set(&cell->slow_kib, 0);
    mfs_set(&cell->stalled, 0);
    mfs_set(&cell->away_us, 0);
    mfs_publish(&cell->owner, 0);
}

static bool member_used(const struct mfs_port_cell *port, uint32_t member)
{
    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        if (mfs_get(&port->senders[i].owner) && mfs_get(&port->member_of[i]) == member + 1)
            return true;
    }
    return false;
}

/* There is one for each sender. The segment's lock is held. */
static uint8_t member_take(struct mfs_port_cell *port, uint64_t key)
{
    uint32_t at = 0;

    while (at < MFS_SENDERS_MAX && mfs_get(&port->members[at].key) != key)
        at++;
    if (at < MFS_SENDERS_MAX)
        return (uint8_t)(at + 1);
    at = 0;
    while (at < MFS_SENDERS_MAX - 1 && member_used(port, at))
        at++;
    mfs_set(&port->members[at].mark, 0);
    mfs_set(&port->members[at].key, key);
    return (uint8_t)(at + 1);
}

int mfs_cell_take(struct mfs_host *host, struct mfs_port_cell *port, struct mfs_waits *waits,
                  uint64_t key, uint8_t *member, struct mfs_sender_cell **out)
{
    uint8_t number;
    struct mfs_sender_cell *cell;
    uint32_t next;
    int error = mfs_segment_lock(host);

    if (error)
        return error;
    cell = cell_free(port);
    if (!cell) { /* perhaps the dead hold some */
        mfs_process_reap_locked(host);
        cell = cell_free(port);
    }
    if (cell) {
        mfs_cell_clear(cell);
        mfs_set(&cell->stamp_ns, mfs_now_ns());
        number = key ? member_take(port, key) : 0;
        if (member)
            *member = number;
        mfs_set(&port->member_of[cell - port->senders], number);
        mfs_publish(&cell->owner, host->process + 1);
        next = (uint32_t)(cell - port->senders) + 1;
        if (mfs_get(&port->senders_high) < next)
            mfs_publish(&port->senders_high, next);
        if (waits)
            mfs_waits_open(waits, host, (uint32_t)(port - host->segment->ports), next - 1);
        *out = cell;
    }
    mfs_segment_unlock(host);
    return cell ? 0 : -ENOSPC;
}

void mfs_senders_reap(struct mfs_segment *segment, const struct mfs_living *living)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        for (uint32_t j = 0; j < MFS_SENDERS_MAX; j++) {
            struct mfs_sender_cell *cell = &segment->ports[i].senders[j];
            const uint32_t owner = mfs_get(&cell->owner);

            if (owner && !mfs_living_owner(living, owner))
                mfs_cell_clear(cell);
        }
    }
    mfs_waits_reap(segment, living);
    mfs_far_reap(&segment->far, living);
    mfs_contacts_reap(&segment->contacts, living);
}
