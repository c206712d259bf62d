/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen, connect and accept: none of them blocks. NCCL carries the handle (128 bytes) from
 * the listener to the connector and calls connect again and again with the same buffer, so
 * the connector keeps its state in it. One listener accepts as many as come, in the order in
 * which they are ready; a stranger at its port is turned away and does no harm.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "nccl/address.h"
#include "nccl/log.h"
#include "nccl/handshake.h"

#define LISTEN_MAGIC 0x4d46534cu

struct handle {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved;
    uint64_t cookie;
    unsigned char uuid[16];
    union mfs_nccl_address address;
    struct mfs_nccl_handshake *handshake; /* the connector's */
};

_Static_assert(sizeof(struct handle) <= MFS_NCCL_HANDLE_BYTES, "NCCL carries 128 bytes");

struct listener {
    uint32_t magic;
    struct mfs_nccl_engine *engine;
    int fd;
    uint64_t cookie;
    struct mfs_nccl_handshake *handshakes;
};

/* --- listen --- */

static int listener_open(struct listener *listener, union mfs_nccl_address *address)
{
    socklen_t bytes;
    int error = mfs_nccl_address_own(listener->engine->device->port, address);

    if (error)
        return error;
    bytes = mfs_nccl_address_bytes(address);
    listener->fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0 || bind(listener->fd, &address->any, bytes) != 0 ||
        listen(listener->fd, 1024) != 0 || getsockname(listener->fd, &address->any, &bytes) != 0 ||
        getrandom(&listener->cookie, sizeof(listener->cookie), 0) != sizeof(listener->cookie))
        return -errno;
    return 0;
}

mfs_nccl_result_t mfs_nccl_listen(void *ctx, int dev, void *handle_out, void **listen_comm)
{
    struct mfs_nccl_engine *engine = mfs_nccl_engine_get(ctx, dev);
    struct handle handle = {.magic = MFS_NCCL_WIRE_MAGIC, .version = MFS_NCCL_WIRE_VERSION};
    struct listener *listener;
    int error;

    *listen_comm = NULL;
    if (!engine)
        return MFS_NCCL_INTERNAL_ERROR;
    listener = calloc(1, sizeof(*listener));
    if (!listener)
        return MFS_NCCL_SYSTEM_ERROR;
    listener->magic = LISTEN_MAGIC;
    listener->engine = engine;
    listener->fd = -1;
    error = listener_open(listener, &handle.address);
    if (error) {
        mfs_nccl_warn("listen: %s. NCCL_SOCKET_IFNAME names the interface to use",
                      error == -ENODEV ? "no network interface is up" : strerror(-error));
        if (listener->fd >= 0)
            close(listener->fd);
        free(listener);
        return MFS_NCCL_SYSTEM_ERROR;
    }
    handle.cookie = listener->cookie;
    memcpy(handle.uuid, engine->uuid, sizeof(handle.uuid));
    memset(handle_out, 0, MFS_NCCL_HANDLE_BYTES);
    memcpy(handle_out, &handle, sizeof(handle));
    *listen_comm = listener;
    return MFS_NCCL_OK;
}

static struct listener *listener_check(void *pointer, const char *call)
{
    struct listener *listener = pointer;

    if (listener && listener->magic == LISTEN_MAGIC)
        return listener;
    mfs_nccl_warn("%s: %p does not listen", call, pointer);
    return NULL;
}

mfs_nccl_result_t mfs_nccl_close_listen(void *listen_comm)
{
    struct listener *listener = listener_check(listen_comm, "closeListen");

    if (!listener)
        return MFS_NCCL_INTERNAL_ERROR;
    mfs_nccl_lock_take(&listener->engine->lock);
    while (listener->handshakes) {
        struct mfs_nccl_handshake *handshake = listener->handshakes;

        listener->handshakes = handshake->next;
        mfs_nccl_handshake_free(handshake);
    }
    mfs_nccl_lock_give(&listener->engine->lock);
    close(listener->fd);
    listener->magic = 0;
    free(listener);
    return MFS_NCCL_OK;
}

/* --- accept --- */

