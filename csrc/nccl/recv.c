/* SPDX-License-Identifier: Apache-2.0 */
/* The receiving side of a connection: see comm.h. */
#include <stdlib.h>
#include <string.h>

#include "nccl/comm.h"
#include "nccl/log.h"

static struct mfs_nccl_request *posted(struct mfs_nccl_comm *comm, uint64_t seq)
{
    struct mfs_nccl_request *request = &comm->requests[seq % MFS_NCCL_RING];

    return mfs_get(&request->state) == MFS_NCCL_BUSY && request->seq == seq ? request : NULL;
}

/*
 * LINES: Readers of NCCL's low-latency protocols poll flags inside the buffer: one in every
 * 8 bytes, or one at the end of every 128. So words are stored once, in ascending order, and
 * the last of each line after all before it.
 */
static void copy_ascending(char *to, const char *from, size_t bytes)
{
    for (; bytes > 0 && (uintptr_t)to % 8 != 0; bytes--)
        mfs_set_in(to++, *from++);
    for (; bytes >= 8; bytes -= 8, to += 8, from += 8) {
        uint64_t word;

        memcpy(&word, from, sizeof(word));
        if ((uintptr_t)to % 128 == 120)
            mfs_publish_in((uint64_t *)(void *)to, word);
        else
            mfs_set_in((uint64_t *)(void *)to, word);
    }
    for (; bytes > 0; bytes--)
        mfs_publish_in(to++, *from++);
}

static void too_large(struct mfs_nccl_request *request, uint64_t bytes)
{
    mfs_nccl_warn("irecv of %llu bytes from %s: %llu were sent", (unsigned long long)request->bytes,
                  request->comm->peer->name, (unsigned long long)bytes);
    mfs_nccl_request_end(request, MFS_NCCL_INVALID_USAGE);
}

static void arrive(struct mfs_nccl_request *request, const char *data, uint64_t bytes)
{
    if (bytes > request->bytes) {
        too_large(request, bytes);
        return;
    }
    copy_ascending(request->data, data, bytes);
    request->received = bytes;
    mfs_nccl_request_end(request, MFS_NCCL_OK);
}

/* --- what the sender says --- */

/* The number whose lower half that is, nearest to `number`. */
static uint64_t near_by(uint64_t number, uint32_t half)
{
    return number + (uint64_t)(int64_t)(int32_t)(half - (uint32_t)number);
}

/* What is wrong with a small message; NULL: nothing. */
static const char *eager_wrong(const struct mfs_nccl_comm *comm,
                               const struct mfs_nccl_request *request, uint64_t seq, size_t bytes)
{
    const struct mfs_nccl_mr *mr = request ? request->mr : NULL;

    if (bytes > comm->eager_bytes)
        return "more bytes than a small message has";
    if (bytes > 0 && (request ? mr && mr->type != MFS_NCCL_PTR_HOST : comm->engine->device->cuda))
        return "a small message for memory that takes none";
    if (request)
        return NULL;
    if (seq < comm->next_seq || seq >= comm->next_seq + MFS_NCCL_EAGER_AHEAD)
        return "a message further than it can be";
    return comm->is_unexpected >> seq % MFS_NCCL_RING & 1 ? "a message twice" : NULL;
}

void mfs_nccl_recv_on_eager(struct mfs_nccl_comm *comm, const struct mfs_nccl_eager_header *header,
                            const char *data, size_t bytes)
{
    const uint64_t seq = near_by(comm->next_seq, header->seq);
    struct mfs_nccl_unexpected *cell;
    struct mfs_nccl_request *request;
    const char *wrong;

    if (comm->result != MFS_NCCL_OK)
        return;
    request = posted(comm, seq);
    wrong = comm->sender ? "this side sends" : eager_wrong(comm, request, seq, bytes);
    if (wrong) {
        mfs_nccl_wire_refuse(comm, MFS_NCCL_WIRE_EAGER, wrong);
        return;
    }
    if (request) {
        arrive(request, data, bytes);
        return;
    }
    cell = &comm->unexpected[seq % MFS_NCCL_RING];
    if (bytes > 0 && !cell->data)
        cell->data = malloc(comm->eager_bytes);
    if (bytes > 0 && !cell->data) {
        mfs_nccl_comm_fail(comm, MFS_NCCL_SYSTEM_ERROR, "no memory");
        return;
    }
    if (bytes > 0)
        memcpy(cell->data, data, bytes);
    cell->bytes = bytes;
    comm->is_unexpected |= UINT64_C(1) << seq % MFS_NCCL_RING;
}

