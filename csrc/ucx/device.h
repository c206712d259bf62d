/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices of the host an endpoint uses, as its UCX says. */
#ifndef MFS_UCX_DEVICE_H
#define MFS_UCX_DEVICE_H

#include "ucx/symbols.h"

/* It has just been made: if this process's port has no name yet, its devices are it. Calls UCX; no
 * mutex may be held. Returns whether the port has another name now. */
bool mfs_ucx_device_learn(const struct mfs_ucx_api *api, ucp_ep_h ep);

#endif
