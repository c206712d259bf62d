/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exported tables, 7 to 12, each a thin layer over the implementation's (plugin.h). The
 * older ones know no context: all their communicators share one, which is never finalized.
 * A shim's optional calls are there only where the implementation has them, since NCCL takes
 * their presence for a promise.
 */
#include <pthread.h>
#include <string.h>

#include "nccl/abi/abi.h"
#include "nccl/versions.h"

#define EXPORT __attribute__((visibility("default")))

static const struct mfs_nccl_table_v12 *in; /* the implementation, set when we are loaded */

/* --- 11: smaller properties and virtual NICs --- */

static void properties_to_v11(const struct mfs_nccl_properties_v12 *from,
                              struct mfs_nccl_properties_v11 *to)
{
    *to = (struct mfs_nccl_properties_v11){
        .name = from->name,
        .pci_path = from->pci_path,
        .guid = from->guid,
        .ptr_support = from->ptr_support,
        .reg_is_global = from->reg_is_global,
        .force_flush = from->force_flush,
        .speed_mbit = from->speed_mbit,
        .port = from->port,
        .latency_us = from->latency_us,
        .max_comms = from->max_comms,
        .max_recvs = from->max_recvs,
        .device_type = from->device_type,
        .device_version = from->device_version,
        .max_p2p_bytes = from->max_p2p_bytes,
        .max_coll_bytes = from->max_coll_bytes,
        .max_multi_request = from->max_multi_request,
    };
    to->vdevice.ndevs =
        from->vdevice.ndevs < MFS_NCCL_DEVS_MAX_V11 ? from->vdevice.ndevs : MFS_NCCL_DEVS_MAX_V11;
    for (int i = 0; i < to->vdevice.ndevs; i++)
        to->vdevice.devs[i] = from->vdevice.devs[i];
}

static mfs_nccl_result_t properties_v11(int dev, struct mfs_nccl_properties_v11 *properties)
{
    struct mfs_nccl_properties_v12 whole = {0};
    const mfs_nccl_result_t result = in->properties(dev, &whole);

    if (result == MFS_NCCL_OK)
        properties_to_v11(&whole, properties);
    return result;
}

static mfs_nccl_result_t vdevice_v11(int *dev, struct mfs_nccl_vdevice_v11 *vdevice)
{
    struct mfs_nccl_vdevice_v12 whole = {.ndevs = vdevice->ndevs};

    if (vdevice->ndevs < 0 || vdevice->ndevs > MFS_NCCL_DEVS_MAX_V11)
        return MFS_NCCL_INVALID_ARGUMENT;
    memcpy(whole.devs, vdevice->devs, sizeof(vdevice->devs));
    return in->make_vdevice(dev, &whole);
}

/* --- 10: one context for all --- */

static pthread_mutex_t shared_mutex = PTHREAD_MUTEX_INITIALIZER;
static void *shared;

static mfs_nccl_result_t init_v10(mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler)
{
    mfs_nccl_result_t result = MFS_NCCL_OK;

    pthread_mutex_lock(&shared_mutex);
    if (!shared)
        result = in->init(&shared, 0, NULL, logger, profiler);
    pthread_mutex_unlock(&shared_mutex);
    return result;
}

static mfs_nccl_result_t init_v9(mfs_nccl_logger_t logger)
{
    return init_v10(logger, NULL);
}

static mfs_nccl_result_t properties_v10(int dev, struct mfs_nccl_properties_v9 *properties)
{
    struct mfs_nccl_properties_v11 whole = {0};
    const mfs_nccl_result_t result = properties_v11(dev, &whole);

    if (result == MFS_NCCL_OK)
        *properties = (struct mfs_nccl_properties_v9){
            .name = whole.name,
            .pci_path = whole.pci_path,
            .guid = whole.guid,
            .ptr_support = whole.ptr_support,
            .reg_is_global = whole.reg_is_global,
            .force_flush = whole.force_flush,
            .speed_mbit = whole.speed_mbit,
            .port = whole.port,
            .latency_us = whole.latency_us,
            .max_comms = whole.max_comms,
            .max_recvs = whole.max_recvs,
            .device_type = whole.device_type,
            .device_version = whole.device_version,
            .vdevice = whole.vdevice,
            .max_p2p_bytes = whole.max_p2p_bytes,
            .max_coll_bytes = whole.max_coll_bytes,
        };
    return result;
}

