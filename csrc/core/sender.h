/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sender: one queue on one port, and the only place where a chunk is chosen. Transports, the
 * benches and the simulator's ports push operations and post the chunks that they are handed.
 *
 *   push(op, destination, tag) --> RMLQ --> next() --> chunk --> transport --> done()
 *                                             |                                  |
 *        others of the port: look, publish ---+--- window, share, pace ----------+
 *
 * next() hands out a chunk when the port's window has room for it and nobody else has a better
 * one waiting; among its own it is the best of those whose destination takes bytes
 * (core/destination.h). Work conserving: while something that can be sent waits, nothing in flight
 * anywhere, and nobody better, there is a chunk.
 *
 *   window: bytes of open destinations, here and at the others, + chunk <= window + more,
 *           or the port is empty
 *   slow:   bytes of open and slow ones, the same               + chunk <= the same,
 *           or as many as the destination has shown that it takes
 *
 * The other senders of the port come in by struct mfs_port_ops, the transport by struct
 * mfs_transport_ops, time as now_ns. No clock, no thread, no system call, no allocation on the
 * way of a chunk. Not thread-safe: the owner locks, and may let go of its lock in post().
 */
#ifndef MFS_CORE_SENDER_H
#define MFS_CORE_SENDER_H

#include "core/destination.h"
#include "core/port_state.h"
#include "core/rmlq.h"
#include "core/weigh.h"
#include "core/window_state.h"

/* What the other senders of a port hold and want, as far as they move. */
struct mfs_others {
    uint64_t inflight_bytes;
    uint64_t slow_bytes;      /* to slow destinations: beside those, and perhaps on the port */
    uint64_t done_bytes;      /* that they have ever completed; also those that do not move */
    mfs_rank_t best;          /* MFS_RANK_NONE: nothing waits there */
    mfs_rank_t untagged_best; /* MFS_RANK_NONE: nothing untagged waits there */
    uint64_t untagged_bytes;  /* of that one's chunk */
};

/* What a sender tells the others of its port. */
struct mfs_told {
    mfs_rank_t rank; /* of its best chunk that can be sent; MFS_RANK_NONE: there is none */
    mfs_rank_t untagged_rank; /* of its best untagged one */
    uint64_t untagged_bytes;
    uint64_t inflight_bytes; /* to open destinations */
    uint64_t slow_bytes; /* to slow ones */
    uint64_t done_bytes; /* that it has ever completed */
    uint32_t stalled;    /* destinations that take no bytes now */
};

/* The port as the others see it and are seen. All NULL: nobody else sends there. `now` is needed
 * by mfs_sender_express() and mfs_sender_done_now(), which are told no time. */
struct mfs_port_ops {
    void (*look)(void *ctx, int64_t now_ns, struct mfs_others *others);
    void (*publish)(void *ctx, const struct mfs_told *told, int64_t now_ns);
    /* The time. !exact: some milliseconds late will do, if that is cheaper. */
    int64_t (*now)(void *ctx, bool exact);
    void *ctx;
    int64_t vague_ns; /* so late at most */
};

struct mfs_sender;

/* An operation of which nothing is queued any more, and bytes are in flight. posted_ns 0: not
 * known.
 */
typedef void (*mfs_under_way)(void *found, const struct mfs_destination *destination,
                              const struct mfs_tag *tag, uint64_t bytes, int64_t posted_ns);

/* Who carries the chunks. All NULL: the owner calls next() itself. */
struct mfs_transport_ops {
    /* May a chunk be taken now? NULL: always. */
    bool (*ready)(void *ctx);
    /* Send it. mfs_sender_done follows when its bytes have left, or will not; perhaps from in here.
     */
    void (*post)(void *ctx, const struct mfs_chunk *chunk);
    /* It has taken no bytes for age_ns: told once a stall, for a log. NULL: nobody wants to know.
     */
    void (*stalled)(void *ctx, const struct mfs_destination *destination, int64_t age_ns);
    void *ctx;
    /* Its name, for people; size bytes with the NUL. NULL: it has none. */
    void (*describe)(void *ctx, const struct mfs_destination *destination, char *name, size_t size);
    /* `each` for each operation that is under way, in any order: for who asks what waits. NULL: it
     * keeps no account of them. */
    void (*under_way)(void *ctx, mfs_under_way each, void *found);
};

