/* SPDX-License-Identifier: Apache-2.0 */
/* What every exported symbol begins with. */
#ifndef MFS_UCX_SHIM_H
#define MFS_UCX_SHIM_H

#include "ucx/symbols.h"

#define MFS_UCX_EXPORT __attribute__((visibility("default")))

/* The real functions of whoever called the exported symbol we are in. */
#define MFS_UCX_CALLER() mfs_ucx_caller(__builtin_extract_return_addr(__builtin_return_address(0)))

/* MFS_ENABLE is set, and this is not a fork of the process that was set up. Cheap. */
bool mfs_ucx_enabled(void);

/* Must requests of this context be UCX's own (request_size, request_init)? */
bool mfs_ucx_context_plain(ucp_context_h context);

#endif
