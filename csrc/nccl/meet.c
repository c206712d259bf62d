/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/meet.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl/log.h"

struct mfs_nccl_meet *mfs_nccl_meet_make(struct mfs_nccl_engine *engine, int fd, bool connector,
                                         uint64_t cookie)
{
    struct mfs_nccl_meet *meet = calloc(1, sizeof(*meet));
    const int yes = 1;

    if (!meet) {
        close(fd);
        return NULL;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    meet->fd = fd;
    meet->connector = connector;
    meet->cookie = cookie;
    meet->engine = engine;
    meet->state = connector ? MFS_NCCL_CONNECTING : MFS_NCCL_HEARING;
    meet->until_ns = mfs_now_ns() + mfs_config_get()->nccl_peer_timeout;
    return meet;
}

void mfs_nccl_meet_free(struct mfs_nccl_meet *meet)
{
    if (meet->fd >= 0)
        close(meet->fd);
    if (meet->comm)
        mfs_nccl_comm_free(meet->comm);
    free(meet->out);
    free(meet->addresses);
    free(meet);
}

static void fail(struct mfs_nccl_meet *meet, const char *reason)
{
    mfs_nccl_warn("setting up a connection %s %s: %s", meet->connector ? "to" : "from", meet->other,
                  reason);
    meet->state = MFS_NCCL_MEET_FAILED;
}

/* --- what we say --- */

static bool hello_make(struct mfs_nccl_meet *meet)
{
    struct mfs_nccl_engine *engine = meet->engine;
    ucp_address_t *addresses[MFS_NCCL_CLASSES_MAX] = {NULL};
    struct mfs_nccl_hello hello = {
        .magic = MFS_NCCL_WIRE_MAGIC,
        .version = MFS_NCCL_WIRE_VERSION,
        .cookie = meet->cookie,
        .comm = meet->comm->index,
        .generation = meet->comm->generation,
        .classes = engine->classes,
        .channels = engine->channels,
        .flags = (meet->keep ? MFS_NCCL_HELLO_KEEP : 0) |
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
    meet->out_bytes = sizeof(hello) + hello.bytes;
    meet->out = malloc(meet->out_bytes);
    if (good && meet->out) {
        char *at = meet->out + sizeof(hello);

        memcpy(meet->out, &hello, sizeof(hello));
        for (unsigned klass = 0; klass < engine->classes; klass++) {
            memcpy(at, addresses[klass], hello.address_bytes[klass]);
            at += hello.address_bytes[klass];
        }
    }
    for (unsigned klass = 0; klass < engine->classes; klass++) {
        if (addresses[klass])
            engine->ucx->ucp_worker_release_address(engine->workers[klass], addresses[klass]);
    }
    return good && meet->out;
}

static void say(struct mfs_nccl_meet *meet)
{
    while (meet->out_done < meet->out_bytes) {
        const ssize_t sent = send(meet->fd, meet->out + meet->out_done,
                                  meet->out_bytes - meet->out_done, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (sent <= 0) {
            fail(meet, strerror(errno));
            return;
        }
        meet->out_done += (size_t)sent;
    }
    meet->state = meet->connector ? MFS_NCCL_HEARING : MFS_NCCL_MET;
}

/* --- what we hear --- */

static bool heard_is_sound(struct mfs_nccl_meet *meet)
{
    struct mfs_nccl_hello *heard = &meet->heard;
    uint64_t sum = 0;

    if (heard->magic != MFS_NCCL_WIRE_MAGIC) {
        fail(meet, "whoever is there does not speak our protocol");
        return false;
    }
    if (heard->version != MFS_NCCL_WIRE_VERSION) {
        char reason[128];

        snprintf(reason, sizeof(reason),
                 "it speaks wire version %u, we speak %u: install the same mfs-transport on both",
                 heard->version, MFS_NCCL_WIRE_VERSION);
        fail(meet, reason);
        return false;
    }
    for (unsigned i = 0; i < MFS_NCCL_CLASSES_MAX; i++)
        sum += heard->address_bytes[i];
    if (sum != heard->bytes || heard->bytes == 0 || heard->bytes > MFS_NCCL_ADDRESSES_MAX ||
        heard->classes == 0 || heard->classes > MFS_NCCL_CLASSES_MAX ||
        heard->cookie != meet->cookie) {
        fail(meet, "it was not for us");
        return false;
    }
    heard->name[sizeof(heard->name) - 1] = '\0';
    return true;
}

/* All of it: make the connection. */
static void meet_peer(struct mfs_nccl_meet *meet)
{
    const struct mfs_nccl_hello *heard = &meet->heard;
    struct mfs_nccl_engine *engine = meet->engine;
    struct mfs_nccl_peer *peer = mfs_nccl_peer_find(engine, heard->uuid);
    const void *addresses[MFS_NCCL_CLASSES_MAX];
    const char *at = meet->addresses;

    for (unsigned klass = 0; klass < heard->classes; klass++) {
        addresses[klass] = at;
        at += heard->address_bytes[klass];
    }
    if (!peer)
        peer = mfs_nccl_peer_make(engine, heard->uuid, heard->name, addresses, heard->classes,
                                  heard->channels);
    if (!peer || peer->failed) {
        fail(meet, peer ? peer->reason : "no endpoint to it");
        return;
    }
    if (!meet->connector) {
        meet->keep = heard->flags & MFS_NCCL_HELLO_KEEP; /* the connector decides */
        meet->comm = mfs_nccl_comm_make(engine, false);
        if (!meet->comm || mfs_nccl_engine_adopt(engine, meet->comm) != 0 || !hello_make(meet)) {
            fail(meet, "no memory, or too many connections");
            return;
        }
    }
    meet->comm->eager_bytes = heard->eager_bytes < mfs_config_get()->nccl_eager
                                  ? heard->eager_bytes
                                  : mfs_config_get()->nccl_eager;
    meet->comm->peer_host_only = heard->flags & MFS_NCCL_HELLO_HOST_ONLY;
    mfs_nccl_comm_connected(meet->comm, peer, heard->comm, heard->generation);
    if (!meet->connector) {
        meet->state = MFS_NCCL_SAYING;
        say(meet);
    } else {
        meet->state = MFS_NCCL_MET;
    }
}

static void hear(struct mfs_nccl_meet *meet)
{
    const size_t fixed = sizeof(meet->heard);

    for (;;) {
        const bool head = meet->in_done < fixed;
        char *to =
            head ? (char *)&meet->heard + meet->in_done : meet->addresses + (meet->in_done - fixed);
        const size_t want =
            head ? fixed - meet->in_done : fixed + meet->heard.bytes - meet->in_done;
        const ssize_t got = recv(meet->fd, to, want, MSG_DONTWAIT);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            fail(meet, got == 0 ? "it has hung up" : strerror(errno));
            return;
        }
        meet->in_done += (size_t)got;
        if (meet->in_done == fixed) {
            if (!heard_is_sound(meet))
                return;
            meet->addresses = malloc(meet->heard.bytes);
            if (!meet->addresses) {
                fail(meet, "no memory");
                return;
            }
        }
        if (meet->in_done >= fixed && meet->in_done == fixed + meet->heard.bytes) {
            meet_peer(meet);
            return;
        }
    }
}

static void connecting(struct mfs_nccl_meet *meet)
{
    struct pollfd ready = {.fd = meet->fd, .events = POLLOUT};
    socklen_t length = sizeof(int);
    int error = 0;

    if (poll(&ready, 1, 0) == 0)
        return;
    if (getsockopt(meet->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
        fail(meet, strerror(error ? error : errno));
        return;
    }
    if (!hello_make(meet)) {
        fail(meet, "no memory");
        return;
    }
    meet->state = MFS_NCCL_SAYING;
}

void mfs_nccl_meet_step(struct mfs_nccl_meet *meet)
{
    if (meet->state == MFS_NCCL_CONNECTING)
        connecting(meet);
    if (meet->state == MFS_NCCL_SAYING)
        say(meet);
    if (meet->state == MFS_NCCL_HEARING)
        hear(meet);
    if (meet->state < MFS_NCCL_MET && mfs_now_ns() > meet->until_ns)
        fail(meet, "it did not answer within MFS_NCCL_PEER_TIMEOUT");
    if (meet->state == MFS_NCCL_MET && meet->keep && meet->fd >= 0) {
        mfs_nccl_peer_watch(meet->comm->peer, meet->fd);
        meet->fd = -1;
    }
}
