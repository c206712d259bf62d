/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/far.h"

#include <string.h>

#include "host/far.h"
#include "nccl/engine.h"

uint64_t mfs_nccl_far_uid(const unsigned char *uuid)
{
    uint64_t uid;

    memcpy(&uid, uuid, sizeof(uid));
    return uid != 0 ? uid : 1;
}

void mfs_nccl_far_enter(struct mfs_nccl_engine *engine)
{
    if (engine->far_entered || !engine->host || !mfs_far_wanted(engine->host))
        return;
    engine->far_entered = mfs_far_own_enter(engine->host, mfs_nccl_far_uid(engine->uuid),
                                            engine->device->port, &engine->far_place) == 0;
}

void mfs_nccl_far_leave(struct mfs_nccl_engine *engine)
{
    if (engine->far_entered)
        mfs_far_own_leave(engine->host, engine->far_place);
    engine->far_entered = false;
}
