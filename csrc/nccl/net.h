/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NCCL's network plug-in interface, version 12, in our own words: the table that NCCL looks
 * up as ncclNetPlugin_v12, and what its calls take. The layouts are NCCL's (2.30); the older
 * ones stand in versions.h. tests/c/test_nccl_layout.c holds every size and offset against
 * written numbers.
 *
 * A call returns 0 or an error of enum mfs_nccl_result. connect, accept, isend, irecv and
 * iflush may answer "not yet" with 0 and NULL in their last output.
 */
#ifndef MFS_NCCL_NET_H
#define MFS_NCCL_NET_H

#include <stddef.h>
#include <stdint.h>

typedef int mfs_nccl_result_t;

enum mfs_nccl_result {
    MFS_NCCL_OK = 0,
    MFS_NCCL_SYSTEM_ERROR = 2,     /* the system refused something */
    MFS_NCCL_INTERNAL_ERROR = 3,   /* misuse of a call, or a fault of ours */
    MFS_NCCL_INVALID_ARGUMENT = 4,
    MFS_NCCL_INVALID_USAGE = 5,    /* sizes or versions of the two sides do not fit */
    MFS_NCCL_REMOTE_ERROR = 6,     /* the peer is gone */
};

enum { MFS_NCCL_PTR_HOST = 1, MFS_NCCL_PTR_CUDA = 2, MFS_NCCL_PTR_DMABUF = 4 };

#define MFS_NCCL_HANDLE_BYTES 128
#define MFS_NCCL_DEVS_MAX_V12 8
#define MFS_NCCL_UNDEFINED (-1)

/* NCCL's logger: level 2 warns, 3 informs; flags name the subsystem (1 init, 0x10 net). */
typedef void (*mfs_nccl_logger_t)(int level, unsigned long flags, const char *file, int line,
                                  const char *format, ...);
typedef mfs_nccl_result_t (*mfs_nccl_profiler_t)(void **event, int type, void *parent,
                                                 int64_t plugin, void *data);

struct mfs_nccl_vdevice_v12 {
    int ndevs;
    int devs[MFS_NCCL_DEVS_MAX_V12];
};

struct mfs_nccl_config {
    int traffic_class; /* of ncclConfig_t; negative: not given */
};

struct mfs_nccl_properties_v12 {
    char *name;
    char *pci_path; /* in /sys; NULL: virtual */
    uint64_t guid;
    int ptr_support;
    int reg_is_global;
    int force_flush;
    int speed_mbit;
    int port;
    float latency_us;
    int max_comms;
    int max_recvs;
    int device_type; /* 0: no offload */
    int device_version;
    struct mfs_nccl_vdevice_v12 vdevice;
    size_t max_p2p_bytes;
    size_t max_coll_bytes;
    int max_multi_request;
    int16_t rail, plane; /* MFS_NCCL_UNDEFINED */
};

struct mfs_nccl_comm_attr {
    int32_t max_peers, min_peers, max_flows, min_flows;
};

/* What a communicator's connections are for; `op` has a bit for each function of NCCL. */
struct mfs_nccl_attr {
    struct mfs_nccl_comm_attr send, recv;
    uint32_t op, algorithm, protocol; /* all ones: not known */
};

struct mfs_nccl_table_v12 {
    const char *name;
    mfs_nccl_result_t (*init)(void **ctx, uint64_t comm_id, struct mfs_nccl_config *config,
                              mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler);
    mfs_nccl_result_t (*devices)(int *count);
    mfs_nccl_result_t (*properties)(int dev, struct mfs_nccl_properties_v12 *properties);
    mfs_nccl_result_t (*listen)(void *ctx, int dev, void *handle, void **listen_comm);
    mfs_nccl_result_t (*connect)(void *ctx, int dev, void *handle, void **send_comm,
                                 void **device_handle);
    mfs_nccl_result_t (*accept)(void *listen_comm, void **recv_comm, void **device_handle);
    mfs_nccl_result_t (*reg)(void *comm, void *data, size_t size, int type, void **mhandle);
    mfs_nccl_result_t (*reg_dmabuf)(void *comm, void *data, size_t size, int type, uint64_t offset,
                                    int fd, void **mhandle);
    mfs_nccl_result_t (*dereg)(void *comm, void *mhandle);
    mfs_nccl_result_t (*isend)(void *send_comm, void *data, size_t size, int tag, void *mhandle,
                               void *phandle, void **request);
    mfs_nccl_result_t (*irecv)(void *recv_comm, int n, void **data, size_t *sizes, int *tags,
                               void **mhandles, void **phandles, void **request);
    mfs_nccl_result_t (*iflush)(void *recv_comm, int n, void **data, int *sizes, void **mhandles,
                                void **request);
    mfs_nccl_result_t (*test)(void *request, int *done, int *sizes);
    mfs_nccl_result_t (*close_send)(void *send_comm);
    mfs_nccl_result_t (*close_recv)(void *recv_comm);
    mfs_nccl_result_t (*close_listen)(void *listen_comm);
    mfs_nccl_result_t (*device_mr)(void *comm, void *mhandle, void **device_mhandle);
    mfs_nccl_result_t (*irecv_consumed)(void *recv_comm, int n, void *request);
    mfs_nccl_result_t (*make_vdevice)(int *dev, struct mfs_nccl_vdevice_v12 *vdevice);
    mfs_nccl_result_t (*finalize)(void *ctx);
    mfs_nccl_result_t (*set_attr)(void *ctx, struct mfs_nccl_attr *attr);
};

#endif
