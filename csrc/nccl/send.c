/* SPDX-License-Identifier: Apache-2.0 */
/* The sending side of a connection: see comm.h. */
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
    return atomic_load_explicit(&request->state, memory_order_relaxed) == MFS_NCCL_BUSY &&
           request->kind == MFS_NCCL_WAITING && request->seq == seq;
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

void mfs_nccl_send_try(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;
    struct mfs_nccl_grant *grant = &comm->grants[request->seq % MFS_NCCL_RING];
    const bool granted = grant->seq == request->seq + 1;
    const bool small = request->bytes <= comm->eager_bytes;

    if (!comm->peer)
        return;
    if (granted && request->bytes > grant->bytes) {
        refuse(request, grant->bytes);
    } else if (request->bytes == 0 ||
               (small && (comm->peer_host_only || (granted && grant->host)))) {
        if (request->seq >= comm->posted + MFS_NCCL_EAGER_AHEAD)
            return;
        request->kind = MFS_NCCL_EAGER;
        mfs_nccl_engine_submit(comm->engine, request);
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
    if (mr && size > 0 && !mfs_nccl_mr_holds(mr, data, size)) {
        mfs_nccl_warn("isend: [%p, +%zu) does not lie in its registration", data, size);
        return MFS_NCCL_INVALID_ARGUMENT;
    }
    pthread_mutex_lock(&comm->engine->mutex);
    if (comm->result != MFS_NCCL_OK) {
        pthread_mutex_unlock(&comm->engine->mutex);
        return comm->result;
    }
    request = slot_of(comm, comm->next_seq);
    if (atomic_load_explicit(&request->state, memory_order_acquire) == MFS_NCCL_FREE &&
        request->inflight == 0 && !request->in_list) {
        request->seq = comm->next_seq++;
        request->kind = MFS_NCCL_WAITING;
        request->data = data;
        request->bytes = request->received = size;
        request->sent = false;
        request->want_ns = 0;
        request->stage = 0;
        request->mr = mr;
        if (mr)
            mr->users++;
        atomic_store_explicit(&request->state, MFS_NCCL_BUSY, memory_order_relaxed);
        mfs_nccl_send_try(request);
        if (comm->engine->put_first)
            mfs_nccl_engine_finish_puts(comm->engine);
        *out = request;
    } else {
        mfs_nccl_engine_progress(comm->engine);
    }
    pthread_mutex_unlock(&comm->engine->mutex);
    return MFS_NCCL_OK;
}

/*
 * THE END OF A MESSAGE:  all put -> flush, unless puts land by themselves -> FIN -> done
 *
 * The flush is for order: FIN must not overtake a put. Over TCP it is for the end as well:
 * when test() has said "done", NCCL may make no more calls for a long time, so no FIN may be
 * left in front of a socket that is full. When the puts have landed the receiver has read all of
 * the message, and there is room, unless another one is on its way, and then there will be calls.
 * The same holds for a small message. (FIN first and the flush behind it does not do: UCX flushes
 * what it does not know to be read by asking the receiver, and that one has its message and may
 * make no calls any more.)
 */
static void over(struct mfs_nccl_request *request);

static void fins(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;

    for (unsigned channel = 0; channel < comm->peer->channels; channel++) {
        const struct mfs_nccl_header header = {
            .comm = comm->remote_index,
            .generation = comm->remote_generation,
            .seq = request->seq,
            .bytes = request->bytes,
            .at = request->channel_bytes[channel],
        };

        if (header.at > 0)
            mfs_nccl_wire_send_of(request, channel, MFS_NCCL_WIRE_FIN, &header);
    }
}

static void flush_over(struct mfs_nccl_request *request, ucs_status_t status)
{
    struct mfs_nccl_comm *comm = request->comm;

    request->inflight--;
    comm->inflight--;
    if (status != UCS_OK)
        mfs_nccl_peer_fail(comm->peer, comm->engine->ucx->ucs_status_string(status));
    else if (request->inflight == 0 &&
             atomic_load_explicit(&request->state, memory_order_relaxed) == MFS_NCCL_BUSY)
        over(request);
    mfs_nccl_send_settle(comm);
}

static void on_flushed(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_request *request = user;
    const struct mfs_nccl_ucx *ucx = request->comm->engine->ucx;

    flush_over(request, status);
    ucx->ucp_request_free(ucx_request);
}

static void flush(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = on_flushed,
        .user_data = request,
    };

    request->inflight++; /* not over before all are begun */
    comm->inflight++;
    for (unsigned channel = 0; channel < comm->peer->channels && !comm->peer->failed; channel++) {
        ucs_status_ptr_t result;

        if (request->channel_bytes[channel] == 0)
            continue;
        result = comm->engine->ucx->ucp_ep_flush_nbx(comm->peer->eps[channel], &param);
        request->inflight += UCS_PTR_IS_PTR(result);
        comm->inflight += UCS_PTR_IS_PTR(result);
        if (UCS_PTR_IS_ERR(result))
            mfs_nccl_peer_fail(comm->peer,
                               comm->engine->ucx->ucs_status_string(UCS_PTR_STATUS(result)));
    }
    flush_over(request, UCS_OK);
}

