/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What carries the traffic of one communicator on one device.
 *
 *   isend -> message ready -> RMLQ -> chunk -> put on a channel -> all put -> FIN
 *                               ^        ^
 *                         policy's order  port: window, other processes of the host
 *
 *   engine --+-- a UCX worker for each traffic class
 *            +-- one sender on the device's egress port
 *            +-- peers: endpoints, kept until the engine ends
 *            +-- comms: send and receive sides of connections, by id
 *
 * THREADS: NCCL's service thread sets up and registers while its progress thread sends,
 * receives and tests, on the same device at the same time. Everything here is guarded by the
 * engine's lock, UCX's workers included (they are made for one thread at a time), and it is
 * held across calls into UCX: the callbacks that come back are ours alone, they touch only
 * what the lock guards, and they never take it. test() only tries the lock: whoever has it
 * makes progress for all. A request's end is told in its `state`, which is read without the
 * lock. Registration does not take it: UCX's contexts are made for several threads.
 * Two engines share nothing but the contexts and the port's segment, which is lock-free.
 */
#ifndef MFS_NCCL_ENGINE_H
#define MFS_NCCL_ENGINE_H

#include <pthread.h>

#include "host/counters.h"
#include "host/sender.h"
#include "nccl/device.h"
#include "nccl/message_tag.h"
#include "nccl/lock.h"

#define MFS_NCCL_COMMS_MAX 4096u

struct mfs_nccl_comm;
struct mfs_nccl_control;
struct mfs_nccl_engine;
struct mfs_nccl_handshake;
struct mfs_nccl_peer;
struct mfs_nccl_request;
struct mfs_sockets;

/* Of a communicator: NCCL's ctx. */
struct mfs_nccl_context {
    struct mfs_nccl_message_tag message_tag;
    pthread_mutex_t mutex; /* of what follows */
    struct mfs_nccl_engine *engines[MFS_NCCL_DEVICES_MAX];
    struct mfs_nccl_engine *stopped; /* kept for the connections that they still have */
};

/* A chunk on its way; from the engine's list. */
struct mfs_nccl_chunk {
    struct mfs_nccl_request *request;
    uint64_t bytes;        /* of data */
    uint64_t window_bytes; /* counted in the port's window */
    unsigned channel;
    uint8_t carries;       /* its traffic class: marks.h */
    struct mfs_nccl_chunk *next;
};

struct mfs_nccl_engine {
    struct mfs_nccl_lock lock; /* guards all that follows */
    /* what every test() looks at */
    uint32_t looks;
    unsigned classes;
    _Atomic bool stopped; /* makes no progress ever again; also read under the context's mutex */
    bool waiting; /* the queue may hold something */
    const struct mfs_nccl_ucx *ucx;
    ucp_worker_h workers[MFS_NCCL_CLASSES_MAX];
    struct mfs_nccl_request *put_first, *put_last; /* all put; FIN is due */
    /* and what it does not */
    struct mfs_nccl_context *context;
    struct mfs_nccl_device *device;
    struct mfs_host *host;
    unsigned char uuid[16]; /* tells peers apart */
    bool far_entered; /* other hosts may know of it: nccl/far.h */
    uint32_t far_place;
    unsigned channels; /* endpoints to a peer: classes times endpoints */
    bool scheduled;
    struct mfs_nccl_engine *next; /* of the stopped ones */
    struct mfs_sender *sender; /* NULL: there is no order */
    uint64_t settings_version;
    uint64_t small_bytes; /* a message of up to these goes straight on when nothing waits */
    struct mfs_count_row *counts; /* under the lock; NULL: none was left */
    struct mfs_sockets *sockets; /* of a look at them (marks.h); NULL: there was none */
    struct mfs_nccl_chunk *free_chunks, *slabs;
    struct mfs_nccl_control *free_controls;
    struct mfs_nccl_peer *peers;
    struct mfs_nccl_handshake *connecting; /* those that connect() is called for again */
    struct mfs_nccl_comm *comms[MFS_NCCL_COMMS_MAX];
    uint32_t generation, comm_hint, comm_count;
    ucp_ep_h self; /* to ourselves, for iflush; NULL until the first; ends with its worker */
    int watch; /* epoll: sockets that tell of a peer's death */
    int64_t tick_ns;
};

/* progress.c; all with the lock held. */

/* UCX alone. */
void mfs_nccl_workers_progress(struct mfs_nccl_engine *engine);
/* Everything fails; nothing is written to or read from NCCL's memory any more. */
void mfs_nccl_engine_stop(struct mfs_nccl_engine *engine);
/* One round: UCX, FINs, the queue, and now and then a look whether the peers live. */
void mfs_nccl_engine_progress(struct mfs_nccl_engine *engine);
/* What is due for messages that UCX is done with: FINs. */
void mfs_nccl_engine_finish_puts(struct mfs_nccl_engine *engine);

#endif
