/* SPDX-License-Identifier: Apache-2.0 */
/* The sending side of a connection: see comm.h. How a message ends: finish.c. */
#include <stdlib.h>
#include <string.h>

#include "nccl/comm.h"
#include "nccl/dispatch.h"
#include "nccl/log.h"

#define WANT_NS INT64_C(10000000) /* without a grant: ask, and again */

static struct mfs_nccl_request *slot_of(struct mfs_nccl_comm *comm, uint64_t seq)
{
    return &comm->requests[seq % MFS_NCCL_RING];
}

static bool is_waiting(const struct mfs_nccl_request *request, uint64_t seq)
{
    return mfs_get(&request->state) == MFS_NCCL_BUSY && request->kind == MFS_NCCL_WAITING &&
           request->seq == seq;
}

/* It is larger than the buffer that was posted for it: both sides must know. */
static void refuse(struct mfs_nccl_request *request, uint64_t room)
{
    struct mfs_nccl_comm *comm = request->comm;
    const struct mfs_nccl_header header = {
        .comm = comm->remote_index,
        .generation = comm->remote_generation,
        .seq = request->seq,
        .bytes = request->bytes,
        .flags = MFS_NCCL_HEADER_TOO_LARGE,
    };

    mfs_nccl_warn("isend of %llu bytes to %s: the receiver has posted room for %llu",
                  (unsigned long long)request->bytes, comm->peer->name, (unsigned long long)room);
    request->kind = MFS_NCCL_REFUSED;
    request->sent = true;
    mfs_nccl_wire_send_of(request, 0, MFS_NCCL_WIRE_FIN, &header);
    if (request->inflight == 0)
        mfs_nccl_request_end(request, MFS_NCCL_INVALID_USAGE);
}

static void send_eager(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;

    if (request->seq >= comm->posted + MFS_NCCL_EAGER_AHEAD)
        return;
    request->kind = MFS_NCCL_EAGER;
    mfs_nccl_engine_submit(comm->engine, request);
}

void mfs_nccl_send_try(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;
    const bool small = request->bytes <= comm->eager_bytes;
    struct mfs_nccl_grant *grant;
    bool granted;

    if (!comm->peer)
        return;
    if (small && comm->peer_host_only) { /* no grant is needed: none is looked at */
        send_eager(request);
        return;
    }
    grant = &comm->grants[request->seq % MFS_NCCL_RING];
    granted = grant->seq == request->seq + 1;
    if (granted && request->bytes > grant->bytes) {
        refuse(request, grant->bytes);
    } else if (request->bytes == 0 || (small && granted && grant->host)) {
        send_eager(request);
    } else if (granted) {
        request->kind = MFS_NCCL_PUT;
        memset(request->channel_bytes, 0, comm->engine->channels * sizeof(uint64_t));
        request->remote = grant->at;
        request->host = grant->host && (!request->mr || request->mr->type == MFS_NCCL_PTR_HOST);
        request->key = grant->key;
        grant->key = NULL; /* the reference goes along */
        mfs_nccl_engine_submit(comm->engine, request);
    }
}

mfs_nccl_result_t mfs_nccl_isend(void *send_comm, void *data, size_t size, int tag, void *mhandle,
                                 void *phandle, void **out)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(send_comm, true, "isend");
    struct mfs_nccl_mr *mr = mhandle;
    struct mfs_nccl_request *request;

    (void)tag; /* of one buffer there is nothing to choose */
    (void)phandle;
    *out = NULL;
    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    if (size > MFS_NCCL_MESSAGE_BYTES_MAX) {
        mfs_nccl_warn("isend of %zu bytes: a message has %llu at most", size,
                      (unsigned long long)MFS_NCCL_MESSAGE_BYTES_MAX);
        return MFS_NCCL_INVALID_USAGE;
    }
    if (mr && size > 0 && !mfs_nccl_mr_holds(mr, data, size)) {
        mfs_nccl_warn("isend: [%p, +%zu) does not lie in its registration", data, size);
        return MFS_NCCL_INVALID_ARGUMENT;
    }
    mfs_nccl_lock_take(&comm->engine->lock);
    if (comm->result != MFS_NCCL_OK) {
        const mfs_nccl_result_t result = mfs_nccl_comm_refuse(comm);

        mfs_nccl_lock_give(&comm->engine->lock);
        return result;
    }
    request = slot_of(comm, comm->next_seq);
    if (mfs_see(&request->state) == MFS_NCCL_FREE && request->inflight == 0 && !request->in_list) {
        request->seq = comm->next_seq++;
        request->kind = MFS_NCCL_WAITING;
        request->data = data;
        request->bytes = request->received = size;
        request->sent = false;
        request->stage = 0;
        request->mr = mr;
        if (mr)
            mr->users++;
        mfs_set(&request->state, MFS_NCCL_BUSY);
        mfs_nccl_send_try(request);
        if (request->kind == MFS_NCCL_WAITING)
            request->want_ns = 0;
        if (comm->engine->put_first)
            mfs_nccl_engine_finish_puts(comm->engine);
        *out = request;
    } else {
        mfs_nccl_engine_progress(comm->engine);
    }
    mfs_nccl_lock_give(&comm->engine->lock);
    return MFS_NCCL_OK;
}

