/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which UCX suits this host, told by files alone: nothing is opened.
 *
 *   has verbs   libuct_ib*.so lies in the folder ucx beside libucp (wheels, Debian, HPC-X)
 *   has RDMA    /sys/class/infiniband names a device
 *
 * The libucx wheels are built without verbs: on a host with RDMA devices all would go over TCP.
 */
#ifndef MFS_NCCL_UCX_FIND_H
#define MFS_NCCL_UCX_FIND_H

#include <stdbool.h>
#include <stddef.h>

/* The first RDMA device, by name. false: there is none. sysfs: "/sys", but in tests. */
bool mfs_nccl_rdma_device(const char *sysfs, char *name, size_t size);
/* Was the UCX of this libucp built with verbs? */
bool mfs_nccl_ucx_has_verbs(const char *libucp);

#endif
