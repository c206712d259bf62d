/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What crosses the wire between two engines once they know each other, and what of it is
 * believed. All numbers, no pointers: memory is named by a registration and an offset in it.
 *
 *   EAGER   12 bytes and the message      sender to receiver
 *   others  struct mfs_nccl_header, and with a GRANT the keys of a registration
 *
 * WHAT IS BELIEVED: nothing. mfs_nccl_wire_wrong() holds every field against what this side
 * knows: which numbers of messages can be meant, how much room there is, which flags exist. A
 * message that does not fit fails all connections with that peer. What UCX packs by itself
 * (addresses, keys) is not understood here; a digest tells whether it is as it was written.
 */
#ifndef MFS_NCCL_WIRE_H
#define MFS_NCCL_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define MFS_NCCL_WIRE_VERSION 3u
#define MFS_NCCL_RING 64u        /* messages of a connection at one time; a power of two */
#define MFS_NCCL_EAGER_AHEAD 32u /* small messages that may come before their irecv */
#define MFS_NCCL_KEYS_BYTES_MAX 4096u
#define MFS_NCCL_MESSAGE_BYTES_MAX ((uint64_t)INT32_MAX) /* test() tells sizes as int */

enum mfs_nccl_wire { /* ids of active messages */
                     MFS_NCCL_WIRE_EAGER = 1,
                     MFS_NCCL_WIRE_GRANT,
                     MFS_NCCL_WIRE_FIN,
                     MFS_NCCL_WIRE_WANT,
                     MFS_NCCL_WIRE_CLOSE, /* from the sender, on every channel, behind its last put
                                           * there: messages from `seq` on never come */
                     MFS_NCCL_WIRE_REVOKE, /* from the receiver: send no more */
                     MFS_NCCL_WIRE_REVOKED, /* the answer */
                     MFS_NCCL_WIRE_LAST
};

enum mfs_nccl_header_flags {
    MFS_NCCL_HEADER_KEYS = 1u << 0, /* GRANT: the registration's keys follow */
    MFS_NCCL_HEADER_PLACE = 1u << 1, /* GRANT: of a message; else only `posted` is told */
    MFS_NCCL_HEADER_HOST = 1u << 2, /* GRANT: host memory, EAGER will do */
    MFS_NCCL_HEADER_TOO_LARGE = 1u << 3, /* FIN: it does not fit and was not sent */
    MFS_NCCL_HEADER_ANSWER = 1u << 4, /* REVOKE: REVOKED is waited for */
};

/* In front of every active message but EAGER. Both sides have one byte order. */
struct mfs_nccl_header {
    uint32_t comm, generation; /* the receiver's id of the connection */
    uint64_t seq;
    uint64_t bytes; /* FIN: of the message; GRANT, WANT: room, wanted; REVOKE: who asks */
    uint64_t at; /* GRANT: offset in the registration; FIN: bytes on this channel; REVOKE: uuid,
                  * first half */
    uint64_t posted; /* GRANT: irecvs so far; REVOKE: uuid, second half */
    uint64_t mr; /* GRANT: id of the registration; 0: none, and no room */
    uint32_t flags;
    uint32_t digest; /* of the payload; 0 without one */
};

/* In front of EAGER: with 8 bytes of data, and what UCX puts before it, one line of the memory
 * that processes share. */
struct mfs_nccl_eager_header {
    uint32_t comm, generation;
    uint32_t seq; /* the lower half */
};

/* The payload of a GRANT with KEYS: this, and for each class its key's length (16 bit) and key. */
struct mfs_nccl_keys_header {
    uint64_t base, size; /* the registration: the sender's puts stay inside */
};

#define MFS_NCCL_EARLY_MAX (2u * MFS_NCCL_RING) /* grants before connect() has seen its end */

struct mfs_nccl_comm;

/* Of bytes that we cannot check otherwise (FNV-1a); begins with `from`. */
uint64_t mfs_nccl_digest(uint64_t from, const void *data, size_t bytes);
uint32_t mfs_nccl_payload_digest(const void *data, size_t bytes);

/*
 * What is wrong with a message for this connection: NULL if nothing is. bytes: of the payload,
 * which lies at `data`. Looks and changes nothing; the engine's lock is held.
 */
const char *mfs_nccl_wire_wrong(const struct mfs_nccl_comm *comm, unsigned id,
                                const struct mfs_nccl_header *header, const void *data,
                                size_t bytes);

#endif
