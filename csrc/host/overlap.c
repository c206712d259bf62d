/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THE WORD: a bit for each port that has a device in common, and above them a number that moves
 * with each change, so that who has read the names knows when to read them again.
 *
 * TRUST: rubbish in the word costs a read of the names, which says the truth; bits that are gone
 * come again when somebody makes a port, or mends the segment. Sums stop at their ends.
 */
#include "host/overlap.h"

#include <string.h>

#include "core/atomic.h"
#include "host/attach.h"

#define BESIDE_MAX (UINT64_C(1) << 58) /* bytes of a device that others may say to hold */

_Static_assert(MFS_PORTS_MAX <= 48, "the word has room for a number");

/* The device at `at`, and where the next one is. */
static size_t device_at(const char *at, const char **next)
{
    const size_t length = strcspn(at, "+");

    *next = at + length + (at[length] == '+');
    return length;
}

static bool has(const char *name, const char *device, size_t length)
{
    const char *next;

    for (; *name; name = next) {
        const size_t own = device_at(name, &next);

        if (own == length && memcmp(name, device, length) == 0)
            return true;
    }
    return false;
}

uint32_t mfs_port_devices(const char *name)
{
    uint32_t count = 0;

    for (const char *next; *name && count < MFS_PORT_DEVICES_MAX; name = next) {
        (void)device_at(name, &next);
        count++;
    }
    return count;
}

uint32_t mfs_port_shared(const char *name, const char *other)
{
    uint32_t shared = 0;
    const char *next;

    for (uint32_t at = 0; *name && at < MFS_PORT_DEVICES_MAX; name = next, at++) {
        const size_t length = device_at(name, &next);

        if (length > 0 && has(other, name, length))
            shared |= UINT32_C(1) << at;
    }
    return shared;
}

/* Name and direction of a port that is there. */
static bool port_read(struct mfs_host *host, uint32_t port, char *name, uint32_t *direction)
{
    *direction = mfs_get(&host->segment->ports[port].direction);
    return mfs_port_name_at(host, port, name) == 0;
}

static uint64_t beside(struct mfs_host *host, uint32_t port, struct mfs_overlaps *overlaps)
{
    char name[MFS_PORT_NAME_MAX + 1], other[MFS_PORT_NAME_MAX + 1];
    uint32_t direction, other_direction;
    uint64_t ports = 0;

    overlaps->count = 0;
    if (!port_read(host, port, name, &direction))
        return 0;
    overlaps->devices = mfs_port_devices(name);
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        struct mfs_overlap *one = &overlaps->with[overlaps->count];

        if (i == port || !port_read(host, i, other, &other_direction) ||
            other_direction != direction)
            continue;
        *one = (struct mfs_overlap){i, mfs_port_devices(other), mfs_port_shared(name, other)};
        if (one->shared == 0)
            continue;
        ports |= UINT64_C(1) << i;
        overlaps->count++;
    }
    return ports;
}

void mfs_overlaps_tell(struct mfs_host *host)
{
    struct mfs_overlaps overlaps;

    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        struct mfs_port_cell *cell = &host->segment->ports[i];
        const uint64_t number = (mfs_get(&cell->beside) >> MFS_PORTS_MAX) + 1;
        const uint64_t ports = beside(host, i, &overlaps);

        if (ports != 0 || mfs_overlaps_any(mfs_get(&cell->beside)))
            mfs_publish(&cell->beside, number << MFS_PORTS_MAX | ports);
    }
}

void mfs_overlaps_read(struct mfs_host *host, uint32_t port, uint64_t word,
                       struct mfs_overlaps *overlaps)
{
    overlaps->word = word;
    (void)beside(host, port, overlaps);
}

void mfs_beside_add(struct mfs_beside *all, const struct mfs_overlap *overlap,
                    const struct mfs_others *theirs)
{
    const uint64_t part = theirs->inflight_bytes / overlap->devices;

    for (uint32_t at = 0; at < MFS_PORT_DEVICES_MAX; at++) {
        if (overlap->shared >> at & 1) {
            all->held[at] += part;
            all->done_bytes += theirs->done_bytes / overlap->devices;
        }
    }
}

void mfs_beside_sum(const struct mfs_beside *all, const struct mfs_overlaps *overlaps,
                    struct mfs_others *others)
{
    uint64_t most = 0;

    for (uint32_t at = 0; at < MFS_PORT_DEVICES_MAX; at++)
        most = all->held[at] > most ? all->held[at] : most;
    others->inflight_bytes += (most < BESIDE_MAX ? most : BESIDE_MAX) * overlaps->devices;
    others->done_bytes += all->done_bytes;
}
