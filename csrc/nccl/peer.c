/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl/log.h"
#include "nccl/marks.h"

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

/*
 * WHAT ERRORS ARE ASKED FOR: On InfiniBand and RoCE, UCX ends the process over a dead peer
 * unless told to handle errors. Elsewhere it must not be told to: shared memory then has no
 * way at all, and puts over TCP are emulated with messages of 8 KiB (UCX 1.21), at a third
 * of the rate. There a dead peer is known by its socket, and by operations that fail.
 */
static ucs_status_t ep_open(struct mfs_nccl_peer *peer, unsigned channel, const void *address,
                            ucp_err_handler_cb_t on_error)
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
                                         const char *name, const void *const *addresses,
                                         ucp_err_handler_cb_t on_error)
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
        const ucs_status_t status = ep_open(peer, channel, addresses[channel / own], on_error);

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
    mfs_nccl_marks_make(peer);
    peer->next = engine->peers;
    engine->peers = peer;
    return peer;
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
    mfs_nccl_marks_free(peer);
    free(peer);
}
