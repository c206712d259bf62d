/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/gate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"
#include "host/config.h"
#include "nccl/device.h"
#include "nccl/message_tag.h"
#include "nccl/inner.h"
#include "nccl/gate_queue.h"
#include "nccl/log.h"
#include "nccl/plugin.h"

#define REQUESTS 64u
#define OURS ((uintptr_t)1)
#define COUNT_EVERY 64u

struct gate_context {
    void *inner;
    struct mfs_nccl_message_tag flow;
};

struct gate_comm;

struct gate_request {
    void *inner;
    struct gate_comm *comm;
    uint64_t window_bytes;
    struct gate_request *next; /* free ones of the connection */
};

struct gate_comm {
    void *inner;
    struct gate_context *context;
    struct mfs_nccl_gate_queue *queue; /* NULL: a receiving one, or no order */
    struct mfs_nccl_ticket ticket;
    uint32_t calls; /* not yet counted in the segment, with their bytes */
    uint64_t bytes;
    struct gate_request *free;
    struct gate_request requests[REQUESTS];
};

static const struct mfs_nccl_table_v12 *in;
static struct mfs_nccl_table_v12 gate;
static char trouble[768];
static pthread_mutex_t queues_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct mfs_nccl_gate_queue *queues[MFS_NCCL_DEVICES_MAX]; /* kept: the port is one for all */

/* --- beginning and end --- */

static mfs_nccl_result_t init_fails(void **ctx, uint64_t comm_id, struct mfs_nccl_config *config,
                                    mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler)
{
    (void)comm_id;
    (void)config;
    (void)profiler;
    *ctx = NULL;
    mfs_nccl_log_to(logger);
    mfs_nccl_warn("%s", trouble);
    return MFS_NCCL_SYSTEM_ERROR;
}

