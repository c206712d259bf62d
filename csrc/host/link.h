/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: what the system says of a NIC's speed, as a first estimate of a
 * port's bandwidth. A port is named by the user; if the name is not that of a device, or
 * the device does not know (it is down, or virtual), nothing is known: 0.
 *
 *   eth0       SYSFS/class/net/eth0/speed                    Mbit/s
 *   mlx5_0     SYSFS/class/infiniband/mlx5_0/ports/1/rate    Gbit/s
 *   mlx5_0:2   the same, port 2
 *   mlx5_0+mlx5_1   both together
 *
 * An interface without hardware behind it (a container's veth, a VLAN) tells a speed that is made
 * up: what is behind it may be slower or faster. Then nothing is known either.
 */
#ifndef MFS_HOST_LINK_H
#define MFS_HOST_LINK_H

#include <stdint.h>

/* Bytes per second of the device `name` below `sysfs` ("/sys"), or 0. Reads a file. */
uint64_t mfs_link_rate_Bps(const char *sysfs, const char *name);

#endif
