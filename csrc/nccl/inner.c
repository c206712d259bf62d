/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/inner.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "nccl/versions.h"

static struct mfs_nccl_table_v12 table; /* what is shown */
static int version;                     /* 0: none is open */

static const struct mfs_nccl_table_v11 *v11;
static const struct mfs_nccl_table_v10 *v10;
static const struct mfs_nccl_table_v9 *v9;
static const struct mfs_nccl_table_v8 *v8;
static const struct mfs_nccl_table_v7 *v7;

/* Of plug-ins without contexts: something that is not NULL. */
static char no_context;

/* --- properties: as if the newer fields were what NCCL takes for the older plug-in --- */

static void common(struct mfs_nccl_properties_v12 *to)
{
    *to = (struct mfs_nccl_properties_v12){
        .max_p2p_bytes = (size_t)1 << 30,
        .max_coll_bytes = (size_t)1 << 30,
        .max_multi_request = 1,
        .rail = MFS_NCCL_UNDEFINED,
        .plane = MFS_NCCL_UNDEFINED,
    };
}

#define COPY(from, to)                                                                             \
    ((to)->name = (from).name, (to)->pci_path = (from).pci_path, (to)->guid = (from).guid,         \
     (to)->ptr_support = (from).ptr_support, (to)->speed_mbit = (from).speed_mbit,                 \
     (to)->port = (from).port, (to)->latency_us = (from).latency_us,                               \
     (to)->max_comms = (from).max_comms, (to)->max_recvs = (from).max_recvs,                       \
     (to)->device_type = (from).device_type, (to)->device_version = (from).device_version)

static void vdevice_from(const struct mfs_nccl_vdevice_v11 *from, struct mfs_nccl_vdevice_v12 *to)
{
    to->ndevs = from->ndevs;
    for (int i = 0; i < from->ndevs && i < MFS_NCCL_DEVS_MAX_V11; i++)
        to->devs[i] = from->devs[i];
}

static mfs_nccl_result_t properties_11(int dev, struct mfs_nccl_properties_v12 *to)
{
    struct mfs_nccl_properties_v11 from = {0};
    const mfs_nccl_result_t result = v11->properties(dev, &from);

    if (result == MFS_NCCL_OK) {
        common(to);
        COPY(from, to);
        to->reg_is_global = from.reg_is_global;
        to->force_flush = from.force_flush;
        to->max_p2p_bytes = from.max_p2p_bytes;
        to->max_coll_bytes = from.max_coll_bytes;
        to->max_multi_request = from.max_multi_request;
        vdevice_from(&from.vdevice, &to->vdevice);
    }
    return result;
}

static mfs_nccl_result_t properties_9(int dev, struct mfs_nccl_properties_v12 *to)
{
    struct mfs_nccl_properties_v9 from = {0};
    const mfs_nccl_result_t result = v10 ? v10->properties(dev, &from) : v9->properties(dev, &from);

    if (result == MFS_NCCL_OK) {
        common(to);
        COPY(from, to);
        to->reg_is_global = from.reg_is_global;
        to->force_flush = from.force_flush;
        to->max_p2p_bytes = from.max_p2p_bytes;
        to->max_coll_bytes = from.max_coll_bytes;
        vdevice_from(&from.vdevice, &to->vdevice);
    }
    return result;
}

static mfs_nccl_result_t properties_8(int dev, struct mfs_nccl_properties_v12 *to)
{
    struct mfs_nccl_properties_v8 from = {0};
    const mfs_nccl_result_t result = v8->properties(dev, &from);

    if (result == MFS_NCCL_OK) {
        common(to);
        COPY(from, to);
        to->reg_is_global = from.reg_is_global;
        to->vdevice = (struct mfs_nccl_vdevice_v12){.ndevs = 1, .devs = {dev}};
    }
    return result;
}

static mfs_nccl_result_t properties_7(int dev, struct mfs_nccl_properties_v12 *to)
{
    struct mfs_nccl_properties_v7 from = {0};
    const mfs_nccl_result_t result = v7->properties(dev, &from);

    if (result == MFS_NCCL_OK) {
        common(to);
        COPY(from, to);
        to->vdevice = (struct mfs_nccl_vdevice_v12){.ndevs = 1, .devs = {dev}};
    }
    return result;
}

