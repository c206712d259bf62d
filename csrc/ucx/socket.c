/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/socket.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "core/atomic.h"
#include "host/classes.h"

/* The descriptor is written behind the cookie. Who reads an old one beside a new cookie sees that
 * they do not belong together. Two threads that take a place of a closed one at the same moment may
 * both lose it: then those sockets are not marked. */
static struct {
    _Atomic uint64_t cookie; /* 0: free */
    _Atomic int fd;
} noted[MFS_UCX_SOCKETS_MAX];
static _Atomic unsigned noted_count; /* places that have ever been used */

/* 0: it is no socket any more. */
static uint64_t cookie_of(int fd)
{
    uint64_t cookie;
    socklen_t size = sizeof(cookie);

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 ? cookie : 0;
}

static bool is_open(const struct mfs_ucx_socket *socket)
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

static struct mfs_ucx_socket noted_at(unsigned at)
{
    return (struct mfs_ucx_socket){mfs_see(&noted[at].cookie), mfs_get(&noted[at].fd)};
}

static bool take(unsigned at, uint64_t before, int fd, uint64_t cookie)
{
    if (!mfs_replace(&noted[at].cookie, &before, cookie))
        return false;
    mfs_publish(&noted[at].fd, fd);
    return true;
}

/* A place for it. */
static int note(int fd, uint64_t cookie)
{
    unsigned count = mfs_see(&noted_count);

    for (unsigned at = 0; at < count; at++) {
        const struct mfs_ucx_socket before = noted_at(at);

        if (before.cookie == cookie)
            return 0;
        if (!is_open(&before) && take(at, before.cookie, fd, cookie))
            return 0;
    }
    while (count < MFS_UCX_SOCKETS_MAX) {
        if (!mfs_replace(&noted_count, &count, count + 1))
            continue; /* count is what another thread made it */
        if (take(count, 0, fd, cookie))
            return 0;
        count++; /* another thread took a place that was not used yet */
    }
    return -ENOSPC;
}

int mfs_ucx_socket_note(int fd, struct mfs_ucx_socket *socket)
{
    const uint64_t cookie = cookie_of(fd);
    uint64_t bytes;
    int error;

    if (cookie == 0 || !given(fd, &bytes))
        return -ENOTSUP;
    error = note(fd, cookie);
    if (!error)
        *socket = (struct mfs_ucx_socket){cookie, fd};
    return error;
}

bool mfs_ucx_socket_any(void)
{
    return mfs_see(&noted_count) > 0;
}

void mfs_ucx_sockets_look(struct mfs_ucx_sockets *sockets)
{
    const unsigned count = mfs_see(&noted_count);

    sockets->count = 0;
    for (unsigned at = 0; at < count; at++) {
        const struct mfs_ucx_socket socket = noted_at(at);

        if (!is_open(&socket) || !given(socket.fd, &sockets->at[sockets->count].bytes))
            continue;
        sockets->at[sockets->count++].socket = socket;
    }
}

struct mfs_ucx_socket mfs_ucx_sockets_grown(const struct mfs_ucx_sockets *before, uint64_t bytes)
{
    struct mfs_ucx_socket found = {0};

    for (unsigned i = 0; i < before->count; i++) {
        uint64_t now;

        if (!given(before->at[i].socket.fd, &now) || now - before->at[i].bytes < bytes)
            continue;
        if (found.cookie != 0)
            return (struct mfs_ucx_socket){0};
        found = before->at[i].socket;
    }
    return is_open(&found) ? found : (struct mfs_ucx_socket){0};
}

int mfs_ucx_socket_mark(const struct mfs_ucx_socket *socket, unsigned dscp)
{
    const int byte = (int)(dscp << MFS_DSCP_SHIFT);
    int family;
    socklen_t size = sizeof(family);

    if (!is_open(socket))
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
