/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/handshake.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl/log.h"

struct mfs_nccl_handshake *mfs_nccl_handshake_make(struct mfs_nccl_engine *engine, int fd,
                                                   bool connector, uint64_t cookie)
{
    struct mfs_nccl_handshake *handshake = calloc(1, sizeof(*handshake));
    const int yes = 1;

    if (!handshake) {
        close(fd);
        return NULL;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    handshake->fd = fd;
    handshake->connector = connector;
    handshake->cookie = cookie;
    handshake->engine = engine;
    handshake->state = connector ? MFS_NCCL_CONNECTING : MFS_NCCL_HEARING;
    handshake->until_ns = mfs_now_ns() + mfs_config_get()->nccl_peer_timeout;
    return handshake;
}

void mfs_nccl_handshake_free(struct mfs_nccl_handshake *handshake)
{
    if (handshake->fd >= 0)
        close(handshake->fd);
    if (handshake->comm)
        mfs_nccl_comm_free(handshake->comm);
    free(handshake->out);
    free(handshake->addresses);
    free(handshake);
}

static void fail(struct mfs_nccl_handshake *handshake, const char *reason)
{
    mfs_nccl_warn("setting up a connection %s %s: %s", handshake->connector ? "to" : "from",
                  handshake->other, reason);
    handshake->state = MFS_NCCL_HANDSHAKE_FAILED;
}

/* --- what we say --- */

static bool hello_make(struct mfs_nccl_handshake *handshake)
{
    struct mfs_nccl_engine *engine = handshake->engine;
    ucp_address_t *addresses[MFS_NCCL_CLASSES_MAX] = {NULL};
    struct mfs_nccl_hello hello = {
        .magic = MFS_NCCL_WIRE_MAGIC,
        .version = MFS_NCCL_WIRE_VERSION,
        .cookie = handshake->cookie,
        .comm = handshake->comm->index,
        .generation = handshake->comm->generation,
        .classes = engine->classes,
        .channels = engine->channels,
        .flags = (handshake->keep ? MFS_NCCL_HELLO_KEEP : 0) |
                 (engine->device->cuda ? 0 : MFS_NCCL_HELLO_HOST_ONLY),
        .eager_bytes = mfs_config_get()->nccl_eager,
    };
    bool good = true;

    memcpy(hello.uuid, engine->uuid, sizeof(hello.uuid));
    mfs_nccl_own_name(hello.name, sizeof(hello.name));
    for (unsigned klass = 0; klass < engine->classes; klass++) {
        size_t bytes = 0;

        if (engine->ucx->ucp_worker_get_address(engine->workers[klass], &addresses[klass],
                                                &bytes) != UCS_OK) {
            addresses[klass] = NULL;
            good = false;
        }
        hello.address_bytes[klass] = (uint32_t)bytes;
        hello.bytes += (uint32_t)bytes;
    }
    handshake->out_bytes = sizeof(hello) + hello.bytes;
    handshake->out = malloc(handshake->out_bytes);
    if (good && handshake->out) {
        char *at = handshake->out + sizeof(hello);

        memcpy(handshake->out, &hello, sizeof(hello));
        for (unsigned klass = 0; klass < engine->classes; klass++) {
            memcpy(at, addresses[klass], hello.address_bytes[klass]);
            at += hello.address_bytes[klass];
        }
    }
    for (unsigned klass = 0; klass < engine->classes; klass++) {
        if (addresses[klass])
            engine->ucx->ucp_worker_release_address(engine->workers[klass], addresses[klass]);
    }
    return good && handshake->out;
}

static void say(struct mfs_nccl_handshake *handshake)
{
    while (handshake->out_done < handshake->out_bytes) {
        const ssize_t sent =
            send(handshake->fd, handshake->out + handshake->out_done,
                 handshake->out_bytes - handshake->out_done, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (sent <= 0) {
            fail(handshake, strerror(errno));
            return;
        }
        handshake->out_done += (size_t)sent;
    }
    handshake->state = handshake->connector ? MFS_NCCL_HEARING : MFS_NCCL_MET;
}

/* --- what we hear --- */

static bool heard_is_sound(struct mfs_nccl_handshake *handshake)
{
    struct mfs_nccl_hello *heard = &handshake->heard;
    uint64_t sum = 0;

    if (heard->magic != MFS_NCCL_WIRE_MAGIC) {
        fail(handshake, "whoever is there does not speak our protocol");
        return false;
    }
    if (heard->version != MFS_NCCL_WIRE_VERSION) {
        char reason[128];

        snprintf(reason, sizeof(reason),
                 "it speaks wire version %u, we speak %u: install the same mfs-transport on both",
                 heard->version, MFS_NCCL_WIRE_VERSION);
        fail(handshake, reason);
        return false;
    }
    for (unsigned i = 0; i < MFS_NCCL_CLASSES_MAX; i++)
        sum += heard->address_bytes[i];
    if (sum != heard->bytes || heard->bytes == 0 || heard->bytes > MFS_NCCL_ADDRESSES_MAX ||
        heard->classes == 0 || heard->classes > MFS_NCCL_CLASSES_MAX ||
        heard->cookie != handshake->cookie) {
        fail(handshake, "it was not for us");
        return false;
    }
    heard->name[sizeof(heard->name) - 1] = '\0';
    return true;
}

/* All of it: make the connection. */
static void make_connection(struct mfs_nccl_handshake *handshake)
{
    const struct mfs_nccl_hello *heard = &handshake->heard;
    struct mfs_nccl_engine *engine = handshake->engine;
    struct mfs_nccl_peer *peer = mfs_nccl_peer_find(engine, heard->uuid);
    const void *addresses[MFS_NCCL_CLASSES_MAX];
    const char *at = handshake->addresses;

    for (unsigned klass = 0; klass < heard->classes; klass++) {
        addresses[klass] = at;
        at += heard->address_bytes[klass];
    }
    if (!peer)
        peer = mfs_nccl_peer_make(engine, heard->uuid, heard->name, addresses, heard->classes,
                                  heard->channels);
    if (!peer || peer->failed) {
        fail(handshake, peer ? peer->reason : "no endpoint to it");
        return;
    }
    if (!handshake->connector) {
        handshake->keep = heard->flags & MFS_NCCL_HELLO_KEEP; /* the connector decides */
        handshake->comm = mfs_nccl_comm_make(engine, false);
        if (!handshake->comm || mfs_nccl_engine_adopt(engine, handshake->comm) != 0 ||
            !hello_make(handshake)) {
            fail(handshake, "no memory, or too many connections");
            return;
        }
    }
    handshake->comm->eager_bytes = heard->eager_bytes < mfs_config_get()->nccl_eager
                                       ? heard->eager_bytes
                                       : mfs_config_get()->nccl_eager;
    handshake->comm->peer_host_only = heard->flags & MFS_NCCL_HELLO_HOST_ONLY;
    mfs_nccl_comm_connected(handshake->comm, peer, heard->comm, heard->generation);
    if (!handshake->connector) {
        handshake->state = MFS_NCCL_SAYING;
        say(handshake);
    } else {
        handshake->state = MFS_NCCL_MET;
    }
}

static void hear(struct mfs_nccl_handshake *handshake)
{
    const size_t fixed = sizeof(handshake->heard);

    for (;;) {
        const bool head = handshake->in_done < fixed;
        char *to = head ? (char *)&handshake->heard + handshake->in_done
                        : handshake->addresses + (handshake->in_done - fixed);
        const size_t want =
            head ? fixed - handshake->in_done : fixed + handshake->heard.bytes - handshake->in_done;
        const ssize_t got = recv(handshake->fd, to, want, MSG_DONTWAIT);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            fail(handshake, got == 0 ? "it has hung up" : strerror(errno));
            return;
        }
        handshake->in_done += (size_t)got;
        if (handshake->in_done == fixed) {
            if (!heard_is_sound(handshake))
                return;
            handshake->addresses = malloc(handshake->heard.bytes);
            if (!handshake->addresses) {
                fail(handshake, "no memory");
                return;
            }
        }
        if (handshake->in_done >= fixed && handshake->in_done == fixed + handshake->heard.bytes) {
            make_connection(handshake);
            return;
        }
    }
}

static void connecting(struct mfs_nccl_handshake *handshake)
{
    struct pollfd ready = {.fd = handshake->fd, .events = POLLOUT};
    socklen_t length = sizeof(int);
    int error = 0;

    if (poll(&ready, 1, 0) == 0)
        return;
    if (getsockopt(handshake->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
        fail(handshake, strerror(error ? error : errno));
        return;
    }
    if (!hello_make(handshake)) {
        fail(handshake, "no memory");
        return;
    }
    handshake->state = MFS_NCCL_SAYING;
}

void mfs_nccl_handshake_step(struct mfs_nccl_handshake *handshake)
{
    if (handshake->state == MFS_NCCL_CONNECTING)
        connecting(handshake);
    if (handshake->state == MFS_NCCL_SAYING)
        say(handshake);
    if (handshake->state == MFS_NCCL_HEARING)
        hear(handshake);
    if (handshake->state < MFS_NCCL_MET && mfs_now_ns() > handshake->until_ns)
        fail(handshake, "it did not answer within MFS_NCCL_PEER_TIMEOUT");
    if (handshake->state == MFS_NCCL_MET && handshake->keep && handshake->fd >= 0) {
        mfs_nccl_peer_watch(handshake->comm->peer, handshake->fd);
        handshake->fd = -1;
    }
}
