/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's beginning and end. */
#ifndef MFS_NCCL_ENGINE_LIFE_H
#define MFS_NCCL_ENGINE_LIFE_H

#include "nccl/engine.h"

/* Made at first use. NULL: the reason was logged. Takes and gives no lock of its own. */
struct mfs_nccl_engine *mfs_nccl_engine_get(struct mfs_nccl_context *context, int dev);
/* With all connections closed, or abandoned by NCCL. */
void mfs_nccl_engine_free(struct mfs_nccl_engine *engine);

#endif
