/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: ports that have a device in common.
 *
 *   port mlx5_0+mlx5_1:  S  ----+--> mlx5_0
 *                               +--> mlx5_1 <---- T  :port mlx5_1
 *
 * A transfer that is striped over the m devices of its port puts 1/m of its bytes on each. So of z
 * bytes that T has in flight, S, with n devices, sees its own window filled as by z n/m of its own;
 * of several such ports, the device with the most of them counts.
 *
 * Each port's cell has a word that says which others there are, so that a port without any costs
 * one look at it. The word is a hint: what it names is held against the names of the ports.
 */
#ifndef MFS_HOST_OVERLAP_H
#define MFS_HOST_OVERLAP_H

#include "core/sender.h"
#include "host/port.h"

#define MFS_PORT_DEVICES_MAX 8u

struct mfs_segment;

/* A port beside ours. */
struct mfs_overlap {
    uint32_t port;    /* its index */
    uint32_t devices; /* that it has */
    uint32_t shared;  /* which of ours it has, too: a bit each */
};

struct mfs_overlaps {
    uint64_t word; /* for which this is; 0: for none yet */
    uint32_t devices; /* of our own port */
    uint32_t count;
    struct mfs_overlap with[MFS_PORTS_MAX];
};

/* What S sees of the ports beside its own. */
struct mfs_beside {
    uint64_t held[MFS_PORT_DEVICES_MAX]; /* of each device of ours, in flight */
    uint64_t done_bytes;
};

/* The devices of a port, which its name says with a + in between. */
uint32_t mfs_port_devices(const char *name);
/* Which of the devices of `name` has `other`, too? A bit each, in the order of the name. */
uint32_t mfs_port_shared(const char *name, const char *other);

/* A port has been made, or has another name: all are told. The segment's lock is held. */
void mfs_overlaps_tell(struct mfs_host *host);
/* The ports beside `port`, as of that word. */
void mfs_overlaps_read(struct mfs_host *host, uint32_t port, uint64_t word,
                       struct mfs_overlaps *overlaps);

/* So much of one of them is in flight, and has ever been completed. */
void mfs_beside_add(struct mfs_beside *beside, const struct mfs_overlap *overlap,
                    const struct mfs_others *theirs);
/* As if it were our own port's. */
void mfs_beside_sum(const struct mfs_beside *beside, const struct mfs_overlaps *overlaps,
                    struct mfs_others *others);

/* Are there any? */
static inline bool mfs_overlaps_any(uint64_t word)
{
    return word << (64 - MFS_PORTS_MAX) != 0;
}

#endif
