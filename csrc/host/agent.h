/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent of a host, as far as it does something a thousand times a second: what peers say goes
 * into the segment, and what the segment says goes to peers.
 *
 *   datagram --take--> claims on our ports, limits for theirs --> segment
 *   segment  --tick--> claims on their ports, limits for ours --> frames, one a peer at most
 *
 * A datagram without a page has all that its sender has to say to its receiver: a claim or a limit
 * that is not in it is gone. It is sent when something has changed that matters, at most one a peer
 * and tick, again every 8 ms while there is anything to say, and every second otherwise. So a lost
 * datagram is made good by the next one, and whoever is silent for 50 ms has neither claims nor
 * limits any more: hosts then decide for themselves. A limit ends by itself after 20 ms, so it
 * outlives one lost datagram; where some were lost in the last two seconds it is told every 5 ms.
 *
 * What happens seldom is the caller's: who the peers are, their ports and workers, what people are
 * told. take() says by MFS_AGENT_ bits what that is.
 *
 * ADMISSION: a datagram counts when it names our own boot and echoes one of our recent datagrams,
 * so it was made by somebody who has heard us just now. One that does not is answered, and that is
 * all. So what was recorded yesterday, or before one of the two started again, is worth nothing.
 * Within a boot each sequence counts once, and an older one not at all: what is newer says all that
 * the older said.
 *
 * One thread. Neither socket nor clock; agent_wire.h has both.
 */
#ifndef MFS_HOST_AGENT_H
#define MFS_HOST_AGENT_H

#include "core/owner.h"
#include "host/agent_message.h"
#include "host/far.h"
#include "host/verdict.h"

#define MFS_AGENT_PEERS_MAX 256
#define MFS_AGENT_FRAMES_MAX 320
#define MFS_AGENT_KEY_BYTES 32
#define MFS_AGENT_NO_PEER 4294967295u

/* What take() leaves to its caller. */
#define MFS_AGENT_MALFORMED 1 /* no message, or not made with our key: `why` of what was heard */
#define MFS_AGENT_OWN 2       /* we have sent it ourselves */
#define MFS_AGENT_STRANGER 4  /* it does not know us, or we do not know it: say who we are */
#define MFS_AGENT_FULL 8      /* more peers than there is room for */
#define MFS_AGENT_CAME 16     /* a new peer */
#define MFS_AGENT_AGAIN 32    /* a peer has started again: what it had told is void */
#define MFS_AGENT_LEAVES 64   /* it ends; its place is free once it is dropped */
#define MFS_AGENT_PAGE 128    /* some of its ports and workers */
#define MFS_AGENT_POLICY 256  /* another policy than ours: no order with it */
#define MFS_AGENT_ANSWER 512  /* with others: it answers a greeting, whose number it echoes */

/* Where a datagram comes from or goes to. */
struct mfs_agent_address {
    uint8_t ip[16]; /* four bytes of it for IPv4 */
    uint32_t scope; /* of IPv6 */
    uint16_t port;
    bool six; /* IPv6 */
};

/* A port of ours, as it is told. */
struct mfs_agent_port {
    uint32_t number;
    uint32_t direction;
    char name[MFS_MESSAGE_NAME_MAX + 1];
};

/* The segment; see mfs_agent_segment_ops(). Tests have one of their own. */
struct mfs_agent_ops {
    void *context;
    /* The agent is there: at each tick. */
    void (*attend)(void *context, int64_t now_ns);
    /* What this host wants of far ports, a row each; returns how many. */
    uint32_t (*claims)(void *context, int64_t now_ns, struct mfs_claim *claims, uint32_t room);
    /* What our senders want of one of our own ports; false: nothing. */
    bool (*own_claim)(void *context, const struct mfs_agent_port *port, int64_t now_ns,
                      struct mfs_claim *claim);
    /* mfs_far_limit(). */
    void (*limit)(void *context, uint32_t far, uint32_t level, int64_t span_ns, int64_t for_ns);
    /* mfs_far_share(). NULL: nobody wants to know. */
    void (*share)(void *context, uint32_t far, uint32_t sharers, int64_t for_ns);
    /* What others have for one of our own ports. */
    void (*guest)(void *context, const struct mfs_agent_port *port, uint32_t level, int64_t span_ns,
                  uint64_t inflight_bytes, uint64_t done_bytes, int64_t now_ns);
    /* mfs_far_answers(). NULL: nobody marks them. */
    void (*answers)(void *context, uint32_t far, uint32_t level, int64_t for_ns);
    /* Bytes per second of one of our own ports, as far as our senders know it; 0: they do not. */
    double (*seed_Bps)(void *context, const struct mfs_agent_port *port);
    /* Verdicts of requests (host/verdict.h); of those that follow others'. NULL: there are none. */
    uint32_t (*follows)(void *context, struct mfs_follow *rows, uint32_t room);
    /* They move when follows() or own_verdict() may say something else. */
    uint64_t (*follows_version)(void *context);
    uint64_t (*requests_version)(void *context);
    uint32_t (*own_verdict)(void *context, uint64_t key);
    void (*verdict)(void *context, const struct mfs_follow *follow, uint32_t verdict,
                    int64_t for_ns);
};

