/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message is for. NCCL does not say which request a message serves, so:
 *
 *   request, layer   the batch that this process computes (mfs_batch_set)
 *   stage            in MFS_NCCL_STAGES, that of the communicator's trafficClass, else that
 *                    of p2p when setNetAttr says that it only sends and receives; else
 *                    `collective`
 */
#ifndef MFS_NCCL_MESSAGE_TAG_H
#define MFS_NCCL_MESSAGE_TAG_H

#include "core/types.h"
#include "nccl/net.h"

/* Of a communicator; any thread may set it, hence the atomic word. */
struct mfs_nccl_message_tag {
    int traffic_class;        /* negative: not given */
    _Atomic uint32_t p2p_only; /* setNetAttr */
};

void mfs_nccl_message_tag_attr(struct mfs_nccl_message_tag *message_tag,
                               const struct mfs_nccl_attr *attr);
struct mfs_tag mfs_nccl_message_tag_get(struct mfs_nccl_message_tag *message_tag);

#endif
