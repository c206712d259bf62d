/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place is taken by its cookie, and written before the cookie of its socket stands there. Who has
 * an old cookie finds that it does not belong to what the place says now.
 *
 * MARKING: what is wanted is a word, which anybody may change. Who changes it counts himself in
 * `turns`; the first one marks the socket, for all that come meanwhile too, until nobody has come.
 * So nobody waits, and the last mark is that of the last word.
 */
#include "host/socket.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "core/atomic.h"
#include "host/classes.h"

#define TAKING UINT64_MAX /* a cookie that no socket has: somebody writes the place */

#define NO_MARK 255u /* what UCX and the system have given it */
#define REFUSED 254u

/* Bits of `wants`; in front of them the cookie, as far as it fits. */
#define OWN_SHIFT 0
#define ANSWERS_SHIFT 4
#define CLASS_MASK UINT64_C(15)
#define ALONE (UINT64_C(1) << 8)
#define RESTS (UINT64_C(1) << 9) /* it is marked also while nobody says anything */
#define COOKIE_SHIFT 16

static struct {
    _Atomic uint64_t cookie; /* 0: free */
    _Atomic int fd;
    _Atomic uint64_t wants;
    _Atomic uint32_t has; /* a DSCP, NO_MARK or REFUSED; by who marks it */
    _Atomic uint32_t turns;
} noted[MFS_SOCKETS_MAX];
static _Atomic unsigned noted_count; /* places that have ever been used */

/* --- which there are --- */

/* 0: it is no socket any more. */
static uint64_t cookie_of(int fd)
{
    uint64_t cookie;
    socklen_t size = sizeof(cookie);

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

bool mfs_socket_is_open(const struct mfs_socket *socket)
{
    return socket->cookie != 0 && cookie_of(socket->fd) == socket->cookie;
}

/* What it has been given; false: the kernel does not tell. */
static bool given(int fd, uint64_t *bytes)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans))
        return false;
    *bytes = info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
    return true;
}

struct mfs_socket mfs_socket_at(unsigned place)
{
    struct mfs_socket found = {0};

    if (place >= mfs_see(&noted_count))
        return found;
    found.cookie = mfs_see(&noted[place].cookie);
    if (found.cookie == TAKING)
        found.cookie = 0;
    found.fd = mfs_get(&noted[place].fd);
    found.place = place;
    return found;
}

/* before: its cookie; false: another thread was there first. */
static bool take(unsigned place, uint64_t before, struct mfs_socket *socket)
{
    if (!mfs_replace(&noted[place].cookie, &before, TAKING))
        return false;
    socket->place = place;
    mfs_set(&noted[place].fd, socket->fd);
    mfs_set(&noted[place].has, NO_MARK);
    mfs_set(&noted[place].wants, socket->cookie << COOKIE_SHIFT);
    mfs_publish(&noted[place].cookie, socket->cookie);
    return true;
}

static int note(struct mfs_socket *socket)
{
    unsigned count = mfs_see(&noted_count);

    for (unsigned place = 0; place < count; place++) {
        const struct mfs_socket before = mfs_socket_at(place);

        if (before.cookie == socket->cookie) {
            socket->place = place;
            return 0;
        }
        if (before.cookie != 0 && !mfs_socket_is_open(&before) &&
            take(place, before.cookie, socket))
            return 0;
    }
    while (count < MFS_SOCKETS_MAX) {
        if (!mfs_replace(&noted_count, &count, count + 1))
            continue; /* count is what another thread made it */
        if (take(count, 0, socket))
            return 0;
        count++; /* another thread took a place that was not used yet */
    }
    return -ENOSPC;
}

int mfs_socket_note(int fd, struct mfs_socket *socket)
{
    struct mfs_socket found = {.cookie = cookie_of(fd), .fd = fd};
    uint64_t bytes;
    int error;

    if (found.cookie == 0 || !given(fd, &bytes))
        return -ENOTSUP;
    error = note(&found);
    if (!error)
        *socket = found;
    return error;
}

bool mfs_socket_any(void)
{
    return mfs_see(&noted_count) > 0;
}

unsigned mfs_socket_places(void)
{
    return mfs_see(&noted_count);
}

/* --- which one carries an endpoint's bytes --- */

int mfs_socket_ends(unsigned place, struct sockaddr_storage *own, struct sockaddr_storage *peer)
{
    const struct mfs_socket socket = mfs_socket_at(place);
    socklen_t own_size = sizeof(*own), peer_size = sizeof(*peer);
    int error = 0;

    memset(own, 0, sizeof(*own));
    memset(peer, 0, sizeof(*peer));
    if (getpeername(socket.fd, (void *)peer, &peer_size) != 0 ||
        getsockname(socket.fd, (void *)own, &own_size) != 0)
        error = -errno;
    if (!mfs_socket_is_open(&socket)) /* so what was asked may have been another one */
        return -ENOENT;
    return error;
}

