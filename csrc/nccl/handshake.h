/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sides meet over a TCP socket that never blocks: each says who it is and where its UCX
 * workers are.
 *
 *      connector                                  listener
 *      CONNECTING  -- connect() ----------------> (accept)
 *      SAYING      -- hello --------------------> HEARING
 *      HEARING     <- hello --------------------- SAYING
 *      MET                                        MET
 *
 * Who does not know the listener's cookie is a stranger, and turned away.
 */
#ifndef MFS_NCCL_HANDSHAKE_H
#define MFS_NCCL_HANDSHAKE_H

#include "nccl/address.h"
#include "nccl/comm.h"
#include "nccl/hello.h"

enum mfs_nccl_handshake_state {
    MFS_NCCL_CONNECTING,
    MFS_NCCL_SAYING,
    MFS_NCCL_HEARING,
    MFS_NCCL_MET,
    MFS_NCCL_HANDSHAKE_FAILED,
};

struct mfs_nccl_handshake {
    int fd; /* -1: given away, or not connected */
    bool connector;
    bool keep; /* the socket, to see the peer die; the connector decides */
    bool quiet;    /* of a stranger nothing is said: of another one it was */
    bool stranger; /* the listener's: it failed, and never spoke as one that knows the cookie */
    enum mfs_nccl_handshake_state state;
    int64_t until_ns; /* then it is given up */
    uint64_t cookie;  /* to be heard, or to be said */
    char *out;
    size_t out_bytes, out_done;
    struct mfs_nccl_hello heard;
    char *addresses; /* of the other side */
    size_t in_done;  /* of heard and addresses */
    struct mfs_nccl_comm *comm; /* the connector's: made at the start; else when heard */
    struct mfs_nccl_engine *engine;
    char other[64]; /* its address, for messages */
    struct mfs_nccl_handshake *next; /* of the listener's list, or of the engine's `connecting` */
    /* the connector's */
    union mfs_nccl_address address; /* of the listener */
    unsigned char uuid[16];         /* of the listener's engine */
    uint64_t token; /* by which NCCL's handle names it */
    unsigned tries;
    int64_t again_ns; /* with no fd: when it tries once more */
};

/* One step, without blocking; the state says how far it is. Engine's lock held. */
void mfs_nccl_handshake_step(struct mfs_nccl_handshake *handshake);
/* Of a socket that was accepted. NULL: no memory, fd is closed. */
struct mfs_nccl_handshake *mfs_nccl_handshake_accepted(struct mfs_nccl_engine *engine, int fd,
                                                       uint64_t cookie,
                                                       const union mfs_nccl_address *from);
/* To a listener. NULL: no memory. */
struct mfs_nccl_handshake *mfs_nccl_handshake_begin(struct mfs_nccl_engine *engine,
                                                    const union mfs_nccl_address *to,
                                                    uint64_t cookie);
/* It has not said who it is. */
static inline bool mfs_nccl_handshake_is_silent(const struct mfs_nccl_handshake *handshake)
{
    return handshake->state == MFS_NCCL_HEARING && handshake->in_done < sizeof(handshake->heard);
}
/* With its comm, unless that was handed on. */
void mfs_nccl_handshake_free(struct mfs_nccl_handshake *handshake);

/* listen.c: calls of the table. */
mfs_nccl_result_t mfs_nccl_listen(void *ctx, int dev, void *handle, void **listen_comm);
mfs_nccl_result_t mfs_nccl_connect(void *ctx, int dev, void *handle, void **send_comm,
                                   void **device_handle);
mfs_nccl_result_t mfs_nccl_accept(void *listen_comm, void **recv_comm, void **device_handle);
mfs_nccl_result_t mfs_nccl_close_listen(void *listen_comm);

#endif
