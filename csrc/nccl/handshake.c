/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/handshake.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nccl/far.h"
#include "nccl/log.h"

#define TRIES_MAX 5u
#define AGAIN_NS INT64_C(20000000)

static struct mfs_nccl_handshake *make(struct mfs_nccl_engine *engine, uint64_t cookie,
                                       const union mfs_nccl_address *other)
{
    struct mfs_nccl_handshake *handshake = calloc(1, sizeof(*handshake));

    if (!handshake)
        return NULL;
    handshake->fd = -1;
    handshake->cookie = cookie;
    handshake->engine = engine;
    handshake->until_ns = mfs_now_ns() + mfs_config_get()->nccl_peer_timeout;
    mfs_nccl_address_text(other, handshake->other, sizeof(handshake->other));
    return handshake;
}

static void adopt_socket(struct mfs_nccl_handshake *handshake, int fd)
{
    const int yes = 1;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    handshake->fd = fd;
}

struct mfs_nccl_handshake *mfs_nccl_handshake_accepted(struct mfs_nccl_engine *engine, int fd,
                                                       uint64_t cookie,
                                                       const union mfs_nccl_address *from)
{
    struct mfs_nccl_handshake *handshake = make(engine, cookie, from);

    if (!handshake) {
        close(fd);
        return NULL;
    }
    adopt_socket(handshake, fd);
    handshake->state = MFS_NCCL_HEARING;
    return handshake;
}

struct mfs_nccl_handshake *mfs_nccl_handshake_begin(struct mfs_nccl_engine *engine,
                                                    const union mfs_nccl_address *to,
                                                    uint64_t cookie)
{
    struct mfs_nccl_handshake *handshake = make(engine, cookie, to);

    if (!handshake)
        return NULL;
    handshake->connector = true;
    handshake->address = *to;
    handshake->state = MFS_NCCL_CONNECTING;
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
    const bool knows_us = handshake->in_done >= sizeof(handshake->heard) &&
                          handshake->heard.magic == MFS_NCCL_WIRE_MAGIC &&
                          handshake->heard.cookie == handshake->cookie;

    handshake->stranger = !handshake->connector && !knows_us;
    handshake->state = MFS_NCCL_HANDSHAKE_FAILED;
    if (!handshake->stranger || !handshake->quiet)
        mfs_nccl_warn("setting up a connection %s %s: %s%s", handshake->connector ? "to" : "from",
                      handshake->other, reason,
                      handshake->stranger ? "; more strangers at this listener are not told of"
                                          : "");
}

/*
 * HUNG UP ON: A listener that a flood of strangers has reached gives up the oldest that have not
 * said who they are, and that may have been us. So we try again, some times.
 */
static bool try_again(struct mfs_nccl_handshake *handshake)
{
    if (!handshake->connector || handshake->in_done > 0 || ++handshake->tries >= TRIES_MAX)
        return false;
    close(handshake->fd);
    handshake->fd = -1;
    handshake->state = MFS_NCCL_CONNECTING;
    handshake->out_done = 0;
    handshake->again_ns = mfs_now_ns() + AGAIN_NS;
    return true;
}

/* --- what we say --- */

static bool hello_make(struct mfs_nccl_handshake *handshake)
{
    handshake->out = mfs_nccl_hello_make(handshake->comm, handshake->cookie, handshake->keep,
                                         &handshake->out_bytes);
    return handshake->out != NULL;
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
            const int error = errno;

            if ((error != EPIPE && error != ECONNRESET) || !try_again(handshake))
                fail(handshake, strerror(error));
            return;
        }
        handshake->out_done += (size_t)sent;
    }
    handshake->state = handshake->connector ? MFS_NCCL_HEARING : MFS_NCCL_MET;
}

/* --- what we hear --- */

