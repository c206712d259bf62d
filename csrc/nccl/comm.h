/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two sides of a connection, and the messages on it.
 *
 *   sender                                       receiver
 *   isend #7 --- small, or #7 is among the next  irecv #7
 *       |        32 to be posted:                    |
 *       +------- EAGER #7 + data ------------------> copied to its place once, ascending
 *       |
 *       |        large:        <---- GRANT #7 -------+  place, key (once a registration)
 *       +------- puts of chunks, on several channels > straight into the posted buffer
 *       +------- FIN #7 on each of them: its bytes > done when the sum is the whole
 *
 * Messages match by number: the n-th isend meets the n-th irecv. A chunk begins at a multiple
 * of 128 bytes of its message and is written once, at its place, so readers that poll flags
 * inside (LL, LL128) never see half a line that we have cut. EAGER is written ascending; the
 * order inside a chunk is that of who puts: NIC, UCX or kernel. `posted` numbers told by the
 * receiver bound what arrives before its irecv to 32 small messages.
 *
 * When the receiver closes, or takes back memory, with grants out: REVOKE; the sender stops
 * and answers REVOKED on every channel, behind its last put there. Only then is the memory
 * NCCL's again; a peer that does not answer in time is cut off. CLOSE says the same unasked,
 * so a sender that has closed and makes no calls any more is not waited for.
 */
#ifndef MFS_NCCL_COMM_H
#define MFS_NCCL_COMM_H

#include "nccl/engine.h"
#include "nccl/mem.h"
#include "nccl/peer.h"
#include "nccl/wire.h"

#define MFS_NCCL_FLUSHES 32u     /* as many requests as NCCL has */
#define MFS_NCCL_KEYS 64u        /* registrations of the peer that a connection remembers */
#define MFS_NCCL_COMM_MAGIC 0x4d465343u

enum mfs_nccl_state { MFS_NCCL_FREE, MFS_NCCL_BUSY, MFS_NCCL_DONE };
enum mfs_nccl_kind {
    MFS_NCCL_WAITING,
    MFS_NCCL_EAGER,
    MFS_NCCL_PUT,
    MFS_NCCL_REFUSED, /* larger than the room for it */
    MFS_NCCL_RECV,
    MFS_NCCL_FLUSH,
};

/* A registration of the receiver's as the sender knows it. */
struct mfs_nccl_key {
    uint64_t id;
    uint64_t base, size; /* there */
    uint32_t refs; /* requests, and the connection's table */
    ucp_rkey_h rkeys[MFS_NCCL_CHANNELS_MAX];
};

struct mfs_nccl_request {
    /* one line: all that a small message needs */
    _Alignas(64) struct mfs_nccl_comm *comm;
    char *data;
    uint64_t bytes; /* sent, or room */
    uint64_t received; /* so far; at the end: what test() tells */
    uint64_t seq;
    struct mfs_nccl_mr *mr;
    uint32_t inflight; /* chunks, flushes or sends in UCX's hands */
    _Atomic uint8_t state; /* enum mfs_nccl_state; DONE publishes result and received */
    uint8_t result; /* mfs_nccl_result_t */
    uint8_t kind;
    uint8_t stage; /* send: of its end (finish.c) */
    bool queued; /* in the RMLQ */
    bool sent; /* all of it was handed to UCX */
    bool granted; /* receive: the peer may write into it */
    bool in_list; /* of those whose FIN is due */
    bool host; /* send: all memory is the host's, here and there */
    bool own_mr; /* made for this message: NCCL gave none */
    struct mfs_nccl_eager_header header; /* of this message, or of the slot's next */
    /* what the others need */
    struct mfs_op op; /* in the RMLQ */
    struct mfs_nccl_key *key; /* PUT */
    uint64_t window_bytes; /* EAGER: as counted in the port's window */
    unsigned channel; /* EAGER: on its way there */
    uint8_t carries; /* EAGER: its traffic class: marks.h */
    ucp_rkey_h flush_key; /* iflush */
    uint64_t remote;
    uint64_t channel_bytes[MFS_NCCL_CHANNELS_MAX]; /* put there */
    int64_t want_ns; /* send that waits: when the grant was last asked for; 0: not yet */
    struct mfs_nccl_request *next; /* FIN is due */
};

struct mfs_nccl_grant {
    uint64_t seq; /* + 1; 0: none */
    uint64_t bytes, at; /* room, and where it is: an address of the receiver's */
    struct mfs_nccl_key *key;
    bool host;
};

struct mfs_nccl_unexpected { /* EAGER before its irecv */
    uint64_t bytes;
    char *data;
};

