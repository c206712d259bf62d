/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our transport's table, and the beginning and end of a communicator. NCCL calls init for each
 * communicator, finalize after each, and then unloads the library: it is linked never to be
 * unloaded (-z nodelete), there are no threads of ours to join, and UCX's contexts are closed
 * with the last communicator.
 */
#include "nccl/plugin.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "host/log.h"
#include "nccl/comm.h"
#include "nccl/engine_life.h"
#include "nccl/handshake.h"
#include "nccl/log.h"

static void say_once(void)
{
    static _Atomic bool said;
    const struct mfs_nccl_ucx *ucx = mfs_nccl_ucx_get();
    const struct mfs_config *config = mfs_config_get();
    struct mfs_host *host = mfs_host_get();
    const bool cuda = mfs_nccl_device_at(0)->cuda;

    if (mfs_swap(&said, true))
        return;
    mfs_nccl_info("wire version %u, API v7 to v12, UCX %s (%s), %d device%s, %s memory, "
                  "%u endpoints to a peer in %u traffic class%s, policy %s%s",
                  MFS_NCCL_WIRE_VERSION, ucx->ucp_get_version_string(), ucx->path,
                  mfs_nccl_devices_count(), mfs_nccl_devices_count() == 1 ? "" : "s",
                  cuda ? "host and CUDA" : "host",
                  mfs_nccl_classes(NULL) * (unsigned)config->nccl_channels, mfs_nccl_classes(NULL),
                  mfs_nccl_classes(NULL) == 1 ? "" : "es",
                  mfs_nccl_scheduled() ? mfs_host_policy(host)->name : "off",
                  host && !*mfs_host_path(host) ? ", alone on this host (no segment)" : "");
}

static mfs_nccl_result_t init(void **ctx, uint64_t comm_id, struct mfs_nccl_config *config,
                              mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler)
{
    struct mfs_nccl_context *context;

    (void)comm_id;
    (void)profiler;
    *ctx = NULL;
    mfs_nccl_log_to(logger);
    if (mfs_nccl_devices_open() != 0)
        return MFS_NCCL_SYSTEM_ERROR;
    context = calloc(1, sizeof(*context));
    if (!context) {
        mfs_nccl_devices_close();
        return MFS_NCCL_SYSTEM_ERROR;
    }
    pthread_mutex_init(&context->mutex, NULL);
    context->message_tag.traffic_class = config ? config->traffic_class : MFS_NCCL_UNDEFINED;
    say_once();
    mfs_stats_at_exit();
    *ctx = context;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t finalize(void *ctx)
{
    struct mfs_nccl_context *context = ctx;

    if (!context)
        return MFS_NCCL_OK;
    for (int dev = 0; dev < MFS_NCCL_DEVICES_MAX; dev++) {
        if (context->engines[dev])
            mfs_nccl_engine_free(context->engines[dev]);
    }
    while (context->stopped) {
        struct mfs_nccl_engine *engine = context->stopped;

        context->stopped = engine->next;
        mfs_nccl_engine_free(engine);
    }
    pthread_mutex_destroy(&context->mutex);
    free(context);
    mfs_nccl_devices_close();
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t devices(int *count)
{
    *count = mfs_nccl_devices_count();
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t properties(int dev, struct mfs_nccl_properties_v12 *out)
{
    if (!mfs_nccl_device_at(dev)) {
        mfs_nccl_warn("getProperties: there is no device %d", dev);
        return MFS_NCCL_INTERNAL_ERROR;
    }
    mfs_nccl_device_properties(dev, out);
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t set_attr(void *ctx, struct mfs_nccl_attr *attr)
{
    struct mfs_nccl_context *context = ctx;

    if (context)
        mfs_nccl_message_tag_attr(&context->message_tag, attr);
    return MFS_NCCL_OK;
}

const struct mfs_nccl_table_v12 mfs_nccl_transport = {
    .name = MFS_NCCL_NAME,
    .init = init,
    .devices = devices,
    .properties = properties,
    .listen = mfs_nccl_listen,
    .connect = mfs_nccl_connect,
    .accept = mfs_nccl_accept,
    .reg = mfs_nccl_reg,
    .reg_dmabuf = mfs_nccl_reg_dmabuf,
    .dereg = mfs_nccl_dereg,
    .isend = mfs_nccl_isend,
    .irecv = mfs_nccl_irecv,
    .iflush = mfs_nccl_iflush,
    .test = mfs_nccl_test,
    .close_send = mfs_nccl_close_send,
    .close_recv = mfs_nccl_close_recv,
    .close_listen = mfs_nccl_close_listen,
    .finalize = finalize,
    .set_attr = set_attr,
};
