/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen, connect and accept: none of them blocks. NCCL carries the handle (128 bytes) from
 * the listener to the connector and calls connect again and again with the same buffer. The
 * connector writes a number into it that nobody can guess, and finds its state by that; what a
 * peer may have written there finds nothing. One listener accepts as many as come, in the order
 * in which they are ready.
 *
 * STRANGERS: Anybody can connect to a listener. One that does not know its cookie is turned away
 * as soon as it has said so, and of those that say nothing there are HALF_OPEN_MAX at most: the
 * oldest is given up for a new one. So a flood of them costs that many descriptors, and a peer
 * the time to get through the kernel's queue.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "nccl/address.h"
#include "nccl/engine_life.h"
#include "nccl/handshake.h"
#include "nccl/log.h"

#define LISTEN_MAGIC 0x4d46534cu

struct handle {
    uint64_t magic;
    uint32_t version;
    uint32_t digest; /* of what follows, but for the token */
    uint64_t cookie;
    unsigned char uuid[16];
    union mfs_nccl_address address;
    uint32_t reserved; /* 0 */
    uint64_t token; /* the connector's: of its handshake; 0: not begun */
};

#define HALF_OPEN_MAX 64u

_Static_assert(sizeof(struct handle) <= MFS_NCCL_HANDLE_BYTES, "NCCL carries 128 bytes");

struct listener {
    uint32_t magic;
    struct mfs_nccl_engine *engine;
    int fd;
    uint64_t cookie;
    struct mfs_nccl_handshake *handshakes; /* oldest first */
    unsigned count;                        /* of them */
    bool met_strangers, said;              /* that one came; that accept fails */
};

static uint32_t digest_of(const struct handle *handle)
{
    const char *from = (const char *)&handle->cookie;

    return mfs_nccl_payload_digest(from, (size_t)((const char *)&handle->token - from));
}

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
    handle.digest = digest_of(&handle);
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

static void drop(struct listener *listener, struct mfs_nccl_handshake **at)
{
    struct mfs_nccl_handshake *handshake = *at;

    *at = handshake->next;
    listener->count--;
    listener->met_strangers |= handshake->stranger;
    mfs_nccl_handshake_free(handshake);
}

/* Room for one more: the oldest that is silent goes, or else the oldest. */
static void make_room(struct listener *listener)
{
    struct mfs_nccl_handshake **at = &listener->handshakes;

    while (*at && !mfs_nccl_handshake_is_silent(*at))
        at = &(*at)->next;
    drop(listener, *at ? at : &listener->handshakes);
}

static void say_why_not(struct listener *listener, int error)
{
    if (error == EAGAIN || error == EINTR || error == ECONNABORTED || listener->said)
        return;
    listener->said = true;
    mfs_nccl_warn("accept: %s%s", strerror(error),
                  error == EMFILE ? "; raise `ulimit -n`: no connection can be set up" : "");
}