/* What is next, with nothing of the request in flight. */
static void over(struct mfs_nccl_request *request)
{
    const unsigned stage = request->stage++;

    if (request->kind == MFS_NCCL_PUT && stage == 0 &&
        mfs_nccl_peer_needs_flush(request->comm->peer, request->host)) {
        flush(request);
        return;
    }
    if (request->kind == MFS_NCCL_PUT && stage <= 1) {
        request->stage = 2;
        fins(request);
        if (request->inflight > 0)
            return; /* UCX has not sent them yet: comes back here */
    }
    mfs_nccl_request_end(request,
                         request->kind == MFS_NCCL_REFUSED ? MFS_NCCL_INVALID_USAGE : MFS_NCCL_OK);
}

/* UCX is done with all chunks (or the eager message) of a request. */
void mfs_nccl_send_all_put(struct mfs_nccl_request *request)
{
    if (atomic_load_explicit(&request->state, memory_order_relaxed) == MFS_NCCL_BUSY)
        over(request);
    mfs_nccl_send_settle(request->comm);
}

/* --- what the receiver says --- */

/* The keys of a registration, one after another: bytes (16 bit) and the key, for each class. */
static struct mfs_nccl_key *key_unpack(struct mfs_nccl_comm *comm, uint64_t id, const char *payload,
                                       size_t bytes)
{
    const unsigned each = comm->engine->channels / comm->engine->classes;
    struct mfs_nccl_key *key = calloc(1, sizeof(*key));
    const char *end = payload + bytes;

    for (unsigned klass = 0; key && klass < comm->engine->classes; klass++) {
        uint16_t length = 0;

        if (end - payload >= (ptrdiff_t)sizeof(length))
            memcpy(&length, payload, sizeof(length));
        payload += sizeof(length);
        for (unsigned i = 0; i < each; i++) {
            const unsigned channel = klass * each + i;
            const ucs_status_t status =
                length == 0 || length > end - payload
                    ? UCS_ERR_INVALID_PARAM
                    : comm->engine->ucx->ucp_ep_rkey_unpack(comm->peer->eps[channel], payload,
                                                            &key->rkeys[channel]);

            if (status != UCS_OK) {
                key->rkeys[channel] = NULL;
                mfs_nccl_peer_fail(comm->peer, "its memory's key is of no use here");
                free(key);
                return NULL;
            }
        }
        payload += length;
    }
    if (key) {
        key->id = id;
        key->refs = 1;
    }
    return key;
}

static struct mfs_nccl_key *key_of(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header,
                                   const char *payload, size_t bytes)
{
    struct mfs_nccl_key **cell = &comm->keys[header->mr % MFS_NCCL_KEYS];

    if (header->flags & MFS_NCCL_HEADER_KEYS) {
        struct mfs_nccl_key *key = key_unpack(comm, header->mr, payload, bytes);

        if (!key)
            return NULL;
        mfs_nccl_key_put(comm, *cell);
        *cell = key;
    }
    if (!*cell || (*cell)->id != header->mr)
        return NULL;
    (*cell)->refs++;
    return *cell;
}

static void keep_for_later(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header,
                           const char *payload, size_t bytes)
{
    struct mfs_nccl_early *early = malloc(sizeof(*early) + bytes), **last = &comm->early;

    if (!early)
        return; /* the sender will ask with WANT */
    early->next = NULL;
    early->header = *header;
    early->bytes = bytes;
    if (bytes > 0)
        memcpy(early->payload, payload, bytes);
    while (*last)
        last = &(*last)->next;
    *last = early;
}