#define MFS_WEIGH_NO_LEVEL 64u /* no rank has it */

/* As which member of its port a sender sends; clock NULL: the port has none. */
struct mfs_weigher {
    _Atomic uint64_t *clock, *mark; /* of the port, and of the member */
    uint32_t weight;
    uint32_t level; /* what is shared by weight; MFS_WEIGH_NO_LEVEL: nothing, by this policy */
};

struct mfs_sender_config {
    struct mfs_rmlq_config queue;
    struct mfs_window_config window;
    uint64_t untagged_permille; /* share that untagged traffic keeps, 0..1000 [50] */
    uint64_t pace_Bps; /* no faster than this; 0: as it comes [0] */
    int64_t lease_ns; /* after which bytes that have not moved do not count [20 ms] */
    bool rate_known; /* that of `queue` was configured for the port: none is learned [false] */
    struct mfs_port_state *port; /* of all senders of the port; NULL: of this one alone [NULL] */
    struct mfs_weigher weigher; /* its level is the sender's own business [none] */
    struct mfs_port_ops others;
    struct mfs_transport_ops transport;
};

/* Room for operations that go at once, without the queue: mfs_sender_express. */
struct mfs_express_room {
    uint64_t spare; /* of what is over and was not told to the others */
    uint64_t reused; /* sent in such room since the last look at the port */
    uint64_t reuse_max; /* that may be */
};

struct mfs_sender {
    struct mfs_rmlq *queue;
    struct mfs_port_state *port, own_port;
    struct mfs_port_ops others;
    struct mfs_transport_ops transport;
    struct mfs_weigher weigher;
    struct mfs_window_state window;
    uint64_t rate_Bps; /* of the port, as the queue and the window have it */
    struct mfs_patience patience; /* with what is in flight, as of the last look */
    uint64_t patience_more_bytes; /* of the window, for which that is; of this rate: */
    uint64_t patience_rate_Bps;
    struct mfs_destinations destinations;
    struct mfs_express_room room;
    struct mfs_told told; /* as it was published last */
    uint64_t others_bytes, others_slow_bytes; /* in flight at the others, as of the last look */
    uint64_t ahead_bytes; /* the most of it, until it has left: */
    int64_t ahead_until_ns;
    uint64_t untagged_permille, pace_Bps;
    uint64_t promotions, stalls; /* as taken by mfs_sender_promotions() and mfs_sender_stalls() */
    int64_t trial_ns, trial_every_ns; /* when the others are tried next: try_others() */
    int blocked; /* why next() had none last, or will have none now: see there; 0: it had one */
    uint64_t known_Bps; /* of the port, as it was configured; 0: it was not */
    bool learns; /* the port's rate, from what leaves */
    bool rested; /* nothing waited and nothing was in flight since its last chunk */
};

/* Policy mfs, no facts, an unlimited window, nobody else on the port. */
MFS_API void mfs_sender_config_init(struct mfs_sender_config *config);
/* -EINVAL: a value out of bounds; -ENOMEM. */
MFS_API int mfs_sender_create(const struct mfs_sender_config *config, struct mfs_sender **sender);
/* Its operations and destinations stay the caller's; the destinations were closed before. */
MFS_API void mfs_sender_destroy(struct mfs_sender *sender);

/* In the caller's memory, zeroed. -ENOMEM. */
MFS_API int mfs_sender_open(struct mfs_sender *sender, struct mfs_destination *destination,
                            void *user);
/* What is worse is held back for now; also from in a look(). */
MFS_API void mfs_sender_limit(struct mfs_sender *sender, struct mfs_destination *destination,
                              mfs_rank_t limit);
/* So many hosts share the port at the other end (core/window.h); 0: none is known to. */
MFS_API void mfs_sender_share(struct mfs_sender *sender, uint32_t sharers);
/* Nothing of it is queued any more; done() is not called for it any more. */
MFS_API void mfs_sender_close(struct mfs_sender *sender, struct mfs_destination *destination);

/*
 * Queue an operation. With more flows at a time than the queue knows, a coarser tag will do: the
 * request without its layer, then none. -EINVAL: length 0, or op already queued; -ENOSPC: no flow
 * is free even so.
 */