void mfs_nccl_recv_on_fin(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header)
{
    struct mfs_nccl_request *request = posted(comm, header->seq);

    if (!request)
        return;
    if (header->flags & MFS_NCCL_HEADER_TOO_LARGE) {
        too_large(request, header->bytes);
        return;
    }
    request->received += header->at;
    if (request->received >= header->bytes)
        mfs_nccl_request_end(request, MFS_NCCL_OK);
}

void mfs_nccl_recv_on_close(struct mfs_nccl_comm *comm, uint64_t seq)
{
    comm->closes++;
    comm->closed_at = seq;
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        struct mfs_nccl_request *request = posted(comm, comm->requests[i].seq);

        if (request == &comm->requests[i] && request->seq >= seq)
            mfs_nccl_request_end(request, MFS_NCCL_REMOTE_ERROR);
    }
}

/* --- grants --- */

static void grant(struct mfs_nccl_request *request)
{
    struct mfs_nccl_comm *comm = request->comm;
    const struct mfs_nccl_mr *mr = request->mr && request->mr->size > 0 ? request->mr : NULL;
    struct mfs_nccl_header header = {
        .comm = comm->remote_index,
        .generation = comm->remote_generation,
        .seq = request->seq,
        .bytes = request->bytes,
        .at = mr && request->bytes > 0 ? (uint64_t)(request->data - mr->data) : 0,
        .posted = comm->next_seq,
        .mr = mr ? mr->id : 0,
        .flags = MFS_NCCL_HEADER_PLACE,
    };
    char payload[MFS_NCCL_KEYS_BYTES_MAX];
    size_t bytes = 0;

    if (!mr || mr->type == MFS_NCCL_PTR_HOST)
        header.flags |= MFS_NCCL_HEADER_HOST;
    if (mr && comm->sent_keys[mr->id % MFS_NCCL_KEYS] != mr->id) {
        bytes = mfs_nccl_keys_pack(mr, comm->engine->classes, payload);
        if (bytes == 0) {
            mfs_nccl_comm_fail(comm, MFS_NCCL_INTERNAL_ERROR, "its memory has too long a key");
            return;
        }
        header.digest = mfs_nccl_payload_digest(payload, bytes);
        header.flags |= MFS_NCCL_HEADER_KEYS;
        comm->sent_keys[mr->id % MFS_NCCL_KEYS] = mr->id;
    }
    request->granted = true;
    comm->posted = comm->next_seq;
    mfs_nccl_wire_send(comm->peer, 0, MFS_NCCL_WIRE_GRANT, &header, payload, bytes);
}

/* Small receives need no grant, but the sender must know how far it may go. */
static void tell_posted(struct mfs_nccl_comm *comm)
{
    const struct mfs_nccl_header header = {
        .comm = comm->remote_index,
        .generation = comm->remote_generation,
        .posted = comm->next_seq,
    };

    comm->posted = comm->next_seq;
    mfs_nccl_wire_send(comm->peer, 0, MFS_NCCL_WIRE_GRANT, &header, NULL, 0);
}

/* Without memory to put into, the sender only learns how much room there is. */
void mfs_nccl_recv_on_want(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header)
{
    struct mfs_nccl_request *request = posted(comm, header->seq);

    if (request && !request->granted)
        grant(request);
    else
        tell_posted(comm);
}

