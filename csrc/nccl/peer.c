/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nccl/comm.h"
#include "nccl/log.h"

/* What lies in UCX when the socket ends is taken in before requests fail. */
#define GRACE_NS INT64_C(100000000)

void mfs_nccl_own_name(char *name, size_t size)
{
    char host[64] = "?";

    (void)gethostname(host, sizeof(host) - 1);
    snprintf(name, size, "%s pid %d", host, (int)getpid());
}

struct mfs_nccl_peer *mfs_nccl_peer_find(struct mfs_nccl_engine *engine, const unsigned char *uuid)
{
    struct mfs_nccl_peer *peer = engine->peers;

    while (peer && memcmp(peer->uuid, uuid, sizeof(peer->uuid)) != 0)
        peer = peer->next;
    return peer;
}

/* UCX's own word that an endpoint failed; inside progress, so the lock is held. */
static void on_error(void *user, ucp_ep_h ep, ucs_status_t status)
{
    struct mfs_nccl_peer *peer = user;

    (void)ep;
    mfs_nccl_peer_fail(peer, peer->engine->ucx->ucs_status_string(status));
}

/*
 * WHAT ERRORS ARE ASKED FOR: On InfiniBand and RoCE, UCX ends the process over a dead peer
 * unless told to handle errors. Elsewhere it must not be told to: shared memory then has no
 * way at all, and puts over TCP are emulated with messages of 8 KiB (UCX 1.21), at a third
 * of the rate. There a dead peer is known by its socket, and by operations that fail.
 */
static ucs_status_t ep_open(struct mfs_nccl_peer *peer, unsigned channel, const void *address)
{
    struct mfs_nccl_engine *engine = peer->engine;
    ucp_worker_h worker = engine->workers[channel / (engine->channels / engine->classes)];
    const ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER,
        .address = address,
        .err_mode = engine->device->rdma ? UCP_ERR_HANDLING_MODE_PEER : UCP_ERR_HANDLING_MODE_NONE,
        .err_handler = {.cb = on_error, .arg = peer},
    };
    const ucs_status_t status = engine->ucx->ucp_ep_create(worker, &params, &peer->eps[channel]);

    if (status != UCS_OK)
        peer->eps[channel] = NULL;
    return status;
}

struct mfs_nccl_peer *mfs_nccl_peer_make(struct mfs_nccl_engine *engine, const unsigned char *uuid,
                                         const char *name, const void *const *addresses)
{
    const unsigned channels = engine->channels, own = engine->channels / engine->classes;
    struct mfs_nccl_peer *peer;

    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    peer->engine = engine;
    memcpy(peer->uuid, uuid, sizeof(peer->uuid));
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    peer->channels = channels;
    peer->of_a_class = own;
    peer->needs_flush = -1;
    for (int i = 0; i < MFS_NCCL_WATCHES; i++)
        peer->watches[i] = -1;
    for (unsigned channel = 0; channel < channels; channel++) {
        const ucs_status_t status = ep_open(peer, channel, addresses[channel / own]);

        if (status != UCS_OK) {
            mfs_nccl_warn("no way to %s: UCX says %s. Look at UCX_TLS and UCX_NET_DEVICES on both "
                          "sides",
                          name, engine->ucx->ucs_status_string(status));
            peer->channels = channel;
            peer->next = engine->peers; /* ends with the engine, as the others do */
            engine->peers = peer;
            memset(peer->uuid, 0, sizeof(peer->uuid));
            peer->failed = true;
            return NULL;
        }
    }
    peer->next = engine->peers;
    engine->peers = peer;
    return peer;
}

/* --- is it alive? --- */

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

void mfs_nccl_peer_fail(struct mfs_nccl_peer *peer, const char *reason)
{
    struct mfs_nccl_engine *engine = peer->engine;

    if (peer->failed)
        return;
    peer->failed = true;
    memset(peer->uuid, 0, sizeof(peer->uuid)); /* a new connection makes new endpoints */
    if (reason != peer->reason)
        snprintf(peer->reason, sizeof(peer->reason), "%s", reason);
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX && engine->comm_count > 0; i++) {
        if (engine->comms[i] && engine->comms[i]->peer == peer)
            mfs_nccl_comm_fail(engine->comms[i], MFS_NCCL_REMOTE_ERROR, peer->reason);
    }
}

/* --- channels --- */