/* --- what the receiver says --- */

void mfs_nccl_send_keep_grant(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header,
                              const char *payload, size_t bytes)
{
    const bool fits = comm->early_count < MFS_NCCL_EARLY_MAX && bytes <= MFS_NCCL_KEYS_BYTES_MAX;
    struct mfs_nccl_early *early = fits ? malloc(sizeof(*early) + bytes) : NULL;
    struct mfs_nccl_early **last = &comm->early;

    if (!early) { /* it comes once only */
        mfs_nccl_comm_fail(comm, fits ? MFS_NCCL_SYSTEM_ERROR : MFS_NCCL_REMOTE_ERROR,
                           fits ? "no memory" : "it sent more than it may before it is connected");
        return;
    }
    comm->early_count++;
    early->next = NULL;
    early->header = *header;
    early->bytes = bytes;
    if (bytes > 0)
        memcpy(early->payload, payload, bytes);
    while (*last)
        last = &(*last)->next;
    *last = early;
}

/* Where the message goes. false: the peer has failed. */
static bool grant_take(struct mfs_nccl_comm *comm, struct mfs_nccl_grant *grant,
                       const struct mfs_nccl_header *header, const char *payload, size_t bytes)
{
    struct mfs_nccl_key *key = NULL;

    if (header->mr) {
        key = mfs_nccl_key_of(comm, header, payload, bytes);
        if (!key) {
            mfs_nccl_wire_refuse(comm, MFS_NCCL_WIRE_GRANT, "memory whose keys are of no use here");
            return false;
        }
        if (header->at > key->size || header->bytes > key->size - header->at) {
            mfs_nccl_key_put(comm, key);
            mfs_nccl_wire_refuse(comm, MFS_NCCL_WIRE_GRANT, "a place outside of its registration");
            return false;
        }
    }
    mfs_nccl_key_put(comm, grant->key); /* of a message that went eager */
    *grant = (struct mfs_nccl_grant){
        .seq = header->seq + 1,
        .bytes = header->bytes,
        .at = key ? key->base + header->at : 0,
        .key = key,
        .host = header->flags & MFS_NCCL_HEADER_HOST,
    };
    return true;
}

void mfs_nccl_send_on_grant(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header,
                            const char *payload, size_t bytes)
{
    const uint64_t before = comm->posted;
    struct mfs_nccl_grant *grant = &comm->grants[header->seq % MFS_NCCL_RING];

    if (header->posted > comm->posted)
        comm->posted = header->posted;
    if (header->flags & MFS_NCCL_HEADER_PLACE && grant->seq < header->seq + 1) {
        if (!grant_take(comm, grant, header, payload, bytes))
            return;
        if (is_waiting(slot_of(comm, header->seq), header->seq))
            mfs_nccl_send_try(slot_of(comm, header->seq));
    }
    for (uint64_t seq = before; seq < comm->posted; seq++) { /* small ones that may go now */
        struct mfs_nccl_request *request = slot_of(comm, seq + MFS_NCCL_EAGER_AHEAD);

        if (is_waiting(request, seq + MFS_NCCL_EAGER_AHEAD))
            mfs_nccl_send_try(request);
    }
}

/* A message that has been posted room for without a grant is found out by asking. */
void mfs_nccl_send_tick(struct mfs_nccl_comm *comm, int64_t now_ns)
{
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        struct mfs_nccl_request *request = &comm->requests[i];
        const struct mfs_nccl_header header = {
            .comm = comm->remote_index,
            .generation = comm->remote_generation,
            .seq = request->seq,
            .bytes = request->bytes,
        };

        if (!comm->peer || !is_waiting(request, request->seq) ||
            now_ns - request->want_ns < WANT_NS)
            continue;
        if (request->want_ns != 0)
            mfs_nccl_wire_send(comm->peer, 0, MFS_NCCL_WIRE_WANT, &header, NULL, 0);
        request->want_ns = now_ns;
    }
}
