/* SPDX-License-Identifier: Apache-2.0 */
/* The transport, or the gate before another plug-in: decided once, when we are loaded. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "host/config.h"
#include "nccl/device.h"
#include "nccl/gate.h"
#include "nccl/plugin.h"

const struct mfs_nccl_table_v12 *mfs_nccl_implementation(const char *own_path)
{
    const char *inner = mfs_config_get()->nccl_inner;
    char path[PATH_MAX];

    if (!*inner)
        return &mfs_nccl_transport;
    if (realpath(inner, path) && strcmp(path, own_path) == 0) {
        mfs_nccl_inside_gate(); /* whoever wraps us keeps the order */
        return &mfs_nccl_transport;
    }
    return mfs_nccl_gate_open(inner);
}
