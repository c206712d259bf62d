/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue (RMLQ) that sends through a port of this host: its policy, facts, rate and record are
 * the host's and the port's. The port keeps the share of untagged traffic for all its queues.
 */
#ifndef MFS_HOST_QUEUE_H
#define MFS_HOST_QUEUE_H

#include <stdatomic.h>

#include "core/rmlq.h"
#include "host/port.h"

/* -ENOMEM, or -EINVAL: the configuration is out of bounds. */
MFS_API int mfs_queue_create(struct mfs_host *host, struct mfs_port *port, struct mfs_rmlq **queue);
/* Where mfs_host_settings_version() looks, for who looks at every call. */
MFS_API const _Atomic uint64_t *mfs_host_settings_word(struct mfs_host *host);
/* The host's settings have changed. */
MFS_API void mfs_queue_settings(struct mfs_host *host, struct mfs_port *port,
                                struct mfs_rmlq *queue);

#endif
