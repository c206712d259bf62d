/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short way of an operation of one chunk that finds the port idle: it sees the window, but
 * no queue. It is posted as the caller posted it, and the caller gets UCX's own request; all we
 * add is a callback before the caller's, by which its bytes leave the window.
 *
 *   take -> post -> (UCX) -> over: callback of the caller's
 *
 * A caller that gives such a request back before it is done wants no callback (ucp_request_free).
 * Then ours must come all the same: mfs_ucx_express_free.
 */
#ifndef MFS_UCX_EXPRESS_H
#define MFS_UCX_EXPRESS_H

#include "ucx/chunk.h"

/* With the worker: before its first operation, and after its last. */
void mfs_ucx_express_open(struct mfs_ucx_worker *worker);
void mfs_ucx_express_close(struct mfs_ucx_worker *worker);
/* Send it now if nothing waits and the port has room: *result is UCX's. false: nothing was done. */
bool mfs_ucx_express(struct mfs_ucx_ep *ep, const struct mfs_ucx_operation *operation,
                     const struct mfs_tag *tag, ucs_status_ptr_t *result);
/* ucp_request_free of a request of UCX's, perhaps one of these. */
void mfs_ucx_express_free(const struct mfs_ucx_api *api, void *request);

#endif
