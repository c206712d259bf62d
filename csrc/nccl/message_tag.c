/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/message_tag.h"

#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"
#include "core/policy.h"
#include "host/config.h"
#include "host/host.h"
#include "nccl/log.h"

/* Functions of NCCL whose bits in `op` mean a collective: broadcast, reduce, all-gather,
 * reduce-scatter, all-reduce. */
#define COLLECTIVES 0x1fu

static uint32_t stage_of(const char *name, size_t length)
{
    for (uint32_t stage = 0; mfs_stage_name(stage); stage++) {
        if (strlen(mfs_stage_name(stage)) == length &&
            strncmp(mfs_stage_name(stage), name, length) == 0)
            return stage;
    }
    return MFS_STAGE_NONE;
}

/* NONE: the list does not name this class. */
static uint32_t stage_of_class(int traffic_class)
{
    static _Atomic bool said;
    const char *at = mfs_config_get()->nccl_stages;

    while (traffic_class >= 0 && *at) {
        const size_t length = strcspn(at, ",");
        const char *colon = memchr(at, ':', length);
        char *end = NULL;
        const long number = strtol(at, &end, 10);
        const uint32_t stage =
            colon ? stage_of(colon + 1, (size_t)(at + length - colon - 1)) : MFS_STAGE_NONE;

        if ((end != colon || stage == MFS_STAGE_NONE) && !mfs_swap(&said, true))
            mfs_nccl_warn("MFS_NCCL_STAGES: %.*s is no number:stage, as 1:p2d", (int)length, at);
        if (end == colon && number == traffic_class && stage != MFS_STAGE_NONE)
            return stage;
        at += length + (at[length] == ',');
    }
    return MFS_STAGE_NONE;
}

void mfs_nccl_message_tag_attr(struct mfs_nccl_message_tag *message_tag,
                               const struct mfs_nccl_attr *attr)
{
    const bool known = attr && attr->op != UINT32_MAX && attr->op != 0;

    mfs_set(&message_tag->p2p_only, known && !(attr->op & COLLECTIVES));
}

struct mfs_tag mfs_nccl_message_tag_get(struct mfs_nccl_message_tag *message_tag)
{
    struct mfs_tag tag = mfs_batch_get();
    const uint32_t stage = stage_of_class(message_tag->traffic_class);

    if (stage != MFS_STAGE_NONE) {
        tag.stage = stage;
    } else if (mfs_get(&message_tag->p2p_only)) {
        const char *name = mfs_config_get()->nccl_p2p_stage;

        tag.stage = stage_of(name, strlen(name));
    }
    return tag;
}
