/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The older tables and properties, versions 7 to 11: only what differs from net.h.
 *
 *   7   size of regMr and of messages is an int
 *   8   regMr takes a size_t; properties: regIsGlobal
 *   9   messages take a size_t; makeVDevice; properties: forceFlush, virtual NIC, sizes
 *   10  init: profiler; connect: configuration; isend and irecv: profiler handles
 *   11  a context for each communicator; finalize; setNetAttr; properties: multi-requests
 */
#ifndef MFS_NCCL_VERSIONS_H
#define MFS_NCCL_VERSIONS_H

#include "nccl/net.h"

#define MFS_NCCL_DEVS_MAX_V11 4

struct mfs_nccl_vdevice_v11 { /* also 9 and 10 */
    int ndevs;
    int devs[MFS_NCCL_DEVS_MAX_V11];
};

struct mfs_nccl_properties_v7 {
    char *name;
    char *pci_path;
    uint64_t guid;
    int ptr_support;
    int speed_mbit;
    int port;
    float latency_us;
    int max_comms;
    int max_recvs;
    int device_type;
    int device_version;
};

struct mfs_nccl_properties_v8 {
    char *name;
    char *pci_path;
    uint64_t guid;
    int ptr_support;
    int reg_is_global;
    int speed_mbit;
    int port;
    float latency_us;
    int max_comms;
    int max_recvs;
    int device_type;
    int device_version;
};

struct mfs_nccl_properties_v9 { /* also 10 */
    char *name;
    char *pci_path;
    uint64_t guid;
    int ptr_support;
    int reg_is_global;
    int force_flush;
    int speed_mbit;
    int port;
    float latency_us;
    int max_comms;
    int max_recvs;
    int device_type;
    int device_version;
    struct mfs_nccl_vdevice_v11 vdevice;
    size_t max_p2p_bytes;
    size_t max_coll_bytes;
};

struct mfs_nccl_properties_v11 {
    char *name;
    char *pci_path;
    uint64_t guid;
    int ptr_support;
    int reg_is_global;
    int force_flush;
    int speed_mbit;
    int port;
    float latency_us;
    int max_comms;
    int max_recvs;
    int device_type;
    int device_version;
    struct mfs_nccl_vdevice_v11 vdevice;
    size_t max_p2p_bytes;
    size_t max_coll_bytes;
    int max_multi_request;
};

struct mfs_nccl_table_v11 {
    const char *name;
    mfs_nccl_result_t (*init)(void **, uint64_t, struct mfs_nccl_config *, mfs_nccl_logger_t,
                              mfs_nccl_profiler_t);
    mfs_nccl_result_t (*devices)(int *);
    mfs_nccl_result_t (*properties)(int, struct mfs_nccl_properties_v11 *);
    mfs_nccl_result_t (*listen)(void *, int, void *, void **);
    mfs_nccl_result_t (*connect)(void *, int, void *, void **, void **);
    mfs_nccl_result_t (*accept)(void *, void **, void **);
    mfs_nccl_result_t (*reg)(void *, void *, size_t, int, void **);
    mfs_nccl_result_t (*reg_dmabuf)(void *, void *, size_t, int, uint64_t, int, void **);
    mfs_nccl_result_t (*dereg)(void *, void *);
    mfs_nccl_result_t (*isend)(void *, void *, size_t, int, void *, void *, void **);
    mfs_nccl_result_t (*irecv)(void *, int, void **, size_t *, int *, void **, void **, void **);
    mfs_nccl_result_t (*iflush)(void *, int, void **, int *, void **, void **);
    mfs_nccl_result_t (*test)(void *, int *, int *);
    mfs_nccl_result_t (*close_send)(void *);
    mfs_nccl_result_t (*close_recv)(void *);
    mfs_nccl_result_t (*close_listen)(void *);
    mfs_nccl_result_t (*device_mr)(void *, void *, void **);
    mfs_nccl_result_t (*irecv_consumed)(void *, int, void *);
    mfs_nccl_result_t (*make_vdevice)(int *, struct mfs_nccl_vdevice_v11 *);
    mfs_nccl_result_t (*finalize)(void *);
    mfs_nccl_result_t (*set_attr)(void *, struct mfs_nccl_attr *);
};

struct mfs_nccl_table_v10 {
    const char *name;
    mfs_nccl_result_t (*init)(mfs_nccl_logger_t, mfs_nccl_profiler_t);
    mfs_nccl_result_t (*devices)(int *);
    mfs_nccl_result_t (*properties)(int, struct mfs_nccl_properties_v9 *);
    mfs_nccl_result_t (*listen)(int, void *, void **);
    mfs_nccl_result_t (*connect)(int, struct mfs_nccl_config *, void *, void **, void **);
    mfs_nccl_result_t (*accept)(void *, void **, void **);
    mfs_nccl_result_t (*reg)(void *, void *, size_t, int, void **);
    mfs_nccl_result_t (*reg_dmabuf)(void *, void *, size_t, int, uint64_t, int, void **);
    mfs_nccl_result_t (*dereg)(void *, void *);
    mfs_nccl_result_t (*isend)(void *, void *, size_t, int, void *, void *, void **);
    mfs_nccl_result_t (*irecv)(void *, int, void **, size_t *, int *, void **, void **, void **);
    mfs_nccl_result_t (*iflush)(void *, int, void **, int *, void **, void **);
    mfs_nccl_result_t (*test)(void *, int *, int *);
    mfs_nccl_result_t (*close_send)(void *);
    mfs_nccl_result_t (*close_recv)(void *);
    mfs_nccl_result_t (*close_listen)(void *);
    mfs_nccl_result_t (*device_mr)(void *, void *, void **);
    mfs_nccl_result_t (*irecv_consumed)(void *, int, void *);
    mfs_nccl_result_t (*make_vdevice)(int *, struct mfs_nccl_vdevice_v11 *);
};

