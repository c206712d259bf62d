/* SPDX-License-Identifier: Apache-2.0 */
/* Over how many devices a put or get of a context may be striped. */
#ifndef MFS_UCX_RAILS_H
#define MFS_UCX_RAILS_H

#include "ucx/symbols.h"

/* As its configuration says, which may come from its program; config: NULL: UCX reads its own. */
unsigned mfs_ucx_rails(const struct mfs_ucx_api *api, const ucp_config_t *config);

#endif