/* crypto_aead_xchacha20poly1305_ietf_encrypt() and _decrypt() of libsodium. */
typedef int (*mfs_agent_close_fn)(unsigned char *sealed, unsigned long long *sealed_bytes,
                                  const unsigned char *text, unsigned long long text_bytes,
                                  const unsigned char *clear, unsigned long long clear_bytes,
                                  const unsigned char *nothing, const unsigned char *nonce,
                                  const unsigned char *key);
typedef int (*mfs_agent_open_fn)(unsigned char *text, unsigned long long *text_bytes,
                                 unsigned char *nothing, const unsigned char *sealed,
                                 unsigned long long sealed_bytes, const unsigned char *clear,
                                 unsigned long long clear_bytes, const unsigned char *nonce,
                                 const unsigned char *key);

struct mfs_agent_setup {
    uint64_t identity; /* of this host's agent */
    uint64_t boot;     /* of this start */
    double rate_Bps;   /* of our ports, as configured; 0: it is not */
    uint8_t key[MFS_AGENT_KEY_BYTES];
    mfs_agent_close_fn close;
    mfs_agent_open_fn open;
    struct mfs_agent_ops ops;
};

struct mfs_agent_counts {
    uint64_t sent, received, malformed;
    uint64_t stale; /* replays, or of a start that is over */
    uint64_t page;
    uint64_t limits_told, limits_held;
    uint64_t aged; /* that we have read too late: what they say of claims and limits is over */
    uint64_t had_share; /* times that a peer's claims stopped counting as urgent */
    uint64_t verdicts_told, verdicts_held; /* of requests */
};

/* What is between us and a peer: is a datagram new, how long does one take? */
struct mfs_agent_link {
    uint64_t boot;     /* 0: not admitted */
    uint64_t sequence; /* newest that came */
    int64_t heard_ns;  /* when */
    uint64_t floor; /* of our sequences: what echoes no later one is of a boot that has ended */
    int64_t rtt_ns; /* smoothed; 0: not known */
    int64_t base_ns; /* the least of late; 0: not known */
    int64_t least_ns[2]; /* of this span of 10 s and the one before; 0: none */
    int64_t turned_ns;
    uint64_t told; /* our last sequence that went to it */
    int64_t told_ns;
    int64_t lost_ns; /* when one of ours was missed last, or the boot was new */
};

/* What one side has said to the other. */
struct mfs_agent_said {
    uint32_t claim_count, limit_count;
    struct mfs_message_claim claims[MFS_MESSAGE_PORTS_MAX];
    struct mfs_message_limit limits[MFS_MESSAGE_PORTS_MAX];
};

/* Of which level it reads of us. */
struct mfs_agent_answers {
    uint32_t wants; /* as believed at this tick; MFS_FAR_NO_LEVEL */
    uint32_t level; /* as the segment was told */
    bool told; /* something, which has not been taken back */
    int64_t level_ns; /* when it wanted that last */
    int64_t told_ns;
};

struct mfs_agent_peer {
    uint64_t identity; /* 0: the place is free */
    struct mfs_agent_address address;
    struct mfs_agent_link link;
    uint32_t have; /* version of our inventory that it has whole */
    uint32_t policy;
    uint32_t version; /* of its inventory that we have whole */
    bool owes; /* it has told its workers, or is new: it waits for an answer */
    uint32_t page; /* that goes next */
    int64_t page_ns;
    uint32_t port_count; /* of its ports, that are far ports of ours */
    uint32_t port_numbers[MFS_MESSAGE_PORTS_MAX], port_fars[MFS_MESSAGE_PORTS_MAX];
    struct mfs_agent_said they; /* claims on our ports, and limits */
    int64_t they_ns;
    struct mfs_agent_answers answers; /* to what it reads of us */
    struct mfs_agent_said told; /* by us, last */
    int64_t told_ns;
    struct mfs_agent_said now; /* what is to be said */
};