static mfs_nccl_result_t init(void **ctx, uint64_t comm_id, struct mfs_nccl_config *config,
                              mfs_nccl_logger_t logger, mfs_nccl_profiler_t profiler)
{
    static _Atomic bool said;
    struct gate_context *context = calloc(1, sizeof(*context));
    mfs_nccl_result_t result;

    *ctx = NULL;
    mfs_nccl_log_to(logger);
    if (!context)
        return MFS_NCCL_SYSTEM_ERROR;
    context->flow.traffic_class = config ? config->traffic_class : MFS_NCCL_UNDEFINED;
    result = in->init(&context->inner, comm_id, config, logger, profiler);
    if (result != MFS_NCCL_OK) {
        mfs_nccl_warn("MFS_NCCL_INNER=%s: its init returned %d", mfs_config_get()->nccl_inner,
                      result);
        free(context);
        return result;
    }
    if (!mfs_swap(&said, true)) {
        struct mfs_host *host = mfs_host_get();

        mfs_nccl_info("a gate before %s (%s, v%d), policy %s, held for %lld ms at most",
                      in->name ? in->name : "?", mfs_config_get()->nccl_inner,
                      mfs_nccl_inner_version(),
                      mfs_nccl_scheduled() ? mfs_host_policy(host)->name : "off",
                      (long long)(mfs_config_get()->lease / 1000000));
    }
    mfs_stats_at_exit();
    *ctx = context;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t finalize(void *ctx)
{
    struct gate_context *context = ctx;
    const mfs_nccl_result_t result = context ? in->finalize(context->inner) : MFS_NCCL_OK;
    struct mfs_host *host = mfs_host_get();

    if (context && host)
        mfs_stats_write(host);
    free(context);
    return result;
}

static mfs_nccl_result_t set_attr(void *ctx, struct mfs_nccl_attr *attr)
{
    struct gate_context *context = ctx;

    mfs_nccl_message_tag_attr(&context->flow, attr);
    return in->set_attr ? in->set_attr(context->inner, attr) : MFS_NCCL_OK;
}

/* --- connections --- */

/* One device: the port that the process's other traffic uses as well. Several: each
 * by its own name, up to the colon. */
static struct mfs_nccl_gate_queue *queue_of(int dev)
{
    struct mfs_nccl_properties_v12 properties;
    struct mfs_nccl_gate_queue *queue = NULL;
    char port[MFS_PORT_NAME_MAX + 1];
    int count = 1;

    if (dev < 0 || dev >= MFS_NCCL_DEVICES_MAX)
        return NULL;
    mfs_port_own(port);
    if (in->devices(&count) == MFS_NCCL_OK && count > 1 &&
        in->properties(dev, &properties) == MFS_NCCL_OK && properties.name)
        snprintf(port, sizeof(port), "%.*s", (int)strcspn(properties.name, ":"), properties.name);
    pthread_mutex_lock(&queues_mutex);
    if (!queues[dev] && (queue = calloc(1, sizeof(*queue))) != NULL) {
        const int error = mfs_nccl_gate_queue_open(queue, port);

        if (error) {
            mfs_nccl_warn("not scheduled: port %s: %s", port, strerror(-error));
            mfs_nccl_gate_queue_close(queue);
            free(queue);
        } else {
            queues[dev] = queue;
        }
    }
    queue = queues[dev];
    pthread_mutex_unlock(&queues_mutex);
    return queue;
}

static struct gate_comm *comm_make(void *inner, struct gate_context *context,
                                   struct mfs_nccl_gate_queue *queue)
{
    struct gate_comm *comm = calloc(1, sizeof(*comm));

    if (!comm)
        return NULL;
    comm->inner = inner;
    comm->context = context;
    comm->queue = queue;
    for (unsigned i = 0; i < REQUESTS; i++) {
        comm->requests[i].comm = comm;
        comm->requests[i].next = comm->free;
        comm->free = &comm->requests[i];
    }
    return comm;
}

static void *inner_of(void *comm)
{
    return comm ? ((struct gate_comm *)comm)->inner : NULL;
}

static mfs_nccl_result_t gate_listen(void *ctx, int dev, void *handle, void **listen_comm)
{
    return in->listen(((struct gate_context *)ctx)->inner, dev, handle, listen_comm);
}

static mfs_nccl_result_t gate_connect(void *ctx, int dev, void *handle, void **send_comm,
                                      void **device_handle)
{
    struct gate_context *context = ctx;
    void *inner = NULL;
    const mfs_nccl_result_t result =
        in->connect(context->inner, dev, handle, &inner, device_handle);

    *send_comm = NULL;
    if (result != MFS_NCCL_OK || !inner)
        return result;
    *send_comm = comm_make(inner, context, queue_of(dev));
    if (*send_comm)
        return MFS_NCCL_OK;
    (void)in->close_send(inner);
    return MFS_NCCL_SYSTEM_ERROR;
}

static mfs_nccl_result_t gate_accept(void *listen_comm, void **recv_comm, void **device_handle)
{
    void *inner = NULL;
    const mfs_nccl_result_t result = in->accept(listen_comm, &inner, device_handle);

    *recv_comm = NULL;
    if (result != MFS_NCCL_OK || !inner)
        return result;
    *recv_comm = comm_make(inner, NULL, NULL);
    if (*recv_comm)
        return MFS_NCCL_OK;
    (void)in->close_recv(inner);
    return MFS_NCCL_SYSTEM_ERROR;
}

static void count(struct gate_comm *comm)
{
    mfs_count(comm->queue->host, MFS_COUNT_CALLS, comm->calls);
    mfs_count(comm->queue->host, MFS_COUNT_BYTES, comm->bytes);
    comm->calls = 0;
    comm->bytes = 0;
}

static mfs_nccl_result_t close_send(void *send_comm)
{
    struct gate_comm *comm = send_comm;
    const mfs_nccl_result_t result = in->close_send(comm->inner);

    if (comm->queue) {
        count(comm);
        mfs_nccl_gate_queue_leave(comm->queue, &comm->ticket);
    }
    free(comm);
    return result;
}

static mfs_nccl_result_t close_recv(void *recv_comm)
{
    const mfs_nccl_result_t result = in->close_recv(inner_of(recv_comm));

    free(recv_comm);
    return result;
}

/* --- memory --- */

static mfs_nccl_result_t reg(void *comm, void *data, size_t size, int type, void **mhandle)
{
    return in->reg(inner_of(comm), data, size, type, mhandle);
}

static mfs_nccl_result_t reg_dmabuf(void *comm, void *data, size_t size, int type, uint64_t offset,
                                    int fd, void **mhandle)
{
    return in->reg_dmabuf(inner_of(comm), data, size, type, offset, fd, mhandle);
}

static mfs_nccl_result_t dereg(void *comm, void *mhandle)
{
    return in->dereg(inner_of(comm), mhandle);
}

static mfs_nccl_result_t device_mr(void *comm, void *mhandle, void **device_mhandle)
{
    return in->device_mr(inner_of(comm), mhandle, device_mhandle);
}

/* --- messages --- */

static mfs_nccl_result_t isend(void *send_comm, void *data, size_t size, int tag, void *mhandle,
                               void *phandle, void **out)
{
    struct gate_comm *comm = send_comm;
    struct gate_request *request = comm->free;
    uint64_t window_bytes;
    struct mfs_tag flow;
    void *inner = NULL;
    mfs_nccl_result_t result;

    *out = NULL;
    if (!comm->queue || !request || !mfs_nccl_gate_queue_orders(comm->queue))
        return in->isend(comm->inner, data, size, tag, mhandle, phandle, out);
    flow = mfs_nccl_message_tag_get(&comm->context->flow);
    if (!mfs_nccl_gate_queue_ask(comm->queue, &comm->ticket, size, &flow, &window_bytes))
        return MFS_NCCL_OK; /* try again */
    result = in->isend(comm->inner, data, size, tag, mhandle, phandle, &inner);
    if (result != MFS_NCCL_OK || !inner) {
        if (result == MFS_NCCL_OK)
            mfs_nccl_gate_queue_keep(comm->queue, &comm->ticket, window_bytes);
        else
            mfs_nccl_gate_queue_done(comm->queue, &comm->ticket, window_bytes);
        return result;
    }
    comm->bytes += size;
    if (++comm->calls == COUNT_EVERY)
        count(comm);
    comm->free = request->next;
    request->inner = inner;
    request->window_bytes = window_bytes;
    *out = (void *)((uintptr_t)request | OURS);
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t irecv(void *recv_comm, int n, void **data, size_t *sizes, int *tags,
                               void **mhandles, void **phandles, void **request)
{
    return in->irecv(inner_of(recv_comm), n, data, sizes, tags, mhandles, phandles, request);
}

static mfs_nccl_result_t iflush(void *recv_comm, int n, void **data, int *sizes, void **mhandles,
                                void **request)
{
    return in->iflush(inner_of(recv_comm), n, data, sizes, mhandles, request);
}

static mfs_nccl_result_t test(void *pointer, int *done, int *sizes)
{
    struct gate_request *request;
    mfs_nccl_result_t result;

    if (!((uintptr_t)pointer & OURS))
        return in->test(pointer, done, sizes);
    request = (struct gate_request *)((uintptr_t)pointer & ~OURS);
    result = in->test(request->inner, done, sizes);
    if (result == MFS_NCCL_OK && !*done)
        return result;
    mfs_nccl_gate_queue_done(request->comm->queue, &request->comm->ticket, request->window_bytes);
    request->window_bytes = 0;
    request->next = request->comm->free;
    request->comm->free = request;
    return result;
}

static mfs_nccl_result_t irecv_consumed(void *recv_comm, int n, void *request)
{
    return in->irecv_consumed(inner_of(recv_comm), n, request);
}

static mfs_nccl_result_t no_devices(int *count)
{
    *count = 0;
    return MFS_NCCL_SYSTEM_ERROR;
}

const struct mfs_nccl_table_v12 *mfs_nccl_gate_open(const char *path)
{
    char reason[512];

    in = mfs_nccl_inner_open(path, 0, reason, sizeof(reason));
    if (!in) {
        snprintf(trouble, sizeof(trouble), "MFS_NCCL_INNER=%s cannot be used: %s", path, reason);
        gate = (struct mfs_nccl_table_v12){
            .name = MFS_NCCL_NAME, .init = init_fails, .devices = no_devices};
        return &gate;
    }
    gate = (struct mfs_nccl_table_v12){
        .name = MFS_NCCL_NAME,
        .init = init,
        .devices = in->devices,
        .properties = in->properties,
        .listen = gate_listen,
        .connect = gate_connect,
        .accept = gate_accept,
        .reg = reg,
        .reg_dmabuf = in->reg_dmabuf ? reg_dmabuf : NULL,
        .dereg = dereg,
        .isend = isend,
        .irecv = irecv,
        .iflush = iflush,
        .test = test,
        .close_send = close_send,
        .close_recv = close_recv,
        .close_listen = in->close_listen,
        .device_mr = in->device_mr ? device_mr : NULL,
        .irecv_consumed = in->irecv_consumed ? irecv_consumed : NULL,
        .make_vdevice = in->make_vdevice,
        .finalize = finalize,
        .set_attr = set_attr,
    };
    return &gate;
}
