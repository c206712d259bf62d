/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a caller no longer wants.
 *
 *   A: put put put (given back) flush     a later flush of A is canceled, and the caller
 *   B: put put                            reuses A's memory, here or at the peer, for B
 *
 * In UCX such a cancel changes nothing: what was posted goes on, in front of what comes later.
 * Our queue may send B first, so what is left of A would overwrite it. Hence a cancel ends the
 * waiting of what it names:
 *
 *   inside mfs_abort_set(true)  the caller gives the transfer up: what has not been handed to
 *                               UCX is taken back
 *   otherwise                   it goes out now, in the order of posting, as without us
 *
 * Either way nothing that is posted afterwards can pass it.
 */
#ifndef MFS_UCX_ABORT_H
#define MFS_UCX_ABORT_H

#include "ucx/worker.h"

/*
 * ucp_request_cancel of a request of ours. Of an operation: that one. Of a flush: what it waits
 * for and no earlier flush does; under a tag that is a transfer.
 */
void mfs_ucx_canceled(struct mfs_ucx_request *request);

#endif
