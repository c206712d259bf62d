/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is at the other end of an endpoint, as agents of hosts tell it to each other (host/far.h): a
 * worker by the uid that its address carries, or a host by its socket's address. Nothing is asked
 * unless the host has an agent or is to have one.
 */
#ifndef MFS_UCX_FAR_H
#define MFS_UCX_FAR_H

#include "ucx/worker.h"

/* The worker is entered with its port, if that is wanted and it is not yet. */
void mfs_ucx_far_enter(struct mfs_ucx_worker *worker);
void mfs_ucx_far_leave(struct mfs_ucx_worker *worker);
/* The port of this process has another name now; worker: any of it. */
void mfs_ucx_far_move(struct mfs_ucx_worker *worker);
/* Whom an endpoint that is made so leads to; 0: not known, or nobody wants to know. */
uint64_t mfs_ucx_far_peer(struct mfs_ucx_worker *worker, const ucp_ep_params_t *params);

#endif