struct mfs_nccl_table_v9 {
    const char *name;
    mfs_nccl_result_t (*init)(mfs_nccl_logger_t);
    mfs_nccl_result_t (*devices)(int *);
    mfs_nccl_result_t (*properties)(int, struct mfs_nccl_properties_v9 *);
    mfs_nccl_result_t (*listen)(int, void *, void **);
    mfs_nccl_result_t (*connect)(int, void *, void **, void **);
    mfs_nccl_result_t (*accept)(void *, void **, void **);
    mfs_nccl_result_t (*reg)(void *, void *, size_t, int, void **);
    mfs_nccl_result_t (*reg_dmabuf)(void *, void *, size_t, int, uint64_t, int, void **);
    mfs_nccl_result_t (*dereg)(void *, void *);
    mfs_nccl_result_t (*isend)(void *, void *, size_t, int, void *, void **);
    mfs_nccl_result_t (*irecv)(void *, int, void **, size_t *, int *, void **, void **);
    mfs_nccl_result_t (*iflush)(void *, int, void **, int *, void **, void **);
    mfs_nccl_result_t (*test)(void *, int *, int *);
    mfs_nccl_result_t (*close_send)(void *);
    mfs_nccl_result_t (*close_recv)(void *);
    mfs_nccl_result_t (*close_listen)(void *);
    mfs_nccl_result_t (*device_mr)(void *, void *, void **);
    mfs_nccl_result_t (*irecv_consumed)(void *, int, void *);
    mfs_nccl_result_t (*make_vdevice)(int *, struct mfs_nccl_vdevice_v11 *);
};

struct mfs_nccl_table_v8 {
    const char *name;
    mfs_nccl_result_t (*init)(mfs_nccl_logger_t);
    mfs_nccl_result_t (*devices)(int *);
    mfs_nccl_result_t (*properties)(int, struct mfs_nccl_properties_v8 *);
    mfs_nccl_result_t (*listen)(int, void *, void **);
    mfs_nccl_result_t (*connect)(int, void *, void **, void **);
    mfs_nccl_result_t (*accept)(void *, void **, void **);
    mfs_nccl_result_t (*reg)(void *, void *, size_t, int, void **);
    mfs_nccl_result_t (*reg_dmabuf)(void *, void *, size_t, int, uint64_t, int, void **);
    mfs_nccl_result_t (*dereg)(void *, void *);
    mfs_nccl_result_t (*isend)(void *, void *, int, int, void *, void **);
    mfs_nccl_result_t (*irecv)(void *, int, void **, int *, int *, void **, void **);
    mfs_nccl_result_t (*iflush)(void *, int, void **, int *, void **, void **);
    mfs_nccl_result_t (*test)(void *, int *, int *);
    mfs_nccl_result_t (*close_send)(void *);
    mfs_nccl_result_t (*close_recv)(void *);
    mfs_nccl_result_t (*close_listen)(void *);
    mfs_nccl_result_t (*device_mr)(void *, void *, void **);
    mfs_nccl_result_t (*irecv_consumed)(void *, int, void *);
};

struct mfs_nccl_table_v7 {
    const char *name;
    mfs_nccl_result_t (*init)(mfs_nccl_logger_t);
    mfs_nccl_result_t (*devices)(int *);
    mfs_nccl_result_t (*properties)(int, struct mfs_nccl_properties_v7 *);
    mfs_nccl_result_t (*listen)(int, void *, void **);
    mfs_nccl_result_t (*connect)(int, void *, void **, void **);
    mfs_nccl_result_t (*accept)(void *, void **, void **);
    mfs_nccl_result_t (*reg)(void *, void *, int, int, void **);
    mfs_nccl_result_t (*reg_dmabuf)(void *, void *, size_t, int, uint64_t, int, void **);
    mfs_nccl_result_t (*dereg)(void *, void *);
    mfs_nccl_result_t (*isend)(void *, void *, int, int, void *, void **);
    mfs_nccl_result_t (*irecv)(void *, int, void **, int *, int *, void **, void **);
    mfs_nccl_result_t (*iflush)(void *, int, void **, int *, void **, void **);
    mfs_nccl_result_t (*test)(void *, int *, int *);
    mfs_nccl_result_t (*close_send)(void *);
    mfs_nccl_result_t (*close_recv)(void *);
    mfs_nccl_result_t (*close_listen)(void *);
    mfs_nccl_result_t (*device_mr)(void *, void *, void **);
    mfs_nccl_result_t (*irecv_consumed)(void *, int, void *);
};

#endif