/* A grant that came before connect() had seen the end of the set-up. */
struct mfs_nccl_early {
    struct mfs_nccl_early *next;
    struct mfs_nccl_header header;
    size_t bytes;
    char payload[];
};

struct mfs_nccl_comm {
    uint32_t magic;
    bool sender;
    struct mfs_nccl_engine *engine;
    struct mfs_nccl_peer *peer;
    uint32_t index, generation; /* ours */
    uint32_t remote_index, remote_generation; /* the peer's */
    uint64_t eager_bytes; /* the smaller of both sides' */
    bool peer_host_only; /* sender: it has host memory only, EAGER needs no grant */
    mfs_nccl_result_t result; /* once it has failed */
    bool said; /* the error was logged */
    uint64_t next_seq; /* of the next isend or irecv */
    uint64_t posted; /* sender: told; receiver: told to the sender */
    uint64_t closed_at; /* receiver: from here on nothing comes; UINT64_MAX: open */
    uint64_t lost; /* sender: the first message given up at the end; UINT64_MAX: none */
    uint64_t is_unexpected; /* receiver: a bit for each of `unexpected` */
    uint32_t inflight; /* in UCX's hands: all its requests */
    unsigned revoked, closes; /* receiver: channels on which REVOKED and CLOSE have come */
    bool revoke_asked; /* sender: answer when nothing is in flight */
    bool revoke_answered;
    bool has_put, has_put_cuda; /* sender: there is something to flush; CUDA memory too */
    bool flushed; /* sender: since it has failed, where a flush is needed for order */
    uint64_t sent_keys[MFS_NCCL_KEYS]; /* receiver: by id % KEYS */
    struct mfs_nccl_key *keys[MFS_NCCL_KEYS]; /* sender */
    struct mfs_nccl_grant grants[MFS_NCCL_RING]; /* sender, by seq */
    struct mfs_nccl_unexpected *unexpected; /* receiver: RING of them, by seq */
    struct mfs_nccl_early *early;
    unsigned early_count;
    struct mfs_nccl_request requests[MFS_NCCL_RING]; /* by seq */
    struct mfs_nccl_request flushes[MFS_NCCL_FLUSHES];
};

/* All with the engine's lock held, but make and check. */

struct mfs_nccl_comm *mfs_nccl_comm_make(struct mfs_nccl_engine *engine, bool sender);
void mfs_nccl_comm_free(struct mfs_nccl_comm *comm);
/* NULL; it was logged that the pointer is no connection of that side. */
struct mfs_nccl_comm *mfs_nccl_comm_none(void *comm, int sender, const char *call);
/* Is this pointer of NCCL's a live connection of that side (-1: of either)? Logs if not. */
static inline struct mfs_nccl_comm *mfs_nccl_comm_check(void *pointer, int sender, const char *call)
{
    struct mfs_nccl_comm *comm = pointer;

    return comm && comm->magic == MFS_NCCL_COMM_MAGIC && (sender < 0 || comm->sender == sender)
               ? comm
               : mfs_nccl_comm_none(pointer, sender, call);
}
/* End a request; its slot is NCCL's to test. */
void mfs_nccl_request_end(struct mfs_nccl_request *request, mfs_nccl_result_t result);
/* What a request holds on to while UCX may need it. */
void mfs_nccl_request_let_go(struct mfs_nccl_request *request);

/* Connections by id. -ENOSPC: too many connections. */
int mfs_nccl_engine_adopt(struct mfs_nccl_engine *engine, struct mfs_nccl_comm *comm);
void mfs_nccl_engine_disown(struct mfs_nccl_engine *engine, struct mfs_nccl_comm *comm);
/* NULL: it is closed. */
struct mfs_nccl_comm *mfs_nccl_engine_comm(struct mfs_nccl_engine *engine, uint32_t index,
                                           uint32_t generation);

/* key.c */
/* Receiver: how many bytes; 0: they are too large. */
size_t mfs_nccl_keys_pack(const struct mfs_nccl_mr *mr, unsigned classes, char *payload);
/* Sender: of the registration that a grant names, with one reference more. NULL: none. */
struct mfs_nccl_key *mfs_nccl_key_of(struct mfs_nccl_comm *comm,
                                     const struct mfs_nccl_header *header, const char *payload,
                                     size_t bytes);
void mfs_nccl_key_put(struct mfs_nccl_comm *comm, struct mfs_nccl_key *key); /* may be NULL */

/* send.c */
/* Look whether a waiting isend can go now. */
void mfs_nccl_send_try(struct mfs_nccl_request *request);
void mfs_nccl_send_on_grant(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header,
                            const char *payload, size_t bytes);
/* One that comes before connect() has seen the end of the set-up. */
void mfs_nccl_send_keep_grant(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header,
                              const char *payload, size_t bytes);