static void take_in(struct listener *listener)
{
    union mfs_nccl_address from;
    socklen_t bytes = sizeof(from);
    int fd;

    while ((fd = accept4(listener->fd, &from.any, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct mfs_nccl_handshake *handshake =
            mfs_nccl_handshake_make(listener->engine, fd, false, listener->cookie);
        struct mfs_nccl_handshake **last = &listener->handshakes;

        bytes = sizeof(from);
        if (!handshake)
            continue;
        mfs_nccl_address_text(&from, handshake->other, sizeof(handshake->other));
        while (*last)
            last = &(*last)->next;
        *last = handshake;
    }
}

mfs_nccl_result_t mfs_nccl_accept(void *listen_comm, void **recv_comm, void **device_handle)
{
    struct listener *listener = listener_check(listen_comm, "accept");
    struct mfs_nccl_handshake **at;

    *recv_comm = NULL;
    (void)device_handle;
    if (!listener)
        return MFS_NCCL_INTERNAL_ERROR;
    mfs_nccl_lock_take(&listener->engine->lock);
    take_in(listener);
    for (at = &listener->handshakes; *at && !*recv_comm;) {
        struct mfs_nccl_handshake *handshake = *at;

        mfs_nccl_handshake_step(handshake);
        if (handshake->state < MFS_NCCL_MET) {
            at = &handshake->next;
            continue;
        }
        if (handshake->state == MFS_NCCL_MET) {
            *recv_comm = handshake->comm;
            handshake->comm = NULL;
        }
        *at = handshake->next;
        mfs_nccl_handshake_free(handshake);
    }
    mfs_nccl_engine_progress(listener->engine);
    mfs_nccl_lock_give(&listener->engine->lock);
    return MFS_NCCL_OK;
}

/* --- connect --- */

static mfs_nccl_result_t handle_check(const struct handle *handle)
{
    if (handle->magic != MFS_NCCL_WIRE_MAGIC) {
        mfs_nccl_warn("connect: the peer's handle is not of this plug-in: is another net plug-in "
                      "loaded there? NCCL_NET_PLUGIN and NCCL_NET must be the same on all hosts");
        return MFS_NCCL_INVALID_USAGE;
    }
    if (handle->version != MFS_NCCL_WIRE_VERSION) {
        mfs_nccl_warn("connect: the peer speaks wire version %u, we speak %u: install the same "
                      "mfs-transport on both",
                      handle->version, MFS_NCCL_WIRE_VERSION);
        return MFS_NCCL_INVALID_USAGE;
    }
    return MFS_NCCL_OK;
}

/* NULL: logged. */
static struct mfs_nccl_handshake *connect_begin(struct mfs_nccl_engine *engine,
                                                const struct handle *handle)
{
    const union mfs_nccl_address *address = &handle->address;
    const struct mfs_nccl_peer *known = mfs_nccl_peer_find(engine, handle->uuid);
    struct mfs_nccl_handshake *handshake = NULL;
    char text[64];
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    mfs_nccl_address_text(address, text, sizeof(text));
    if (fd < 0 || (connect(fd, &address->any, mfs_nccl_address_bytes(address)) != 0 &&
                   errno != EINPROGRESS)) {
        mfs_nccl_warn("connect to %s: %s", text, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    handshake = mfs_nccl_handshake_make(engine, fd, true, handle->cookie);
    if (!handshake)
        return NULL;
    snprintf(handshake->other, sizeof(handshake->other), "%s", text);
    handshake->keep = !known || !mfs_nccl_peer_watched(known);
    handshake->comm = mfs_nccl_comm_make(engine, true);
    if (!handshake->comm || mfs_nccl_engine_adopt(engine, handshake->comm) != 0) {
        mfs_nccl_warn("connect to %s: no memory, or more than %u connections", text,
                      MFS_NCCL_COMMS_MAX);
        free(handshake->comm);
        handshake->comm = NULL;
        mfs_nccl_handshake_free(handshake);
        return NULL;
    }
    return handshake;
}

mfs_nccl_result_t mfs_nccl_connect(void *ctx, int dev, void *handle_in, void **send_comm,
                                   void **device_handle)
{
    struct mfs_nccl_engine *engine = mfs_nccl_engine_get(ctx, dev);
    struct handle *handle = handle_in;
    struct mfs_nccl_handshake *handshake;
    mfs_nccl_result_t result;

    *send_comm = NULL;
    (void)device_handle;
    if (!engine)
        return MFS_NCCL_INTERNAL_ERROR;
    result = handle_check(handle);
    if (result != MFS_NCCL_OK)
        return result;
    mfs_nccl_lock_take(&engine->lock);
    if (!handle->handshake)
        handle->handshake = connect_begin(engine, handle);
    handshake = handle->handshake;
    if (!handshake) {
        result = MFS_NCCL_REMOTE_ERROR;
    } else {
        mfs_nccl_handshake_step(handshake);
        mfs_nccl_engine_progress(engine);
        if (handshake->state == MFS_NCCL_HANDSHAKE_FAILED)
            result = MFS_NCCL_REMOTE_ERROR;
        if (handshake->state == MFS_NCCL_MET) {
            *send_comm = handshake->comm;
            handshake->comm = NULL;
        }
        if (handshake->state >= MFS_NCCL_MET) {
            mfs_nccl_handshake_free(handshake);
            handle->handshake = NULL;
        }
    }
    mfs_nccl_lock_give(&engine->lock);
    return result;
}
