/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints: from the caller's handle to our state, and how long that lives.
 *
 *   add --(find, pin, unpin)--> close --> freed with its last request
 *
 * UCX may hand the address of a closed endpoint out again at once, so the handle
 * leaves the map when the close begins; requests keep the state itself.
 */
#ifndef MFS_UCX_EP_H
#define MFS_UCX_EP_H

#include "ucx/worker.h"

/* NULL: not one of those we schedule for. */
struct mfs_ucx_ep *mfs_ucx_ep_find(ucp_ep_h handle);
/* params: that it was made with, which may name its peer. */
void mfs_ucx_ep_add(struct mfs_ucx_worker *worker, ucp_ep_h handle, const ucp_ep_params_t *params);
/* The handle is unknown from now on. */
void mfs_ucx_ep_forget(struct mfs_ucx_ep *ep);
/* Freed, if it is closed and no request refers to it. Mutex held. */
void mfs_ucx_ep_reap(struct mfs_ucx_ep *ep);
/* An operation of it ended like this: of a peer that is gone for good, that is noted. Mutex held.
 */
void mfs_ucx_ep_outcome(struct mfs_ucx_ep *ep, ucs_status_t status);
/* At the end of its worker, whoever refers to it. */
void mfs_ucx_ep_free(struct mfs_ucx_ep *ep);

#endif