/* The listener's no, with its reason: else the connector would take it for a lost connection. */
static void refuse(struct mfs_nccl_handshake *handshake, const char *reason)
{
    struct mfs_nccl_hello hello;

    fail(handshake, reason);
    if (handshake->connector)
        return;
    mfs_nccl_hello_refusal(&hello, handshake->cookie, reason);
    (void)send(handshake->fd, &hello, sizeof(hello), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static struct mfs_nccl_peer *peer_of(struct mfs_nccl_handshake *handshake, char *reason,
                                     size_t size)
{
    const struct mfs_nccl_hello *heard = &handshake->heard;
    struct mfs_nccl_engine *engine = handshake->engine;
    struct mfs_nccl_peer *peer = mfs_nccl_peer_find(engine, heard->uuid);
    const void *addresses[MFS_NCCL_CLASSES_MAX];
    const char *at = handshake->addresses;

    if (heard->classes != engine->classes || heard->channels != engine->channels) {
        snprintf(reason, size,
                 "%u channels in %u classes here, %u in %u at the listener's: give "
                 "both the same MFS_NCCL_CHANNELS and MFS_NCCL_CLASSES",
                 handshake->connector ? engine->channels : heard->channels,
                 handshake->connector ? engine->classes : heard->classes,
                 handshake->connector ? heard->channels : engine->channels,
                 handshake->connector ? heard->classes : engine->classes);
        return NULL;
    }
    for (unsigned klass = 0; klass < heard->classes; klass++) {
        addresses[klass] = at;
        at += heard->address_bytes[klass];
    }
    if (!peer)
        peer =
            mfs_nccl_peer_make(engine, heard->uuid, heard->name, addresses, mfs_nccl_peer_on_error);
    if (peer && !peer->failed)
        return peer;
    snprintf(reason, size, "%s", peer ? peer->reason : "no endpoint to it");
    return NULL;
}

/* All of it is here: make the connection. */
static void make_connection(struct mfs_nccl_handshake *handshake)
{
    struct mfs_nccl_hello *heard = &handshake->heard;
    struct mfs_nccl_engine *engine = handshake->engine;
    struct mfs_nccl_peer *peer;
    const char *wrong = mfs_nccl_hello_whole_wrong(heard, handshake->addresses);
    char reason[192];

    if (wrong) {
        refuse(handshake, wrong);
        return;
    }
    if (heard->flags & MFS_NCCL_HELLO_REFUSED) {
        snprintf(reason, sizeof(reason), "it refuses: %s", heard->name);
        fail(handshake, reason);
        return;
    }
    peer = peer_of(handshake, reason, sizeof(reason));
    if (!peer) {
        refuse(handshake, reason);
        return;
    }
    if (!handshake->connector) {
        handshake->keep = heard->flags & MFS_NCCL_HELLO_KEEP; /* the connector decides */
        handshake->comm = mfs_nccl_comm_make(engine, false);
        if (!handshake->comm || mfs_nccl_engine_adopt(engine, handshake->comm) != 0 ||
            !hello_make(handshake)) {
            refuse(handshake, "no memory, or too many connections");
            return;
        }
    }
    mfs_nccl_far_met(peer, handshake->fd);
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
            const int error = got == 0 ? 0 : errno;

            if ((error != 0 && error != ECONNRESET) || !try_again(handshake))
                fail(handshake, error == 0 ? "it has hung up" : strerror(error));
            return;
        }
        handshake->in_done += (size_t)got;
        if (handshake->in_done == fixed) {
            const char *wrong =
                mfs_nccl_hello_wrong(&handshake->heard, handshake->cookie, handshake->connector);

            if (wrong) {
                fail(handshake, wrong);
                return;
            }
            handshake->addresses = malloc(handshake->heard.bytes + 1);
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

static void dial(struct mfs_nccl_handshake *handshake)
{
    const union mfs_nccl_address *to = &handshake->address;
    const int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        fail(handshake, strerror(errno));
        return;
    }
    adopt_socket(handshake, fd);
    if (connect(fd, &to->any, mfs_nccl_address_bytes(to)) != 0 && errno != EINPROGRESS)
        fail(handshake, strerror(errno));
}

static void connecting(struct mfs_nccl_handshake *handshake)
{
    struct pollfd ready = {.events = POLLOUT};
    socklen_t length = sizeof(int);
    int error = 0;

    if (handshake->fd < 0 && mfs_now_ns() >= handshake->again_ns)
        dial(handshake);
    ready.fd = handshake->fd;
    if (handshake->state != MFS_NCCL_CONNECTING || handshake->fd < 0 || poll(&ready, 1, 0) == 0)
        return;
    if (getsockopt(handshake->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
        fail(handshake, strerror(error ? error : errno));
        return;
    }
    if (!handshake->out && !hello_make(handshake)) {
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