MFS_API int mfs_sender_push(struct mfs_sender *sender, struct mfs_op *op,
                            struct mfs_destination *destination, const struct mfs_tag *tag,
                            int64_t now_ns);
/*
 * The next chunk, of at most max_bytes (0: as large as suits the port's rate; >= 128), if one may
 * be sent now. Its bytes are in flight until mfs_sender_done. What waits is told to the others
 * either way. -EAGAIN: nothing waits whose destination takes bytes. -ENOBUFS: the window is full.
 * -EBUSY: another sender has something better waiting. -ETIME: the pacer says not yet.
 */
MFS_API int mfs_sender_next(struct mfs_sender *sender, uint64_t max_bytes, int64_t now_ns,
                            struct mfs_chunk *chunk);
/* Post the next chunks while there are any. Returns how many. */
MFS_API unsigned mfs_sender_send(struct mfs_sender *sender, int64_t now_ns);
/* So many bytes have left, or failed, of those that next() or express() handed out. */
MFS_API void mfs_sender_done(struct mfs_sender *sender, struct mfs_destination *destination,
                             uint64_t bytes, int64_t now_ns);
/* The same, now. keep: the room may be kept for the next express operation. */
MFS_API void mfs_sender_done_now(struct mfs_sender *sender, struct mfs_destination *destination,
                                 uint64_t bytes, bool keep);
/*
 * An operation may go at once, without the queue: nothing waits that could be sent, here or
 * elsewhere on the port, and there is room. 0: its bytes are in flight. -EMSGSIZE: more than
 * `largest` bytes (0: than a chunk). Others, and what waits, as next().
 *
 * What is over may leave its room to the next such (mfs_sender_done_now with keep), as long as
 * others are under way, so that not each asks the port. It is a small part of a chunk that is kept
 * so; and once in a chunk the port is asked all the same, which may say that another is to go
 * first. (A chunk may slip in front of a better one anyhow: host/sender.c.)
 */
MFS_API int mfs_sender_express(struct mfs_sender *sender, struct mfs_destination *destination,
                               uint64_t bytes, uint64_t largest);
/* `bytes` more are in flight, whatever the window: they go with a chunk that was handed out. */
MFS_API void mfs_sender_overdraw(struct mfs_sender *sender, struct mfs_destination *destination,
                                 uint64_t bytes);
/* Take a queued operation out. -ENOENT: it is not queued. */
MFS_API int mfs_sender_remove(struct mfs_sender *sender, struct mfs_op *op, int64_t now_ns);
/* Tell the others what waits here, and that we move. */
MFS_API void mfs_sender_publish(struct mfs_sender *sender, int64_t now_ns);
/* Nothing is queued, so nobody asks next(), but bytes are in flight: look at the port all the same,
 * now and then, so that it is seen and told when they do not leave. */
MFS_API void mfs_sender_watch(struct mfs_sender *sender, int64_t now_ns);

/* Another policy or other parameters; all but the rate, which is the port's. */
MFS_API int mfs_sender_set_policy(struct mfs_sender *sender, const struct mfs_policy *policy,
                                  const struct mfs_params *params, int64_t now_ns);
/* Promotions since it was asked last. */
MFS_API uint64_t mfs_sender_promotions(struct mfs_sender *sender);
/* Destinations that have stalled since it was asked last. */
MFS_API uint64_t mfs_sender_stalls(struct mfs_sender *sender);
/* Chunk size at the port's rate of now. */
MFS_API uint64_t mfs_sender_chunk(struct mfs_sender *sender);
/* Is there something that a look at later, without a completion of its own, could move? */
MFS_API bool mfs_sender_restless(const struct mfs_sender *sender);

static inline uint64_t mfs_sender_operations(const struct mfs_sender *sender)
{
    return mfs_rmlq_operations(sender->queue);
}

/* Its own bytes in flight, to whatever destination. */
static inline uint64_t mfs_sender_inflight(const struct mfs_sender *sender)
{
    return sender->destinations.in[MFS_DESTINATION_OPEN].bytes +
           sender->destinations.in[MFS_DESTINATION_SLOW].bytes +
           sender->destinations.in[MFS_DESTINATION_STALLED].bytes;
}

#endif
