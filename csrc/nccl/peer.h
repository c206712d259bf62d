/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine at the other end of some connections: endpoints to it, and whether it lives.
 *
 * Connections between the same two engines share the endpoints, and these are kept until the
 * engine ends: UCX joins the two sides' endpoints to one another, so closing one early would
 * fail whichever connection of the peer's it was joined to.
 *
 * DEATH is seen twice: UCX ends operations and calls the endpoint's error handler (where the
 * transport can), and the socket over which the two sides met is kept open, so the kernel
 * tells when the process is gone, and by keep-alive probes when the host is. What fails is
 * every request that waits for this peer.
 */
#ifndef MFS_NCCL_PEER_H
#define MFS_NCCL_PEER_H

#include "nccl/engine.h"

#define MFS_NCCL_NAME_BYTES 96
#define MFS_NCCL_WATCHES 2

struct mfs_marks;

struct mfs_nccl_peer {
    struct mfs_nccl_engine *engine;
    unsigned char uuid[16];
    char name[MFS_NCCL_NAME_BYTES]; /* "host pid 123" */
    uint32_t contact; /* its address is told of: nccl/far.h */
    unsigned channels; /* as both sides have them */
    unsigned of_a_class; /* channels */
    ucp_ep_h eps[MFS_NCCL_CHANNELS_MAX];
    uint64_t inflight[MFS_NCCL_CHANNELS_MAX];
    struct mfs_marks *marks; /* of each channel: marks.h; NULL: there are no classes over TCP */
    struct mfs_destination to; /* of the engine's sender; user is NULL until the first use */
    uint32_t controls; /* messages of ours (control.c) that UCX has not sent yet */
    unsigned turn;     /* the channel that a tie goes to */
    int needs_flush;   /* before a FIN: 1 yes, 0 no, -1 not looked yet */
    bool tcp;          /* one of the transports to it; known when needs_flush is */
    int watches[MFS_NCCL_WATCHES]; /* sockets; -1: none */
    int64_t gone_ns;   /* the socket said so; 0: no. What has arrived is taken in first */
    bool failed;
    char reason[160];  /* why it failed */
    struct mfs_nccl_peer *next;
};

/* Who we are, for peers and logs. */
void mfs_nccl_own_name(char *name, size_t size);

/* All with the engine's lock held. */

struct mfs_nccl_peer *mfs_nccl_peer_find(struct mfs_nccl_engine *engine, const unsigned char *uuid);
/* on_error: for UCX (mfs_nccl_peer_on_error). addresses: of the peer's workers, one for each class.
 * NULL: logged. */
struct mfs_nccl_peer *mfs_nccl_peer_make(struct mfs_nccl_engine *engine, const unsigned char *uuid,
                                         const char *name, const void *const *addresses,
                                         ucp_err_handler_cb_t on_error);
/* The channel of `klass` with the least on its way. */
unsigned mfs_nccl_peer_channel(struct mfs_nccl_peer *peer, unsigned klass);
/* Must a FIN wait for a flush, or do puts that are complete lie in the peer's memory? host: all
 * memory is the host's, here and there. */
bool mfs_nccl_peer_needs_flush(struct mfs_nccl_peer *peer, bool host);
/* Begin to flush the endpoints; requests: as of the next. */
void mfs_nccl_peer_flush(struct mfs_nccl_peer *peer, void **requests);
/* Begin to close the endpoints; requests: room for `channels`. NULL: done. */
void mfs_nccl_peer_close(struct mfs_nccl_peer *peer, bool force, void **requests);
void mfs_nccl_peer_free(struct mfs_nccl_peer *peer);

/* watch.c */
/* Keep fd to see it die; it is the peer's now (closed if there are enough). */
void mfs_nccl_peer_watch(struct mfs_nccl_peer *peer, int fd);
bool mfs_nccl_peer_watched(const struct mfs_nccl_peer *peer);
/* Look at the sockets of all; every 10 ms. */
void mfs_nccl_peers_tick(struct mfs_nccl_engine *engine, int64_t now_ns);

/* fail.c */
/* From now on everything to it fails. Logged, once. */
void mfs_nccl_peer_fail(struct mfs_nccl_peer *peer, const char *reason);
/* UCX says so of an endpoint; inside progress, so the lock is held. user: the peer. */
void mfs_nccl_peer_on_error(void *user, ucp_ep_h ep, ucs_status_t status);

#endif
