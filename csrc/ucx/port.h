/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports that a worker sends through, and which of them an endpoint uses.
 *
 *   MFS_PORT, or UCX_NET_DEVICES with one device --> own, for all endpoints
 *   devices that UCX tells of the endpoint --------> theirs: eth0, mlx5_0+mlx5_1
 *   none (shared memory, loopback, an old UCX) ----> own, which is `default` then
 */
#ifndef MFS_UCX_PORT_H
#define MFS_UCX_PORT_H

#include "host/sender.h"
#include "ucx/device.h"

struct mfs_ucx_worker;

enum { MFS_UCX_EGRESS, MFS_UCX_INGRESS, MFS_UCX_LANES };

struct mfs_ucx_lane {
    struct mfs_sender *sender; /* NULL until the first operation is deferred */
    struct mfs_ucx_worker *worker;
    struct mfs_ucx_lane *next; /* of the worker's that have a sender */
    int64_t watch_ns; /* not before: ucx/watch.h */
};

struct mfs_ucx_port {
    struct mfs_ucx_lane lanes[MFS_UCX_LANES];
    char name[MFS_PORT_NAME_MAX + 1];
    struct mfs_ucx_port *next; /* of the worker */
};

/* A worker's own, which is in the worker, and the first of all that it has. */
void mfs_ucx_port_init(struct mfs_ucx_port *own, struct mfs_ucx_worker *worker);
/* All that it has. Their destinations were closed before. */
void mfs_ucx_ports_free(struct mfs_ucx_port *own);
/* The worker's of that name; without memory, its own. The worker's mutex is held. */
struct mfs_ucx_port *mfs_ucx_port_get(struct mfs_ucx_port *own, const char *name);

/* The port that an endpoint uses, if it is not the worker's own. Calls UCX; no mutex may be held.
 */
bool mfs_ucx_port_of(const struct mfs_ucx_api *api, ucp_ep_h ep, const struct mfs_ucx_made *made,
                     char *name);

#endif