void mfs_sockets_look(struct mfs_sockets *sockets)
{
    const unsigned count = mfs_see(&noted_count);

    sockets->count = 0;
    for (unsigned place = 0; place < count; place++) {
        const struct mfs_socket socket = mfs_socket_at(place);

        if (!mfs_socket_is_open(&socket) || !given(socket.fd, &sockets->at[sockets->count].bytes))
            continue;
        sockets->at[sockets->count++].socket = socket;
    }
}

struct mfs_socket mfs_sockets_grown(const struct mfs_sockets *before, uint64_t bytes)
{
    struct mfs_socket found = {0};

    for (unsigned i = 0; i < before->count; i++) {
        uint64_t now;

        if (!given(before->at[i].socket.fd, &now) || now - before->at[i].bytes < bytes)
            continue;
        if (found.cookie != 0)
            return (struct mfs_socket){0};
        found = before->at[i].socket;
    }
    return mfs_socket_is_open(&found) ? found : (struct mfs_socket){0};
}

/* --- its class --- */

/* The DSCP for that word; NO_MARK: as it is, if it has never been marked. */
static unsigned dscp_of(uint64_t wants)
{
    const struct mfs_classes *own = mfs_classes_get();
    const unsigned puts = wants >> OWN_SHIFT & CLASS_MASK;
    const unsigned answers = wants & ALONE ? 0 : wants >> ANSWERS_SHIFT & CLASS_MASK;
    const unsigned best = puts == 0 || (answers > 0 && answers < puts) ? answers : puts;

    if (best > 0)
        return own->dscp[best - 1];
    return own->rest;
}

static int set_dscp(const struct mfs_socket *socket, unsigned dscp)
{
    const int byte = (int)(dscp << MFS_DSCP_SHIFT);
    int family;
    socklen_t size = sizeof(family);

    if (!mfs_socket_is_open(socket))
        return -ENOENT;
    if (getsockopt(socket->fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0)
        return -errno;
    if (family == AF_INET6 &&
        setsockopt(socket->fd, IPPROTO_IPV6, IPV6_TCLASS, &byte, sizeof(byte)) != 0)
        return -errno;
    /* of an IPv6 socket: for a peer that has an address of IPv4 */
    if (setsockopt(socket->fd, IPPROTO_IP, IP_TOS, &byte, sizeof(byte)) != 0 && family == AF_INET)
        return -errno;
    return 0;
}

/* What it should have now. */
static int mark(const struct mfs_socket *socket)
{
    const uint32_t has = mfs_get(&noted[socket->place].has);
    const uint64_t wants = mfs_see(&noted[socket->place].wants);
    const unsigned dscp = dscp_of(wants);
    const bool says = (wants & (CLASS_MASK << OWN_SHIFT | CLASS_MASK << ANSWERS_SHIFT | RESTS));
    int error;

    if (has == REFUSED || has == dscp || (has == NO_MARK && !says))
        return 0;
    error = set_dscp(socket, dscp);
    if (error != -ENOENT) /* else the place may be another's by now */
        mfs_set(&noted[socket->place].has, error ? REFUSED : dscp);
    return error;
}

/* See MARKING. */
static int follow(const struct mfs_socket *socket)
{
    _Atomic uint32_t *turns = &noted[socket->place].turns;
    uint32_t come;
    int error = 0;

    if (mfs_bump(turns, 1) != 0)
        return 0;
    do {
        const int now = mark(socket);

        come = mfs_get(turns);
        error = error ? error : now;
    } while (!mfs_replace(turns, &come, 0));
    return error;
}

static int want(const struct mfs_socket *socket, uint64_t mask, uint64_t bits)
{
    _Atomic uint64_t *wants = &noted[socket->place].wants;
    uint64_t before = mfs_see(wants), now;

    do {
        if (before >> COOKIE_SHIFT != socket->cookie << COOKIE_SHIFT >> COOKIE_SHIFT)
            return -ENOENT; /* another socket has its place */
        now = (before & ~mask) | bits;
        if (now == before)
            return 0;
    } while (!mfs_replace(wants, &before, now));
    return follow(socket);
}

int mfs_socket_own(const struct mfs_socket *socket, unsigned class_and_1, bool alone)
{
    return want(socket, CLASS_MASK << OWN_SHIFT | ALONE,
                (uint64_t)class_and_1 << OWN_SHIFT | (alone ? ALONE : 0));
}

int mfs_socket_answers(const struct mfs_socket *socket, unsigned class_and_1)
{
    return want(socket, CLASS_MASK << ANSWERS_SHIFT, (uint64_t)class_and_1 << ANSWERS_SHIFT);
}

int mfs_socket_rest(const struct mfs_socket *socket)
{
    return want(socket, RESTS, RESTS);
}