/* The datagram that was taken last. */
struct mfs_agent_heard {
    struct mfs_agent_address source;
    struct mfs_message_header header; /* unless it is malformed */
    uint32_t peer; /* its place; MFS_AGENT_NO_PEER */
    int error; /* of a malformed one: as mfs_message_header_parse, ... */
    const char *why; /* ... or, not NULL, what is wrong with it */
    uint8_t version; /* of one of another version */
    struct mfs_message body;
};

struct mfs_agent_frame {
    struct mfs_agent_address to;
    uint32_t size;
    uint8_t bytes[MFS_MESSAGE_BYTES_MAX];
};

struct mfs_agent;

/* -ENOMEM. */
MFS_API int mfs_agent_new(const struct mfs_agent_setup *setup, struct mfs_agent **out);
MFS_API void mfs_agent_free(struct mfs_agent *agent);

/* --- what its caller tells it --- */

/* comparable: ranks of this policy are times. */
MFS_API void mfs_agent_policy(struct mfs_agent *agent, uint32_t policy, bool comparable);
/* Our ports and workers from now on, of that version. -EINVAL: more than a host has; -ENOMEM. */
MFS_API int mfs_agent_own(struct mfs_agent *agent, uint32_t version,
                          const struct mfs_agent_port *ports, uint32_t port_count,
                          const struct mfs_message_worker *workers, uint32_t worker_count);
/* A port of a peer's is that far port of ours; MFS_FAR_NONE: it is none any more. */
MFS_API void mfs_agent_far(struct mfs_agent *agent, uint32_t peer, uint32_t number, uint32_t far);
/* That version of the peer's ports and workers is known whole. owes: it waits to hear so. */
MFS_API void mfs_agent_whole(struct mfs_agent *agent, uint32_t peer, uint32_t version, bool owes);
/* The peer's place is free. */
MFS_API void mfs_agent_drop(struct mfs_agent *agent, uint32_t peer);

/* --- what comes and what goes --- */

/* MFS_AGENT_ bits of what is left to do; what was heard stays until the next one. It came at
 * now_ns, and was read so much later. */
MFS_API int mfs_agent_take(struct mfs_agent *agent, const uint8_t *data, size_t size,
                           const struct mfs_agent_address *from, int64_t now_ns, int64_t waited_ns);
/* Says what is to be said; returns with how many peers there is traffic. */
MFS_API uint32_t mfs_agent_tick(struct mfs_agent *agent, int64_t now_ns);
/* A frame with nothing in it, to somebody who may be no peer yet. Its number, by which an answer
 * names it; 0: there is no room for it. */
MFS_API uint64_t mfs_agent_greet(struct mfs_agent *agent, const struct mfs_agent_address *to,
                                 uint64_t to_boot, uint64_t heard, bool leaves, int64_t now_ns);
/* We end: nothing is said, and guests are gone. */
MFS_API void mfs_agent_leave(struct mfs_agent *agent, int64_t now_ns);
/* What is to be sent; it is forgotten by mfs_agent_frames_sent(). */
MFS_API const struct mfs_agent_frame *mfs_agent_frames(struct mfs_agent *agent, uint32_t *count);
MFS_API void mfs_agent_frames_sent(struct mfs_agent *agent);

/* --- to look at --- */

MFS_API const struct mfs_agent_heard *mfs_agent_heard(const struct mfs_agent *agent);
/* NULL: there is none of that place. */
MFS_API const struct mfs_agent_peer *mfs_agent_peer(const struct mfs_agent *agent, uint32_t peer);
MFS_API const struct mfs_agent_counts *mfs_agent_counts(const struct mfs_agent *agent);
/* Of one of our ports; NULL: there is none of that number. */
MFS_API const struct mfs_owner *mfs_agent_owner(const struct mfs_agent *agent, uint32_t number);
MFS_API int64_t mfs_agent_tick_ns(const struct mfs_agent *agent);

#endif