void mfs_nccl_send_on_grant(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header,
                            const char *payload, size_t bytes)
{
    const uint64_t before = comm->posted;
    struct mfs_nccl_grant *grant = &comm->grants[header->seq % MFS_NCCL_RING];

    if (!comm->sender || comm->result != MFS_NCCL_OK)
        return;
    if (!comm->peer) {
        keep_for_later(comm, header, payload, bytes);
        return;
    }
    if (header->posted > comm->posted)
        comm->posted = header->posted;
    if (header->flags & MFS_NCCL_HEADER_PLACE && grant->seq != header->seq + 1) {
        mfs_nccl_key_put(comm, grant->key); /* of a message that went eager */
        *grant = (struct mfs_nccl_grant){
            .seq = header->seq + 1,
            .bytes = header->bytes,
            .at = header->at,
            .key = header->mr ? key_of(comm, header, payload, bytes) : NULL,
            .host = header->flags & MFS_NCCL_HEADER_HOST,
        };
        if (header->mr && !grant->key)
            mfs_nccl_peer_fail(comm->peer, "it refers to memory that we do not know");
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

void mfs_nccl_send_on_revoke(struct mfs_nccl_comm *comm, bool answer)
{
    if (!comm->sender)
        return;
    comm->revoke_asked |= answer;
    mfs_nccl_comm_fail(comm, MFS_NCCL_REMOTE_ERROR, "it has closed the connection");
    mfs_nccl_send_settle(comm);
}

static void on_landed(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_comm *comm = user;
    const struct mfs_nccl_ucx *ucx = comm->engine->ucx;

    comm->inflight--;
    if (status != UCS_OK && status != UCS_ERR_CANCELED)
        mfs_nccl_peer_fail(comm->peer, ucx->ucs_status_string(status));
    mfs_nccl_send_settle(comm);
    ucx->ucp_request_free(ucx_request);
}

bool mfs_nccl_send_landed(struct mfs_nccl_comm *comm)
{
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = on_landed,
        .user_data = comm,
    };

    if (comm->inflight > 0)
        return false;
    if (comm->flushed || !comm->has_put || comm->peer->failed ||
        !mfs_nccl_peer_needs_flush(comm->peer, !comm->has_put_cuda))
        return true;
    comm->flushed = true;
    for (unsigned channel = 0; channel < comm->peer->channels; channel++) {
        ucs_status_ptr_t result =
            comm->engine->ucx->ucp_ep_flush_nbx(comm->peer->eps[channel], &param);

        comm->inflight += UCS_PTR_IS_PTR(result);
    }
    return comm->inflight == 0;
}

static void say_to_all(struct mfs_nccl_comm *comm, unsigned id, uint64_t seq)
{
    const struct mfs_nccl_header header = {
        .comm = comm->remote_index,
        .generation = comm->remote_generation,
        .seq = seq,
    };

    for (unsigned channel = 0; channel < comm->peer->channels; channel++)
        mfs_nccl_wire_send(comm->peer, channel, id, &header, NULL, 0);
}

/* Nothing of ours is on its way any more: the receiver may have its memory back. */
void mfs_nccl_send_settle(struct mfs_nccl_comm *comm)
{
    if (!comm->revoke_asked || comm->revoke_answered || !mfs_nccl_send_landed(comm))
        return;
    comm->revoke_answered = true;
    say_to_all(comm, MFS_NCCL_WIRE_REVOKED, 0);
}

mfs_nccl_result_t mfs_nccl_close_send(void *send_comm)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(send_comm, true, "closeSend");
    struct mfs_nccl_engine *engine;

    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    engine = comm->engine;
    pthread_mutex_lock(&engine->mutex);
    mfs_nccl_comm_quiesce(comm, NULL);
    if (comm->peer) {
        mfs_nccl_send_settle(comm);
        say_to_all(comm, MFS_NCCL_WIRE_CLOSE,
                   comm->lost < comm->next_seq ? comm->lost : comm->next_seq);
        mfs_nccl_comm_drain(comm);
    }
    mfs_nccl_comm_free(comm);
    pthread_mutex_unlock(&engine->mutex);
    return MFS_NCCL_OK;
}
