/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports of a host: one direction of one NIC each, in the shared segment. Who sends on one joins
 * it (host/sender.h); what is said of it here is read from outside.
 */
#ifndef MFS_HOST_PORT_H
#define MFS_HOST_PORT_H

#include "core/window.h"
#include "host/host.h"

#define MFS_PORTS_MAX 40u /* open at one time on a host: of 16 NICs, and of some of them joined */

enum mfs_direction { MFS_EGRESS = 0, MFS_INGRESS = 1 };

struct mfs_port;

/* Port of the NIC `name`; made if new, with the speed of that device as the first estimate.
 * -ENOSPC: live processes have too many ports open; -EINVAL: name empty or long. */
MFS_API int mfs_port_open(struct mfs_host *host, const char *name, enum mfs_direction direction,
                          struct mfs_port **port);
/* The same, but only one that is there, and to look at: nobody joins it. -ENOENT. */
MFS_API int mfs_port_find(struct mfs_host *host, const char *name, enum mfs_direction direction,
                          struct mfs_port **port);
/* Name (MFS_PORT_NAME_MAX + 1 bytes) of the port at index 0 to MFS_PORTS_MAX - 1, for lists.
 * -ENOENT: none is there. */
MFS_API int mfs_port_name_at(struct mfs_host *host, uint32_t index, char *name);
/* After its senders have left. A port that no live process has open gives way to a new name. */
MFS_API void mfs_port_close(struct mfs_port *port);

/*
 * The name of the port that a process's traffic uses, as far as its environment says it: MFS_PORT,
 * or else the device that UCX_NET_DEVICES names if it is one ("mlx5_0:1": mlx5_0), or else
 * "default". name: MFS_PORT_NAME_MAX + 1 bytes.
 */
MFS_API void mfs_port_name_of(const char *port, const char *devices, char *name);
/* Of this process: by its environment, or else what it has learned, or else "default". */
MFS_API void mfs_port_own(char *name);
/* Does the environment say it, for all of its traffic? */
MFS_API bool mfs_port_said(void);
/* Does the environment say nothing, and has nothing been learned yet? */
MFS_API bool mfs_port_learns(void);
/*
 * The port of what several devices carry together: their names in order, with a + between, as many
 * as fit. name: MFS_PORT_NAME_MAX + 1 bytes. False: none of them is the name of a device.
 */
MFS_API bool mfs_port_name_join(const char *const *devices, uint32_t count, char *name);
/* A connection of this process really uses that port. It is the process's own from now on if the
 * environment says nothing; the first stays. Returns whether the name has changed. */
MFS_API bool mfs_port_learn(const char *name);

/* What the system says of the speed of its device, or of all of them together; 0: it does not say,
 * or the port has no device's name. Reads files. */
MFS_API uint64_t mfs_port_link_Bps(const char *name);
MFS_API uint64_t mfs_port_rate_Bps(const struct mfs_port *port);  /* 0: unknown yet */
/* How many times faster the port may be: 1 when its rate is configured, 2 when it is learned. */
MFS_API double mfs_port_rate_margin(const struct mfs_port *port);
/* Of a sender that looks at its queue in time. */
MFS_API uint64_t mfs_port_window(const struct mfs_port *port);
MFS_API uint64_t mfs_port_chunk(const struct mfs_port *port);
/* Destinations of all senders that take no bytes now. */
MFS_API uint32_t mfs_port_stalled(const struct mfs_port *port);
/* In the window; of senders that move. */
MFS_API uint64_t mfs_port_inflight(struct mfs_port *port, int64_t now_ns);

#endif
