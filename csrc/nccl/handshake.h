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
 * A hello is a fixed part and the addresses of the workers, one for each traffic class.
 */
#ifndef MFS_NCCL_HANDSHAKE_H
#define MFS_NCCL_HANDSHAKE_H

#include "nccl/comm.h"

#define MFS_NCCL_WIRE_MAGIC UINT64_C(0x4c43434e53464d01) /* "\1MFSNCCL" */
#define MFS_NCCL_WIRE_VERSION 2u
#define MFS_NCCL_ADDRESSES_MAX 65536u

enum mfs_nccl_hello_flags {
    MFS_NCCL_HELLO_KEEP = 1u << 0,      /* this socket is to be kept, to see the peer die */
    MFS_NCCL_HELLO_HOST_ONLY = 1u << 1, /* all memory is the host's */
};

struct mfs_nccl_hello {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes; /* of the addresses that follow */
    uint64_t cookie; /* of the listener, from its handle */
    unsigned char uuid[16];
    uint32_t comm, generation;
    uint32_t classes, channels;
    uint32_t flags; /* enum mfs_nccl_hello_flags */
    uint32_t address_bytes[MFS_NCCL_CLASSES_MAX];
    uint32_t reserved;
    uint64_t eager_bytes;
    char name[MFS_NCCL_NAME_BYTES];
};

enum mfs_nccl_handshake_state {
    MFS_NCCL_CONNECTING,
    MFS_NCCL_SAYING,
    MFS_NCCL_HEARING,
    MFS_NCCL_MET,
    MFS_NCCL_HANDSHAKE_FAILED,
};

struct mfs_nccl_handshake {
    int fd; /* -1: given away */
    bool connector;
    bool keep; /* the socket, to see the peer die; the connector decides */
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
    struct mfs_nccl_handshake *next; /* listener's list */
};

/* One step, without blocking; the state says how far it is. Engine's lock held. */
void mfs_nccl_handshake_step(struct mfs_nccl_handshake *handshake);
/* A socket that is (being) connected. NULL: no memory, fd is closed. */
struct mfs_nccl_handshake *mfs_nccl_handshake_make(struct mfs_nccl_engine *engine, int fd,
                                                   bool connector, uint64_t cookie);
/* Without its comm when that was handed on. */
void mfs_nccl_handshake_free(struct mfs_nccl_handshake *handshake);

/* listen.c: calls of the table. */
mfs_nccl_result_t mfs_nccl_listen(void *ctx, int dev, void *handle, void **listen_comm);
mfs_nccl_result_t mfs_nccl_connect(void *ctx, int dev, void *handle, void **send_comm,
                                   void **device_handle);
mfs_nccl_result_t mfs_nccl_accept(void *listen_comm, void **recv_comm, void **device_handle);
mfs_nccl_result_t mfs_nccl_close_listen(void *listen_comm);

#endif