static mfs_nccl_result_t vdevice_old(int *dev, struct mfs_nccl_vdevice_v12 *vdevice)
{
    struct mfs_nccl_vdevice_v11 old = {.ndevs = vdevice->ndevs};

    if (vdevice->ndevs < 0 || vdevice->ndevs > MFS_NCCL_DEVS_MAX_V11)
        return MFS_NCCL_INVALID_ARGUMENT;
    memcpy(old.devs, vdevice->devs, sizeof(old.devs));
    return v11   ? v11->make_vdevice(dev, &old)
           : v10 ? v10->make_vdevice(dev, &old)
                 : v9->make_vdevice(dev, &old);
}

/* --- before 11: no contexts --- */

static int traffic_class = MFS_NCCL_UNDEFINED;

static mfs_nccl_result_t init_old(void **ctx, uint64_t comm_id, struct mfs_nccl_config *config,
                                  mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler)
{
    (void)comm_id;
    *ctx = &no_context;
    if (config)
        traffic_class = config->traffic_class;
    return v10  ? v10->init(logger, profiler)
           : v9 ? v9->init(logger)
           : v8 ? v8->init(logger)
                : v7->init(logger);
}

static mfs_nccl_result_t finalize_old(void *ctx)
{
    (void)ctx;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t set_attr_old(void *ctx, struct mfs_nccl_attr *attr)
{
    (void)ctx;
    (void)attr;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t listen_old(void *ctx, int dev, void *handle, void **comm)
{
    (void)ctx;
    return v10  ? v10->listen(dev, handle, comm)
           : v9 ? v9->listen(dev, handle, comm)
           : v8 ? v8->listen(dev, handle, comm)
                : v7->listen(dev, handle, comm);
}

static mfs_nccl_result_t connect_old(void *ctx, int dev, void *handle, void **comm, void **device)
{
    struct mfs_nccl_config config = {traffic_class};

    (void)ctx;
    return v10  ? v10->connect(dev, &config, handle, comm, device)
           : v9 ? v9->connect(dev, handle, comm, device)
           : v8 ? v8->connect(dev, handle, comm, device)
                : v7->connect(dev, handle, comm, device);
}

/* --- before 10: no profiler handles --- */

static mfs_nccl_result_t isend_9(void *comm, void *data, size_t size, int tag, void *mhandle,
                                 void *phandle, void **request)
{
    (void)phandle;
    return v9->isend(comm, data, size, tag, mhandle, request);
}

static mfs_nccl_result_t irecv_9(void *comm, int n, void **data, size_t *sizes, int *tags,
                                 void **mhandles, void **phandles, void **request)
{
    (void)phandles;
    return v9->irecv(comm, n, data, sizes, tags, mhandles, request);
}

/* --- before 9: ints --- */

static mfs_nccl_result_t isend_8(void *comm, void *data, size_t size, int tag, void *mhandle,
                                 void *phandle, void **request)
{
    (void)phandle;
    *request = NULL;
    if (size > INT_MAX)
        return MFS_NCCL_INVALID_ARGUMENT;
    return v8 ? v8->isend(comm, data, (int)size, tag, mhandle, request)
              : v7->isend(comm, data, (int)size, tag, mhandle, request);
}

static mfs_nccl_result_t irecv_8(void *comm, int n, void **data, size_t *sizes, int *tags,
                                 void **mhandles, void **phandles, void **request)
{
    enum { MANY = 64 };
    int narrow[MANY];

    (void)phandles;
    *request = NULL;
    if (n < 1 || n > MANY)
        return MFS_NCCL_INVALID_USAGE;
    for (int i = 0; i < n; i++) /* room may be larger than what an int holds: less will do */
        narrow[i] = sizes[i] > INT_MAX ? INT_MAX : (int)sizes[i];
    return v8 ? v8->irecv(comm, n, data, narrow, tags, mhandles, request)
              : v7->irecv(comm, n, data, narrow, tags, mhandles, request);
}

static mfs_nccl_result_t reg_7(void *comm, void *data, size_t size, int type, void **mhandle)
{
    *mhandle = NULL;
    return size > INT_MAX ? MFS_NCCL_INVALID_ARGUMENT
                          : v7->reg(comm, data, (int)size, type, mhandle);
}

/* --- opening --- */

#define SAME(from)                                                                                 \
    (table = (struct mfs_nccl_table_v12){                                                          \
         .name = (from)->name,                                                                     \
         .init = init_old,                                                                         \
         .devices = (from)->devices,                                                               \
         .listen = listen_old,                                                                     \
         .connect = connect_old,                                                                   \
         .accept = (from)->accept,                                                                 \
         .reg_dmabuf = (from)->reg_dmabuf,                                                         \
         .dereg = (from)->dereg,                                                                   \
         .iflush = (from)->iflush,                                                                 \
         .test = (from)->test,                                                                     \
         .close_send = (from)->close_send,                                                         \
         .close_recv = (from)->close_recv,                                                         \
         .close_listen = (from)->close_listen,                                                     \
         .device_mr = (from)->device_mr,                                                           \
         .irecv_consumed = (from)->irecv_consumed,                                                 \
         .finalize = finalize_old,                                                                 \
         .set_attr = set_attr_old,                                                                 \
     })

static void take_11(const void *found)
{
    v11 = found;
    SAME(v11);
    table.init = v11->init;
    table.properties = properties_11;
    table.listen = v11->listen;
    table.connect = v11->connect;
    table.reg = v11->reg;
    table.isend = v11->isend;
    table.irecv = v11->irecv;
    table.make_vdevice = v11->make_vdevice ? vdevice_old : NULL;
    table.finalize = v11->finalize;
    table.set_attr = v11->set_attr;
}

static void take_10(const void *found)
{
    v10 = found;
    SAME(v10);
    table.properties = properties_9;
    table.reg = v10->reg;
    table.isend = v10->isend;
    table.irecv = v10->irecv;
    table.make_vdevice = v10->make_vdevice ? vdevice_old : NULL;
}

static void take_9(const void *found)
{
    v9 = found;
    SAME(v9);
    table.properties = properties_9;
    table.reg = v9->reg;
    table.isend = isend_9;
    table.irecv = irecv_9;
    table.make_vdevice = v9->make_vdevice ? vdevice_old : NULL;
}

static void take_8(const void *found)
{
    v8 = found;
    SAME(v8);
    table.properties = properties_8;
    table.reg = v8->reg;
    table.isend = isend_8;
    table.irecv = irecv_8;
}

static void take_7(const void *found)
{
    v7 = found;
    SAME(v7);
    table.properties = properties_7;
    table.reg = reg_7;
    table.isend = isend_8;
    table.irecv = irecv_8;
}

static void take_12(const void *found)
{
    table = *(const struct mfs_nccl_table_v12 *)found;
}

const struct mfs_nccl_table_v12 *mfs_nccl_inner_open(const char *path, int wanted, char *reason,
                                                     size_t size)
{
    static void (*const takes[])(const void *) = {take_7,  take_8,  take_9,
                                                  take_10, take_11, take_12};
    void *handle;

    if (version != 0)
        return &table;
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(reason, size, "%s", dlerror());
        return NULL;
    }
    for (int i = 12; i >= 7; i--) {
        char symbol[32];
        const void *found;

        snprintf(symbol, sizeof(symbol), "ncclNetPlugin_v%d", i);
        found = wanted == 0 || wanted == i ? dlsym(handle, symbol) : NULL;
        if (found) {
            takes[i - 7](found);
            version = i;
            return &table;
        }
    }
    snprintf(reason, size, "%s has no ncclNetPlugin_v%s", path, wanted ? "N of that N" : "7 to 12");
    dlclose(handle);
    return NULL;
}

int mfs_nccl_inner_version(void)
{
    return version;
}
