/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small net plug-in of version 8, for the gate to stand before: one TCP socket a connection,
 * messages one after another. Every fourth isend and irecv says "try again", as a plug-in
 * whose queues are full would.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nccl/versions.h"

#define SLOTS 64

struct comm;

struct request {
    struct comm *comm;
    bool used;
    char *data;
    uint64_t bytes, moved, header; /* header: bytes of the message */
    size_t header_moved;
};

struct comm {
    int fd;
    bool sender, failed;
    uint64_t first, next; /* of the ring */
    unsigned calls;
    struct request ring[SLOTS];
};

struct handle {
    struct sockaddr_in address;
    int fd; /* the connector's */
    char greeted;
};

static mfs_nccl_result_t init(mfs_nccl_logger_t logger)
{
    (void)logger;
    return 0;
}

static mfs_nccl_result_t devices(int *count)
{
    *count = 1;
    return 0;
}

static mfs_nccl_result_t properties(int dev, struct mfs_nccl_properties_v8 *out)
{
    static char name[] = "inner0";

    *out = (struct mfs_nccl_properties_v8){.name = name,
                                           .guid = (uint64_t)dev,
                                           .ptr_support = MFS_NCCL_PTR_HOST,
                                           .speed_mbit = 10000,
                                           .max_comms = 64,
                                           .max_recvs = 1};
    return 0;
}

static mfs_nccl_result_t start(int dev, void *out, void **comm)
{
    struct handle handle = {.fd = -1};
    socklen_t bytes = sizeof(handle.address);
    int *fd = malloc(sizeof(*fd));

    (void)dev;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    handle.address.sin_family = AF_INET;
    handle.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(*fd, (struct sockaddr *)&handle.address, bytes) || listen(*fd, 16) ||
        getsockname(*fd, (struct sockaddr *)&handle.address, &bytes))
        return MFS_NCCL_SYSTEM_ERROR;
    memcpy(out, &handle, sizeof(handle));
    *comm = fd;
    return 0;
}

static struct comm *comm_of(int fd, bool sender)
{
    struct comm *comm = calloc(1, sizeof(*comm));
    const int yes = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    comm->fd = fd;
    comm->sender = sender;
    return comm;
}

static mfs_nccl_result_t reach(int dev, void *in, void **comm, void **device)
{
    struct handle *handle = in;
    struct pollfd ready;

    (void)dev;
    (void)device;
    *comm = NULL;
    if (handle->address.sin_family != AF_INET)
        return MFS_NCCL_INTERNAL_ERROR;
    if (handle->fd < 0) {
        handle->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(handle->fd, (struct sockaddr *)&handle->address, sizeof(handle->address)) &&
            errno != EINPROGRESS)
            return MFS_NCCL_REMOTE_ERROR;
    }
    ready = (struct pollfd){.fd = handle->fd, .events = POLLOUT};
    if (poll(&ready, 1, 0) == 1)
        *comm = comm_of(handle->fd, true);
    return 0;
}

static mfs_nccl_result_t take(void *listen_comm, void **comm, void **device)
{
    const int fd = accept4(*(int *)listen_comm, NULL, NULL, SOCK_NONBLOCK);

    (void)device;
    *comm = fd < 0 ? NULL : comm_of(fd, false);
    return 0;
}

static mfs_nccl_result_t reg(void *comm, void *data, size_t size, int type, void **mhandle)
{
    (void)data;
    (void)size;
    (void)type;
    *mhandle = comm;
    return 0;
}

static mfs_nccl_result_t dereg(void *comm, void *mhandle)
{
    (void)comm;
    (void)mhandle;
    return 0;
}

static mfs_nccl_result_t post(struct comm *comm, void *data, int size, void **out)
{
    struct request *request = &comm->ring[comm->next % SLOTS];

    *out = NULL;
    if (comm->failed)
        return MFS_NCCL_REMOTE_ERROR;
    if (request->used || ++comm->calls % 4 == 0)
        return 0;
    *request = (struct request){.comm = comm,
                                .used = true,
                                .data = data,
                                .bytes = (uint64_t)size,
                                .header = (uint64_t)size};
    comm->next++;
    *out = request;
    return 0;
}

static mfs_nccl_result_t isend(void *comm, void *data, int size, int tag, void *mhandle, void **out)
{
    (void)tag;
    (void)mhandle;
    return post(comm, data, size, out);
}

static mfs_nccl_result_t irecv(void *comm, int n, void **data, int *sizes, int *tags,
                               void **mhandles, void **out)
{
    (void)tags;
    (void)mhandles;
    return n == 1 ? post(comm, data[0], sizes[0], out) : MFS_NCCL_INVALID_USAGE;
}

static mfs_nccl_result_t iflush(void *comm, int n, void **data, int *sizes, void **mhandles,
                                void **out)
{
    (void)comm;
    (void)n;
    (void)data;
    (void)sizes;
    (void)mhandles;
    *out = NULL;
    return 0;
}

/* false: no more for now, or failed. */
static bool move(struct comm *comm, void *data, size_t bytes, uint64_t *moved)
{
    const ssize_t part =
        comm->sender ? send(comm->fd, data, bytes, MSG_NOSIGNAL) : recv(comm->fd, data, bytes, 0);

    if (part == 0 || (part < 0 && errno != EAGAIN))
        comm->failed = true;
    if (part <= 0)
        return false;
    *moved += (uint64_t)part;
    return true;
}

/* The oldest request as far as it goes; true: it is over. */
static bool step(struct comm *comm, struct request *request)
{
    uint64_t total;

    while (request->header_moved < sizeof(request->header)) {
        uint64_t moved = request->header_moved;

        if (!move(comm, (char *)&request->header + moved, sizeof(request->header) - moved, &moved))
            return false;
        request->header_moved = (size_t)moved;
    }
    total = request->header;
    while (request->moved < total) {
        if (!move(comm, request->data + request->moved, total - request->moved, &request->moved))
            return false;
    }
    return true;
}

static mfs_nccl_result_t test(void *pointer, int *done, int *size)
{
    struct request *request = pointer;
    struct comm *comm = request->comm;

    *done = 0;
    while (comm->first < comm->next && !comm->failed &&
           step(comm, &comm->ring[comm->first % SLOTS]))
        comm->first++;
    if (request->header_moved == sizeof(request->header) && request->moved == request->header &&
        &comm->ring[comm->first % SLOTS] != request) {
        request->used = false;
        *done = 1;
        if (size)
            *size = (int)request->header;
        return 0;
    }
    return comm->failed ? MFS_NCCL_REMOTE_ERROR : 0;
}

static mfs_nccl_result_t end(void *pointer)
{
    struct comm *comm = pointer;

    close(comm->fd);
    free(comm);
    return 0;
}

static mfs_nccl_result_t end_listen(void *pointer)
{
    close(*(int *)pointer);
    free(pointer);
    return 0;
}

__attribute__((visibility("default"))) extern struct mfs_nccl_table_v8 ncclNetPlugin_v8;

struct mfs_nccl_table_v8 ncclNetPlugin_v8 = {
    .name = "Inner",
    .init = init,
    .devices = devices,
    .properties = properties,
    .listen = start,
    .connect = reach,
    .accept = take,
    .reg = reg,
    .dereg = dereg,
    .isend = isend,
    .irecv = irecv,
    .iflush = iflush,
    .test = test,
    .close_send = end,
    .close_recv = end,
    .close_listen = end_listen,
};