static mfs_nccl_result_t listen_v10(int dev, void *handle, void **listen_comm)
{
    return in->listen(shared, dev, handle, listen_comm);
}

/* One context has one trafficClass; that of a connection alone is not used. */
static mfs_nccl_result_t connect_v10(int dev, struct mfs_nccl_config *config, void *handle,
                                     void **send_comm, void **device_handle)
{
    (void)config;
    return in->connect(shared, dev, handle, send_comm, device_handle);
}

static mfs_nccl_result_t connect_v9(int dev, void *handle, void **send_comm, void **device_handle)
{
    return in->connect(shared, dev, handle, send_comm, device_handle);
}

/* --- 9: no profiler's handles --- */

static mfs_nccl_result_t isend_v9(void *send_comm, void *data, size_t size, int tag, void *mhandle,
                                  void **request)
{
    return in->isend(send_comm, data, size, tag, mhandle, NULL, request);
}

static mfs_nccl_result_t irecv_v9(void *recv_comm, int n, void **data, size_t *sizes, int *tags,
                                  void **mhandles, void **request)
{
    return in->irecv(recv_comm, n, data, sizes, tags, mhandles, NULL, request);
}

/* --- 8: sizes are ints --- */

static mfs_nccl_result_t properties_v8(int dev, struct mfs_nccl_properties_v8 *properties)
{
    struct mfs_nccl_properties_v12 whole = {0};
    const mfs_nccl_result_t result = in->properties(dev, &whole);

    if (result == MFS_NCCL_OK)
        *properties = (struct mfs_nccl_properties_v8){
            .name = whole.name,
            .pci_path = whole.pci_path,
            .guid = whole.guid,
            .ptr_support = whole.ptr_support,
            .reg_is_global = whole.reg_is_global,
            .speed_mbit = whole.speed_mbit,
            .port = whole.port,
            .latency_us = whole.latency_us,
            .max_comms = whole.max_comms,
            .max_recvs = whole.max_recvs,
            .device_type = whole.device_type,
            .device_version = whole.device_version,
        };
    return result;
}

static mfs_nccl_result_t isend_v8(void *send_comm, void *data, int size, int tag, void *mhandle,
                                  void **request)
{
    *request = NULL;
    return size < 0 ? MFS_NCCL_INVALID_ARGUMENT
                    : in->isend(send_comm, data, (size_t)size, tag, mhandle, NULL, request);
}

static mfs_nccl_result_t irecv_v8(void *recv_comm, int n, void **data, int *sizes, int *tags,
                                  void **mhandles, void **request)
{
    enum { MANY = 64 };
    size_t wide[MANY];

    *request = NULL;
    if (n < 1 || n > MANY)
        return MFS_NCCL_INVALID_USAGE;
    for (int i = 0; i < n; i++) {
        if (sizes[i] < 0)
            return MFS_NCCL_INVALID_ARGUMENT;
        wide[i] = (size_t)sizes[i];
    }
    return in->irecv(recv_comm, n, data, wide, tags, mhandles, NULL, request);
}

/* --- 7: so are those of registrations --- */

static mfs_nccl_result_t properties_v7(int dev, struct mfs_nccl_properties_v7 *properties)
{
    struct mfs_nccl_properties_v12 whole = {0};
    const mfs_nccl_result_t result = in->properties(dev, &whole);

    if (result == MFS_NCCL_OK)
        *properties = (struct mfs_nccl_properties_v7){
            .name = whole.name,
            .pci_path = whole.pci_path,
            .guid = whole.guid,
            .ptr_support = whole.ptr_support,
            .speed_mbit = whole.speed_mbit,
            .port = whole.port,
            .latency_us = whole.latency_us,
            .max_comms = whole.max_comms,
            .max_recvs = whole.max_recvs,
            .device_type = whole.device_type,
            .device_version = whole.device_version,
        };
    return result;
}

