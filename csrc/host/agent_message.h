/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What agents tell each other: one datagram, whose layout is fixed but for the number of entries.
 *
 *   header    magic, version, sender, boot, sequence      in clear, under the seal
 *   body      to whom, what was heard of it, versions      sealed
 *   sections  kind, size of an entry, count, entries
 *
 * A version that is not ours is no message. Within a version, entries may get longer and kinds may
 * be added: what is behind the part of an entry that we know is not looked at, nor is a kind that
 * we do not know. All numbers are little-endian. Times are spans: the clocks of two hosts are not
 * compared.
 *
 * Nothing is trusted, also not under the right key: what does not fit is no message, and numbers
 * are brought into their bounds.
 */
#ifndef MFS_HOST_AGENT_MESSAGE_H
#define MFS_HOST_AGENT_MESSAGE_H

#include "core/types.h"

#define MFS_MESSAGE_VERSION 1
#define MFS_MESSAGE_BYTES_MAX 1200 /* of a datagram: no network cuts it */
#define MFS_MESSAGE_SEAL_BYTES 16
#define MFS_MESSAGE_HEADER_BYTES 28
#define MFS_MESSAGE_CLEAR_BYTES 4 /* of the header, in front of its 24 bytes that are the nonce */
#define MFS_MESSAGE_BODY_BYTES 36 /* without sections */
#define MFS_MESSAGE_NAME_MAX 32
#define MFS_MESSAGE_PORTS_MAX 16 /* of a host: two of each NIC, so of 8 NICs */
#define MFS_MESSAGE_WORKERS_MAX 72 /* more than a datagram holds */
#define MFS_MESSAGE_VERDICTS_MAX 40 /* in one datagram, and as many asks */
#define MFS_MESSAGE_COUNT_MAX INT64_C(1125899906842624) /* bytes that a claim may name: 2^50 */
#define MFS_MESSAGE_SPAN_MAX_NS INT64_C(288230376151711744) /* 2^58 */
#define MFS_MESSAGE_SHARERS_MAX 256 /* hosts that a limit may name */
#define MFS_MESSAGE_FOR_MAX_NS INT64_C(1000000000) /* that a limit may hold */

/* In clear. The three numbers together are never used twice under one key. */
struct mfs_message_header {
    uint64_t sender;   /* a host's agent, the same after it has started again */
    uint64_t boot;     /* another one at each start */
    uint64_t sequence; /* grows with each datagram of a boot */
};

/* A port of the sender's. */
struct mfs_message_port {
    uint8_t direction;                   /* enum mfs_direction */
    char name[MFS_MESSAGE_NAME_MAX + 1]; /* without control characters */
};

/* Of the sender's: what is put to it fills the port `ingress`, what is got from it `egress`. */
struct mfs_message_worker {
    uint64_t uid;
    uint32_t egress, ingress; /* numbers of ports: the CRC of direction and name */
};

/* What the sender has for a port of the receiver. */
struct mfs_message_claim {
    uint32_t port;
    uint32_t level;  /* of what waits; where nothing does, of what has gone; MFS_FAR_NO_LEVEL */
    int64_t span_ns; /* key less now, of what waits */
    uint64_t waiting_bytes, inflight_bytes, done_bytes;
};

/* What is worse than this stays with its sender, for so long at most; and so many hosts, the
 * receiver among them, have something for the port. */
struct mfs_message_limit {
    uint32_t port;   /* of the sender's */
    uint32_t level;  /* all may go: MFS_FAR_NO_LEVEL */
    int64_t span_ns;
    int64_t for_ns;
    uint32_t sharers; /* 0: it does not say */
};

/* What is it that the receiver says of its request? And, the other way, what it says. */
struct mfs_message_verdict {
    uint64_t key;     /* of the request, where its prefill runs */
    uint32_t verdict; /* enum mfs_verdict; of who asks: what it has been told last */
};

struct mfs_message {
    uint64_t to_boot; /* of the receiver, as far as the sender knows: 0 means that it does not */
    uint64_t heard; /* the receiver's newest sequence that has come */
    uint32_t held_us; /* since then */
    uint32_t policy; /* CRC of its name: ranks of two policies are not compared */
    uint32_t inventory; /* version of the sender's ports and workers */
    uint32_t have; /* that of the receiver's which the sender has whole */
    bool leaves; /* it ends now */
    uint16_t page, pages; /* which part of ports and workers this has; pages 0: none */
    uint32_t port_count, worker_count, claim_count, limit_count, ask_count, verdict_count;
    struct mfs_message_claim claims[MFS_MESSAGE_PORTS_MAX];
    struct mfs_message_limit limits[MFS_MESSAGE_PORTS_MAX];
    struct mfs_message_verdict asks[MFS_MESSAGE_VERDICTS_MAX];
    struct mfs_message_verdict verdicts[MFS_MESSAGE_VERDICTS_MAX];
    struct mfs_message_port ports[MFS_MESSAGE_PORTS_MAX];
    struct mfs_message_worker workers[MFS_MESSAGE_WORKERS_MAX];
};

MFS_API void mfs_message_header_pack(const struct mfs_message_header *header, uint8_t *data);
/* Of a datagram. -EMSGSIZE: of no possible size; -EBADMSG: none of an agent; -EPROTONOSUPPORT: of
 * another version, which is its fourth byte. */
MFS_API int mfs_message_header_parse(const uint8_t *data, size_t size,
                                     struct mfs_message_header *header);
/* The body; returns its size, or -EMSGSIZE: it is more than `room`, or than a datagram holds. */
MFS_API int mfs_message_pack(const struct mfs_message *message, uint8_t *data, size_t room);
/* How many verdicts more fit into it, as asks or as answers, if there are none of their kind yet.
 */
MFS_API uint32_t mfs_message_room(const struct mfs_message *message);
/* A body that was sealed with the shared key. -EBADMSG: it is none, and `why` says it. */
MFS_API int mfs_message_parse(const uint8_t *data, size_t size, struct mfs_message *message,
                              const char **why);

#endif
