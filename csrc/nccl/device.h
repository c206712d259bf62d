/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What NCCL sees as network devices, and the UCX contexts behind each: one for every traffic
 * class, since a context has one class for all that it sends.
 *
 *   device 0 --+-- context of class 0 (most urgent levels)
 *              +-- context of class 1
 *   device 1 ...
 *
 * Opened with the first communicator, closed with the last. The table of devices is made
 * once and does not change; the contexts are guarded by a mutex of their own.
 */
#ifndef MFS_NCCL_DEVICE_H
#define MFS_NCCL_DEVICE_H

#include "core/types.h"
#include "host/config.h"
#include "nccl/net.h"
#include "nccl/ucx.h"

#define MFS_NCCL_DEVICES_MAX 16
#define MFS_NCCL_CLASSES_MAX 4
#define MFS_NCCL_CHANNELS_MAX 32 /* classes times endpoints */

/* Levels from `level` on (up to the next row's) travel in this InfiniBand traffic class. */
struct mfs_nccl_class {
    uint32_t level;
    int traffic_class; /* negative: what UCX takes by itself */
};

struct mfs_nccl_device {
    char name[64];  /* UCX's; "" where UCX chooses */
    char title[96]; /* for NCCL: unique */
    char port[32];  /* whose egress it sends through, for the scheduler */
    char pci_path[512];
    bool cuda;      /* UCX can reach CUDA memory here */
    bool rdma;      /* it has InfiniBand, RoCE or EFA here */
    bool emulates;  /* puts over TCP may be made of active messages (peer.c) */
    ucp_context_h contexts[MFS_NCCL_CLASSES_MAX];
};

/* 0, or -errno with the reason logged: no UCX, or no context. Counted: close as often. */
int mfs_nccl_devices_open(void);
void mfs_nccl_devices_close(void);
/* Valid while they are open. */
int mfs_nccl_devices_count(void);
struct mfs_nccl_device *mfs_nccl_device_at(int dev); /* NULL: there is none */
unsigned mfs_nccl_classes(const struct mfs_nccl_class **classes);
/* The class that a level travels in: an index of contexts. */
unsigned mfs_nccl_class_of(unsigned level);
void mfs_nccl_device_properties(int dev, struct mfs_nccl_properties_v12 *properties);
/* MFS_ENABLE is not "0", and no gate is before us. */
bool mfs_nccl_enabled(void);
/* Is what we send ordered by a policy? (The same, and MFS_POLICY is not off.) */
bool mfs_nccl_scheduled(void);
/* Not by us: a gate wraps this copy. Before the first communicator. */
void mfs_nccl_inside_gate(void);

#endif
