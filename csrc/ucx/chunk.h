/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks: from the worker's mutex into UCX and back.
 *
 *   begin -> post -> (UCX) -> over -> end_if_over: issued? done?
 */
#ifndef MFS_UCX_CHUNK_H
#define MFS_UCX_CHUNK_H

#include "ucx/worker.h"

/* A put or get as the caller posted it. */
struct mfs_ucx_operation {
    enum mfs_ucx_kind kind;
    void *buffer;
    size_t bytes; /* > 0 */
    uint64_t remote_addr;
    ucp_rkey_h rkey;
    const ucp_request_param_t *param;
};

static inline uint8_t mfs_ucx_own_lane(const struct mfs_ucx_operation *operation)
{
    return operation->kind == MFS_UCX_PUT ? MFS_UCX_EGRESS : MFS_UCX_INGRESS;
}

/* Fields and flags of the caller's that each chunk carries on. */
#define MFS_UCX_CHUNK_ATTRIBUTES                                                                   \
    (UCP_OP_ATTR_FIELD_MEMORY_TYPE | UCP_OP_ATTR_FIELD_MEMH | UCP_OP_ATTR_FLAG_FAST_CMPL |         \
     UCP_OP_ATTR_FLAG_MULTI_SEND)

/* All of the following with the mutex held. */

/* NULL: no memory. */
struct mfs_ucx_request *mfs_ucx_request_of_operation(struct mfs_ucx_ep *ep,
                                                     const struct mfs_ucx_operation *operation);
struct mfs_ucx_lane *mfs_ucx_lane_of(const struct mfs_ucx_request *request);
/* For a chunk that is about to be posted; bytes: as counted in the window. */
void mfs_ucx_chunk_begin(struct mfs_ucx_chunk *chunk, struct mfs_ucx_request *request,
                         uint64_t bytes);
/* It is of that level: its traffic class, if it is a put. */
void mfs_ucx_chunk_class(struct mfs_ucx_chunk *chunk, unsigned level);
/*
 * Hand it to UCX. The mutex is released around the call; the request may be gone
 * afterwards. Then see mfs_ucx_issue.
 */
void mfs_ucx_chunk_post(struct mfs_ucx_chunk *chunk, struct mfs_ucx_request *request,
                        uint64_t offset, uint64_t length);
/* See whether an operation has been issued, and whether it is done. */
void mfs_ucx_end_if_over(struct mfs_ucx_request *request);

#endif
