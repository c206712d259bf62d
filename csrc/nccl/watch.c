/* SPDX-License-Identifier: Apache-2.0 */
/* Does a peer live? Its sockets tell when it ends, and keep-alive probes when its host does. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nccl/comm.h"

/* What lies in UCX when the socket ends is taken in before requests fail. */
#define GRACE_NS INT64_C(100000000)

void mfs_nccl_peer_watch(struct mfs_nccl_peer *peer, int fd)
{
    const int64_t timeout_s = mfs_config_get()->nccl_peer_timeout / 1000000000;
    const int yes = 1, probes = 2, every_s = timeout_s < 6 ? 1 : (int)timeout_s / 6;
    const int idle_s = timeout_s < 4 ? 1 : (int)timeout_s / 2;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = peer};

    for (int i = 0; i < MFS_NCCL_WATCHES; i++) {
        if (peer->watches[i] >= 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
        if (epoll_ctl(peer->engine->watch, EPOLL_CTL_ADD, fd, &event) != 0)
            break;
        peer->watches[i] = fd;
        return;
    }
    close(fd);
}

bool mfs_nccl_peer_watched(const struct mfs_nccl_peer *peer)
{
    return peer->watches[0] >= 0;
}

/* Nobody writes to these sockets any more: what comes is the end. */
static void take_end(struct mfs_nccl_peer *peer, int64_t now_ns)
{
    for (int i = 0; i < MFS_NCCL_WATCHES; i++) {
        char byte;
        ssize_t got;

        if (peer->watches[i] < 0)
            continue;
        got = recv(peer->watches[i], &byte, 1, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (peer->gone_ns == 0)
            peer->gone_ns = now_ns;
        snprintf(peer->reason, sizeof(peer->reason), "%s",
                 got > 0 ? "it broke the protocol (bytes where none are to come)"
                 : got == 0 || errno == ECONNRESET ? "the process has ended or closed its side"
                                                   : strerror(errno));
        close(peer->watches[i]);
        peer->watches[i] = -1;
    }
}

void mfs_nccl_peers_tick(struct mfs_nccl_engine *engine, int64_t now_ns)
{
    struct epoll_event events[16];
    const int count = epoll_wait(engine->watch, events, 16, 0);

    for (int i = 0; i < count; i++)
        take_end(events[i].data.ptr, now_ns);
    for (struct mfs_nccl_peer *peer = engine->peers; peer; peer = peer->next) {
        if (peer->gone_ns != 0 && !peer->failed && now_ns - peer->gone_ns > GRACE_NS) {
            char reason[sizeof(peer->reason)];

            memcpy(reason, peer->reason, sizeof(reason));
            mfs_nccl_peer_fail(peer, reason);
        }
    }
}
