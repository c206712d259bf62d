/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices of the host the puts and gets of an endpoint use, as far as its UCX says. */
#ifndef MFS_UCX_DEVICE_H
#define MFS_UCX_DEVICE_H

#include "host/port.h"
#include "ucx/symbols.h"

/* What an endpoint was made with. */
struct mfs_ucx_made {
    uint8_t rails; /* over which an operation may be striped: mfs_ucx_rails() */
    bool survives; /* errors of its peer: UCP_ERR_HANDLING_MODE_PEER */
};

/* The port that these devices are; name: MFS_PORT_NAME_MAX + 1 bytes. False: it uses none, or it is
 * not known yet. Calls UCX; no mutex may be held. */
bool mfs_ucx_device_port(const struct mfs_ucx_api *api, ucp_ep_h ep,
                         const struct mfs_ucx_made *made, char *name);

#endif
