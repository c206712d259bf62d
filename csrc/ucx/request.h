/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our requests: what the caller holds instead of one of UCX's while an operation
 * is deferred. They lie in one reserved range of addresses, so that "ours or
 * UCX's?" is one comparison.
 *
 *   QUEUED --all chunks posted--> IN FLIGHT --last one done--> DONE --freed--> slot free
 */
#ifndef MFS_UCX_REQUEST_H
#define MFS_UCX_REQUEST_H

#include "core/rmlq.h"
#include "ucx/order.h"
#include "ucx/symbols.h"

struct mfs_ucx_worker;
struct mfs_ucx_ep;

enum mfs_ucx_kind { MFS_UCX_PUT, MFS_UCX_GET, MFS_UCX_FLUSH };

/* All fields are guarded by the worker's mutex, but for status (atomic). */
struct mfs_ucx_request {
    struct mfs_op op; /* first: the queue hands this pointer back */
    struct mfs_ucx_worker *worker;
    struct mfs_ucx_ep *ep;                /* operations: NULL once issued */
    struct mfs_ucx_request *next, *prev;  /* worker's list of queued operations; done list */
    struct mfs_ucx_epoch *epochs[MFS_UCX_EPOCHS]; /* that count it, until issued */
    struct mfs_tag tag;
    void *buffer;
    uint64_t remote_addr;
    ucp_rkey_h rkey;
    ucp_request_param_t param; /* what the caller gave, sanitised to the fields it set */
    uint32_t inflight;         /* chunks posted and not done */
    uint32_t posting;          /* threads between take and the return of the post */
    _Atomic int status;        /* ucs_status_t; UCS_INPROGRESS until done */
    int error;                 /* first error of a chunk */
    uint8_t kind;              /* enum mfs_ucx_kind */
    bool queued;               /* in the queue */
    bool issued;               /* all of it was handed to UCX (or dropped) */
    bool returned;             /* the caller holds it */
    bool released;             /* the caller gave it back before it was done */
    bool silent;               /* no callback any more (ucp_request_free) */
    bool listed;               /* on the done list, its callback still due */
};

/* NULL: the arena is exhausted. Zeroed. Thread-safe. */
struct mfs_ucx_request *mfs_ucx_request_alloc(void);
void mfs_ucx_request_put(struct mfs_ucx_request *request);
bool mfs_ucx_request_ours(const void *request);

#endif