/* --- irecv --- */

/* What the memory's registration is: NCCL's, or one of our own for this message. */
static mfs_nccl_result_t register_for(struct mfs_nccl_request *request, struct mfs_nccl_mr *mr)
{
    struct mfs_nccl_comm *comm = request->comm;
    mfs_nccl_result_t result;

    request->own_mr = false;
    if (!mr && request->bytes > comm->eager_bytes) {
        result = mfs_nccl_mr_make(comm->engine->device, request->data, request->bytes,
                                  MFS_NCCL_PTR_HOST, &mr);
        if (result != MFS_NCCL_OK)
            return result;
        request->own_mr = true;
    }
    request->mr = mr;
    if (mr)
        mr->users++;
    return MFS_NCCL_OK;
}

static mfs_nccl_result_t post(struct mfs_nccl_comm *comm, void *data, size_t size,
                              struct mfs_nccl_mr *mr, struct mfs_nccl_request *request)
{
    const uint64_t bit = UINT64_C(1) << comm->next_seq % MFS_NCCL_RING;
    mfs_nccl_result_t result;

    request->kind = MFS_NCCL_RECV;
    request->data = data;
    request->bytes = size;
    request->received = 0;
    request->granted = false;
    request->seq = comm->next_seq;
    result = register_for(request, mr);
    if (result != MFS_NCCL_OK)
        return result;
    comm->next_seq++;
    mfs_set(&request->state, MFS_NCCL_BUSY);
    if (comm->is_unexpected & bit) {
        const struct mfs_nccl_unexpected *early = &comm->unexpected[request->seq % MFS_NCCL_RING];

        comm->is_unexpected &= ~bit;
        arrive(request, early->data, early->bytes);
    } else if (request->seq >= comm->closed_at) {
        mfs_nccl_request_end(request, MFS_NCCL_REMOTE_ERROR);
    } else if (size > comm->eager_bytes || comm->engine->device->cuda) {
        grant(request);
    }
    if (comm->next_seq - comm->posted >= MFS_NCCL_EAGER_AHEAD / 2)
        tell_posted(comm);
    return MFS_NCCL_OK;
}

mfs_nccl_result_t mfs_nccl_irecv(void *recv_comm, int n, void **data, size_t *sizes, int *tags,
                                 void **mhandles, void **phandles, void **out)
{
    struct mfs_nccl_comm *comm = mfs_nccl_comm_check(recv_comm, false, "irecv");
    struct mfs_nccl_mr *mr = mhandles ? mhandles[0] : NULL;
    mfs_nccl_result_t result = MFS_NCCL_OK;
    struct mfs_nccl_request *request;

    (void)tags;
    (void)phandles;
    *out = NULL;
    if (!comm)
        return MFS_NCCL_INTERNAL_ERROR;
    if (n != 1) {
        mfs_nccl_warn("irecv of %d buffers: one at a time (maxRecvs is 1)", n);
        return MFS_NCCL_INVALID_USAGE;
    }
    if (mr && sizes[0] > 0 && !mfs_nccl_mr_holds(mr, data[0], sizes[0])) {
        mfs_nccl_warn("irecv: [%p, +%zu) does not lie in its registration", data[0], sizes[0]);
        return MFS_NCCL_INVALID_ARGUMENT;
    }
    mfs_nccl_lock_take(&comm->engine->lock);
    request = &comm->requests[comm->next_seq % MFS_NCCL_RING];
    if (comm->result != MFS_NCCL_OK) {
        result = mfs_nccl_comm_refuse(comm);
    } else if (mfs_see(&request->state) != MFS_NCCL_FREE) {
        mfs_nccl_engine_progress(comm->engine);
    } else {
        result = post(comm, data[0], sizes[0], mr, request);
        if (result == MFS_NCCL_OK)
            *out = request;
    }
    mfs_nccl_lock_give(&comm->engine->lock);
    return result;
}
