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
/* Finds out which port it uses. Calls UCX; no mutex may be held. */
void mfs_ucx_ep_find_port(struct mfs_ucx_ep *ep);

/* Before each operation of it. The first asks: an endpoint that is made with a socket address has
 * its devices when it is connected. */
static inline void mfs_ucx_ep_port(struct mfs_ucx_ep *ep)
{
    if (!MFS_LIKELY(mfs_see(&ep->port) != NULL))
        mfs_ucx_ep_find_port(ep);
}

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
