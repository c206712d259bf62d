/* SPDX-License-Identifier: Apache-2.0 */
/* The host's segment as the agent uses it (host/far.h, host/guest.h). Ports of ours are opened when
 * they are first named, and stay so. */
#ifndef MFS_HOST_AGENT_SEGMENT_H
#define MFS_HOST_AGENT_SEGMENT_H

#include "host/agent.h"

struct mfs_agent_segment;

/* This process is the agent from now on, as long as it ticks. -EBUSY: another is;
 * -ENOMEM. The host stays open until it is closed. */
MFS_API int mfs_agent_segment_open(struct mfs_host *host, struct mfs_agent_segment **out);
MFS_API void mfs_agent_segment_close(struct mfs_agent_segment *segment);
/* Why it is not any more, or 0. */
MFS_API int mfs_agent_segment_error(const struct mfs_agent_segment *segment);
/* Its name among agents, by which requests of this host are followed. */
MFS_API void mfs_agent_segment_name(struct mfs_agent_segment *segment, uint64_t identity);
MFS_API void mfs_agent_segment_ops(struct mfs_agent_segment *segment, struct mfs_agent_ops *ops);

#endif