unsigned mfs_nccl_peer_channel(struct mfs_nccl_peer *peer, unsigned klass)
{
    const unsigned count = peer->of_a_class;
    unsigned best;

    if (count == 1)
        return klass;
    best = klass * count + peer->turn++ % count;
    for (unsigned i = 0; i < count; i++) {
        if (peer->inflight[klass * count + i] < peer->inflight[best])
            best = klass * count + i;
    }
    return best;
}

/* Transports whose puts are complete only when the bytes are in the other side's memory. */
static bool lands(const char *transport)
{
    static const char *const names[] = {"rc",    "dc",   "posix",    "sysv",     "cma", "tcp",
                                        "xpmem", "knem", "cuda_ipc", "gdr_copy", "self"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strncmp(transport, names[i], strlen(names[i])) == 0)
            return true;
    }
    return false;
}

/* -1: an old UCX does not tell. */
static int look_at_transports(struct mfs_nccl_peer *peer)
{
    const struct mfs_nccl_ucx *ucx = peer->engine->ucx;
    ucp_transport_entry_t entries[16];
    ucp_ep_attr_t attributes = {
        .field_mask = UCP_EP_ATTR_FIELD_TRANSPORTS,
        .transports = {.entries = entries,
                       .num_entries = sizeof(entries) / sizeof(entries[0]),
                       .entry_size = sizeof(entries[0])},
    };
    unsigned others = 0;

    if (!ucx->ucp_ep_query || ucx->version < MFS_NCCL_UCX_TELLS_TRANSPORTS ||
        ucx->ucp_ep_query(peer->eps[0], &attributes) != UCS_OK)
        return -1;
    if (attributes.transports.num_entries > sizeof(entries) / sizeof(entries[0]))
        return -1;
    for (unsigned i = 0; i < attributes.transports.num_entries; i++) {
        others += !lands(entries[i].transport_name);
        peer->tcp |= strncmp(entries[i].transport_name, "tcp", 3) == 0;
        mfs_nccl_info("to %s: %s/%s", peer->name, entries[i].transport_name,
                      entries[i].device_name);
    }
    peer->needs_flush = attributes.transports.num_entries == 0 || others > 0;
    if (peer->needs_flush == 1 || (peer->tcp && peer->engine->device->emulates))
        mfs_nccl_info("to %s: puts are flushed", peer->name);
    return peer->needs_flush;
}

/*
 * WHEN A FIN NEEDS NO FLUSH: if all transports of the endpoint land. TCP's put does since UCX
 * 1.10: the receiver acknowledges it when the bytes are in its memory, and complete means
 * acknowledged. But UCX may emulate puts over TCP by active messages (with error handling, its
 * old protocols, or CUDA memory), and such a put is complete when the socket has it. Of others,
 * and of a UCX that does not tell, nothing is known. A flush is worth avoiding: it waits for the
 * puts of later messages too, and only then may NCCL send the next one.
 */
bool mfs_nccl_peer_needs_flush(struct mfs_nccl_peer *peer, bool host)
{
    const int needs = peer->needs_flush >= 0 ? peer->needs_flush : look_at_transports(peer);

    return needs != 0 || (peer->tcp && (peer->engine->device->emulates || !host));
}

void mfs_nccl_peer_flush(struct mfs_nccl_peer *peer, void **requests)
{
    const ucp_request_param_t param = {0};

    for (unsigned channel = 0; channel < peer->channels; channel++) {
        ucs_status_ptr_t result = NULL;

        if (peer->eps[channel])
            result = peer->engine->ucx->ucp_ep_flush_nbx(peer->eps[channel], &param);
        requests[channel] = UCS_PTR_IS_PTR(result) ? result : NULL;
    }
}

void mfs_nccl_peer_close(struct mfs_nccl_peer *peer, bool force, void **requests)
{
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
        .flags = force ? UCP_EP_CLOSE_FLAG_FORCE : 0,
    };

    for (unsigned channel = 0; channel < peer->channels; channel++) {
        ucs_status_ptr_t result = NULL;

        if (peer->eps[channel])
            result = peer->engine->ucx->ucp_ep_close_nbx(peer->eps[channel], &param);
        peer->eps[channel] = NULL;
        requests[channel] = UCS_PTR_IS_PTR(result) ? result : NULL;
    }
}

void mfs_nccl_peer_free(struct mfs_nccl_peer *peer)
{
    for (int i = 0; i < MFS_NCCL_WATCHES; i++) {
        if (peer->watches[i] >= 0)
            close(peer->watches[i]);
    }
    if (peer->to.user)
        mfs_sender_close(peer->engine->sender, &peer->to);
    free(peer);
}