/* A round's worth: a flood must not keep us here. */
static void take_in(struct listener *listener)
{
    for (unsigned i = 0; i < HALF_OPEN_MAX; i++) {
        union mfs_nccl_address from;
        socklen_t bytes = sizeof(from);
        const int fd = accept4(listener->fd, &from.any, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct mfs_nccl_handshake **last = &listener->handshakes;

        if (fd < 0) {
            say_why_not(listener, errno);
            return;
        }
        if (listener->count >= HALF_OPEN_MAX)
            make_room(listener);
        while (*last)
            last = &(*last)->next;
        *last = mfs_nccl_handshake_accepted(listener->engine, fd, listener->cookie, &from);
        if (!*last)
            continue;
        listener->count++;
        (*last)->quiet = listener->met_strangers;
        mfs_nccl_handshake_step(*last); /* it may have said who it is */
        if ((*last)->state == MFS_NCCL_HANDSHAKE_FAILED)
            drop(listener, last);
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

        handshake->quiet = listener->met_strangers;
        mfs_nccl_handshake_step(handshake);
        if (handshake->state < MFS_NCCL_MET) {
            at = &handshake->next;
            continue;
        }
        if (handshake->state == MFS_NCCL_MET) {
            *recv_comm = handshake->comm;
            handshake->comm = NULL;
        }
        drop(listener, at);
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
    if (handle->digest != digest_of(handle) ||
        (handle->address.any.sa_family != AF_INET && handle->address.any.sa_family != AF_INET6)) {
        mfs_nccl_warn("connect: the peer's handle is not as it was written");
        return MFS_NCCL_INVALID_USAGE;
    }
    return MFS_NCCL_OK;
}

/*
 * ONE SOCKET IS KEPT to see the peer die: of several connections that are set up together the
 * first, else the two sides would keep others of them, and each would take the end of one that the
 * other did not keep for the end of the peer.
 */
static bool is_to_be_kept(struct mfs_nccl_engine *engine, const struct handle *handle)
{
    const struct mfs_nccl_peer *known = mfs_nccl_peer_find(engine, handle->uuid);

    for (const struct mfs_nccl_handshake *other = engine->connecting; other; other = other->next) {
        if (other->keep && memcmp(other->uuid, handle->uuid, sizeof(other->uuid)) == 0)
            return false;
    }
    return !known || !mfs_nccl_peer_watched(known);
}

/* NULL: logged. */
static struct mfs_nccl_handshake *connect_begin(struct mfs_nccl_engine *engine,
                                                const struct handle *handle)
{
    struct mfs_nccl_handshake *handshake =
        mfs_nccl_handshake_begin(engine, &handle->address, handle->cookie);

    if (handshake) {
        handshake->keep = is_to_be_kept(engine, handle);
        memcpy(handshake->uuid, handle->uuid, sizeof(handshake->uuid));
        handshake->comm = mfs_nccl_comm_make(engine, true);
    }
    if (!handshake || !handshake->comm || mfs_nccl_engine_adopt(engine, handshake->comm) != 0 ||
        getrandom(&handshake->token, sizeof(handshake->token), 0) != sizeof(handshake->token)) {
        mfs_nccl_warn("connect: no memory, or more than %u connections", MFS_NCCL_COMMS_MAX);
        if (handshake)
            mfs_nccl_handshake_free(handshake);
        return NULL;
    }
    handshake->token |= 1; /* 0 is none */
    handshake->next = engine->connecting;
    engine->connecting = handshake;
    return handshake;
}

/* Where the handshake hangs that the handle names; at NULL: there is none (any more). */
static struct mfs_nccl_handshake **connecting_find(struct mfs_nccl_engine *engine,
                                                   const struct handle *handle)
{
    struct mfs_nccl_handshake **at = &engine->connecting;

    while (*at && ((*at)->token != handle->token || (*at)->cookie != handle->cookie))
        at = &(*at)->next;
    return at;
}

static mfs_nccl_result_t connect_step(struct mfs_nccl_engine *engine, struct handle *handle,
                                      void **send_comm)
{
    struct mfs_nccl_handshake *handshake = *connecting_find(engine, handle), **at;
    mfs_nccl_result_t result = MFS_NCCL_OK;

    if (!handshake)
        handshake = connect_begin(engine, handle);
    if (!handshake)
        return MFS_NCCL_REMOTE_ERROR;
    handle->token = handshake->token;
    mfs_nccl_handshake_step(handshake);
    mfs_nccl_engine_progress(engine);
    if (handshake->state < MFS_NCCL_MET)
        return MFS_NCCL_OK;
    if (handshake->state == MFS_NCCL_MET) {
        *send_comm = handshake->comm;
        handshake->comm = NULL;
    } else {
        result = MFS_NCCL_REMOTE_ERROR;
    }
    at = connecting_find(engine, handle);
    *at = handshake->next;
    handle->token = 0;
    mfs_nccl_handshake_free(handshake);
    return result;
}

mfs_nccl_result_t mfs_nccl_connect(void *ctx, int dev, void *handle, void **send_comm,
                                   void **device_handle)
{
    struct mfs_nccl_engine *engine = mfs_nccl_engine_get(ctx, dev);
    mfs_nccl_result_t result;

    *send_comm = NULL;
    (void)device_handle;
    if (!engine)
        return MFS_NCCL_INTERNAL_ERROR;
    result = handle_check(handle);
    if (result != MFS_NCCL_OK)
        return result;
    mfs_nccl_lock_take(&engine->lock);
    result = connect_step(engine, handle, send_comm);
    mfs_nccl_lock_give(&engine->lock);
    return result;
}
