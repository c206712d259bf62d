/* SPDX-License-Identifier: Apache-2.0 */
/* What a message may say: see wire.h. A rule says what is wrong, in words that end "it sent a
 * GRANT: ...". */
#include <stdbool.h>

#include "core/atomic.h"
#include "nccl/comm.h"

uint64_t mfs_nccl_digest(uint64_t from, const void *data, size_t bytes)
{
    const unsigned char *at = data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ from;

    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

uint32_t mfs_nccl_payload_digest(const void *data, size_t bytes)
{
    const uint64_t hash = mfs_nccl_digest(0, data, bytes);

    return bytes > 0 ? (uint32_t)(hash ^ hash >> 32) : 0;
}

/* --- what the receiver says to the sender --- */

static const char *grant_wrong(const struct mfs_nccl_comm *comm,
                               const struct mfs_nccl_header *header, const void *data, size_t bytes)
{
    const bool keys = header->flags & MFS_NCCL_HEADER_KEYS;
    const bool place = header->flags & MFS_NCCL_HEADER_PLACE;

    if (!comm->sender)
        return "this side receives";
    if (header->flags & ~(MFS_NCCL_HEADER_KEYS | MFS_NCCL_HEADER_PLACE | MFS_NCCL_HEADER_HOST))
        return "a flag that we do not know";
    /* a receive whose slot is free again had a message that we have sent */
    if (header->posted > comm->next_seq + MFS_NCCL_RING)
        return "more receives than there can be";
    if (!place && (header->flags || header->seq || header->bytes || header->at || header->mr))
        return "a place, and none";
    if (place && header->seq >= header->posted)
        return "a place for a message beyond its receives";
    if (keys != (bytes > 0) || bytes > MFS_NCCL_KEYS_BYTES_MAX || (keys && header->mr == 0))
        return "keys of a length that cannot be";
    if (header->mr == 0 && (header->at != 0 || header->bytes > comm->eager_bytes ||
                            (place && !(header->flags & MFS_NCCL_HEADER_HOST))))
        return "a place in no memory";
    if (header->digest != mfs_nccl_payload_digest(data, bytes))
        return "keys that are not as they were written";
    return NULL;
}

static const char *revoke_wrong(const struct mfs_nccl_comm *comm,
                                const struct mfs_nccl_header *header, size_t bytes)
{
    if (!comm->sender)
        return "this side receives";
    if (header->flags & ~MFS_NCCL_HEADER_ANSWER)
        return "a flag that we do not know";
    return bytes > 0 ? "bytes that belong to nothing" : NULL;
}

/* --- what the sender says to the receiver --- */

/* How far a sender can be: what waits for its place, and small ones that were sent ahead. */
static uint64_t sender_limit(const struct mfs_nccl_comm *comm)
{
    return comm->next_seq + MFS_NCCL_RING + MFS_NCCL_EAGER_AHEAD;
}

static const char *fin_wrong(const struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header)
{
    const struct mfs_nccl_request *request = &comm->requests[header->seq % MFS_NCCL_RING];

    if (header->flags & ~MFS_NCCL_HEADER_TOO_LARGE)
        return "a flag that we do not know";
    if (header->seq >= comm->next_seq)
        return "the end of a message that was not asked for";
    if (mfs_get(&request->state) != MFS_NCCL_BUSY || request->seq != header->seq)
        return NULL; /* over already: nobody looks at it */
    if (!request->granted)
        return "the end of a message that has no place";
    if (header->flags & MFS_NCCL_HEADER_TOO_LARGE)
        return header->bytes > request->bytes ? NULL : "too large, and it is not";
    if (header->bytes > request->bytes || header->bytes > MFS_NCCL_MESSAGE_BYTES_MAX)
        return "more bytes than there is room for";
    if (header->at > header->bytes || request->received > header->bytes - header->at)
        return "more bytes than the message has";
    return header->at > 0 ? NULL : "the end of nothing";
}

static const char *from_sender_wrong(const struct mfs_nccl_comm *comm, unsigned id,
                                     const struct mfs_nccl_header *header, size_t bytes)
{
    if (comm->sender)
        return "this side sends";
    if (bytes > 0)
        return "bytes that belong to nothing";
    if (id == MFS_NCCL_WIRE_FIN)
        return fin_wrong(comm, header);
    if (header->flags)
        return "a flag that we do not know";
    if (header->seq > sender_limit(comm))
        return "a message further than it can be";
    if (id != MFS_NCCL_WIRE_CLOSE)
        return NULL;
    if (comm->closes >= comm->peer->channels)
        return "its end once more";
    return comm->closes > 0 && header->seq != comm->closed_at ? "another end than before" : NULL;
}

const char *mfs_nccl_wire_wrong(const struct mfs_nccl_comm *comm, unsigned id,
                                const struct mfs_nccl_header *header, const void *data,
                                size_t bytes)
{
    switch (id) {
    case MFS_NCCL_WIRE_GRANT:
        return grant_wrong(comm, header, data, bytes);
    case MFS_NCCL_WIRE_REVOKE:
        return revoke_wrong(comm, header, bytes);
    case MFS_NCCL_WIRE_FIN:
    case MFS_NCCL_WIRE_WANT:
    case MFS_NCCL_WIRE_CLOSE:
    case MFS_NCCL_WIRE_REVOKED:
        return from_sender_wrong(comm, id, header, bytes);
    default:
        return "a kind of message that we do not know";
    }
}