void mfs_nccl_send_tick(struct mfs_nccl_comm *comm, int64_t now_ns);

/* finish.c */
/* UCX is done with all chunks of a request (or its eager message, or the refusal). */
void mfs_nccl_send_all_put(struct mfs_nccl_request *request);
void mfs_nccl_send_on_revoke(struct mfs_nccl_comm *comm, bool answer);
/* The same on all channels. */
void mfs_nccl_send_say_to_all(struct mfs_nccl_comm *comm, unsigned id, uint64_t seq);
/* Answers a REVOKE that asked for it, once nothing of ours is on its way any more. */
void mfs_nccl_send_answer_revoke(struct mfs_nccl_comm *comm);
/* After a failure: what was put has arrived before what is sent next. true: it is so now;
 * false: not before comm->inflight is 0. */
bool mfs_nccl_send_landed(struct mfs_nccl_comm *comm);

/* recv.c */
void mfs_nccl_recv_on_eager(struct mfs_nccl_comm *comm, const struct mfs_nccl_eager_header *header,
                            const char *data, size_t bytes);
void mfs_nccl_recv_on_fin(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header);
void mfs_nccl_recv_on_want(struct mfs_nccl_comm *comm, const struct mfs_nccl_header *header);
void mfs_nccl_recv_on_close(struct mfs_nccl_comm *comm, uint64_t seq);

/* fail.c */
void mfs_nccl_comm_fail(struct mfs_nccl_comm *comm, mfs_nccl_result_t result, const char *reason);
/* What a call on a connection that has failed gets; says why, if no message was there to fail. */
mfs_nccl_result_t mfs_nccl_comm_refuse(struct mfs_nccl_comm *comm);
/* It must not be: everything with that peer fails. wrong: what it sent. */
void mfs_nccl_wire_refuse(struct mfs_nccl_comm *comm, unsigned id, const char *wrong);

/* close.c */
/* Nothing of `mr` (NULL: of anything) is read or written any more when this returns; gives
 * and takes the lock while it waits, a second at most. */
void mfs_nccl_comm_quiesce(struct mfs_nccl_comm *comm, struct mfs_nccl_mr *mr);
/* Before a connection ends: what was said to its peer has gone out; a second at most. */
void mfs_nccl_comm_drain(struct mfs_nccl_comm *comm);

/* control.c */
/* Send a control message. payload is copied. Errors fail the peer. */
void mfs_nccl_wire_send(struct mfs_nccl_peer *peer, unsigned channel, unsigned id,
                        const struct mfs_nccl_header *header, const void *payload, size_t bytes);
/* The same for a request of ours, which has it in flight until UCX has sent it. */
void mfs_nccl_wire_send_of(struct mfs_nccl_request *request, unsigned channel, unsigned id,
                           const struct mfs_nccl_header *header);
void mfs_nccl_controls_free(struct mfs_nccl_engine *engine);

/* receive.c */
/* What the set-up has found out; takes in grants that came early. */
void mfs_nccl_comm_connected(struct mfs_nccl_comm *comm, struct mfs_nccl_peer *peer, uint32_t index,
                             uint32_t generation);
/* A message that came for this connection: looked at, then done what it asks for. */
void mfs_nccl_wire_take(struct mfs_nccl_comm *comm, unsigned id,
                        const struct mfs_nccl_header *header, const void *data, size_t bytes);
/* Handlers of `worker`. */
int mfs_nccl_wire_listen(struct mfs_nccl_engine *engine, ucp_worker_h worker);

/* The calls of the table. */
mfs_nccl_result_t mfs_nccl_isend(void *send_comm, void *data, size_t size, int tag, void *mhandle,
                                 void *phandle, void **request);
mfs_nccl_result_t mfs_nccl_irecv(void *recv_comm, int n, void **data, size_t *sizes, int *tags,
                                 void **mhandles, void **phandles, void **request);
mfs_nccl_result_t mfs_nccl_iflush(void *recv_comm, int n, void **data, int *sizes, void **mhandles,
                                  void **request);
mfs_nccl_result_t mfs_nccl_test(void *request, int *done, int *sizes);
mfs_nccl_result_t mfs_nccl_close_send(void *send_comm);
mfs_nccl_result_t mfs_nccl_close_recv(void *recv_comm);
mfs_nccl_result_t mfs_nccl_reg(void *comm, void *data, size_t size, int type, void **mhandle);
mfs_nccl_result_t mfs_nccl_reg_dmabuf(void *comm, void *data, size_t size, int type,
                                      uint64_t offset, int fd, void **mhandle);
mfs_nccl_result_t mfs_nccl_dereg(void *comm, void *mhandle);

#endif