static mfs_nccl_result_t reg_v7(void *comm, void *data, int size, int type, void **mhandle)
{
    *mhandle = NULL;
    return size < 0 ? MFS_NCCL_INVALID_ARGUMENT : in->reg(comm, data, (size_t)size, type, mhandle);
}

/* --- the tables, filled when the library is loaded: they cannot be constant, since which
 * optional calls there are depends on what is wrapped --- */

EXPORT extern struct mfs_nccl_table_v12 ncclNetPlugin_v12;
EXPORT extern struct mfs_nccl_table_v11 ncclNetPlugin_v11;
EXPORT extern struct mfs_nccl_table_v10 ncclNetPlugin_v10;
EXPORT extern struct mfs_nccl_table_v9 ncclNetPlugin_v9;
EXPORT extern struct mfs_nccl_table_v8 ncclNetPlugin_v8;
EXPORT extern struct mfs_nccl_table_v7 ncclNetPlugin_v7;

struct mfs_nccl_table_v12 ncclNetPlugin_v12 = {.name = MFS_NCCL_NAME};

#define COMMON                                                                                     \
    .name = MFS_NCCL_NAME, .devices = in->devices, .accept = in->accept,                           \
    .reg_dmabuf = in->reg_dmabuf, .dereg = in->dereg, .iflush = in->iflush, .test = in->test,      \
    .close_send = in->close_send, .close_recv = in->close_recv, .close_listen = in->close_listen,  \
    .device_mr = in->device_mr, .irecv_consumed = in->irecv_consumed

struct mfs_nccl_table_v11 ncclNetPlugin_v11;
struct mfs_nccl_table_v10 ncclNetPlugin_v10;
struct mfs_nccl_table_v9 ncclNetPlugin_v9;
struct mfs_nccl_table_v8 ncclNetPlugin_v8;
struct mfs_nccl_table_v7 ncclNetPlugin_v7;

__attribute__((constructor)) static void fill(void)
{
    in = mfs_nccl_abi_open();
    ncclNetPlugin_v12 = *in;
    ncclNetPlugin_v11 = (struct mfs_nccl_table_v11){
        COMMON,
        .init = in->init,
        .properties = properties_v11,
        .listen = in->listen,
        .connect = in->connect,
        .reg = in->reg,
        .isend = in->isend,
        .irecv = in->irecv,
        .make_vdevice = in->make_vdevice ? vdevice_v11 : NULL,
        .finalize = in->finalize,
        .set_attr = in->set_attr,
    };
    ncclNetPlugin_v10 = (struct mfs_nccl_table_v10){
        COMMON,
        .init = init_v10,
        .properties = properties_v10,
        .listen = listen_v10,
        .connect = connect_v10,
        .reg = in->reg,
        .isend = in->isend,
        .irecv = in->irecv,
        .make_vdevice = in->make_vdevice ? vdevice_v11 : NULL,
    };
    ncclNetPlugin_v9 = (struct mfs_nccl_table_v9){
        COMMON,
        .init = init_v9,
        .properties = properties_v10,
        .listen = listen_v10,
        .connect = connect_v9,
        .reg = in->reg,
        .isend = isend_v9,
        .irecv = irecv_v9,
        .make_vdevice = in->make_vdevice ? vdevice_v11 : NULL,
    };
    ncclNetPlugin_v8 = (struct mfs_nccl_table_v8){
        COMMON,
        .init = init_v9,
        .properties = properties_v8,
        .listen = listen_v10,
        .connect = connect_v9,
        .reg = in->reg,
        .isend = isend_v8,
        .irecv = irecv_v8,
    };
    ncclNetPlugin_v7 = (struct mfs_nccl_table_v7){
        COMMON,
        .init = init_v9,
        .properties = properties_v7,
        .listen = listen_v10,
        .connect = connect_v9,
        .reg = reg_v7,
        .isend = isend_v8,
        .irecv = irecv_v8,
    };
}
