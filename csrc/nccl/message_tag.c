/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/message_tag.h"

#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"
#include "core/types.h"
#include "host/config.h"
#include "host/host.h"

/* Functions of NCCL whose bits in `op` mean a collective: broadcast, reduce, all-gather,
 * reduce-scatter, all-reduce. */
#define COLLECTIVES 0x1fu
#define P2P (-1) /* in the place of a class: communicators that only send and receive */

static uint32_t stage_of(const char *name, size_t length)
{
    for (uint32_t stage = 0; mfs_stage_name(stage); stage++) {
        if (strlen(mfs_stage_name(stage)) == length &&
            strncmp(mfs_stage_name(stage), name, length) == 0)
            return stage;
    }
    return MFS_STAGE_NONE;
}

/* The entry at `at`, whose key ends at `colon`, is this class's; of P2P: it is "p2p". */
static bool entry_is(const char *at, const char *colon, int traffic_class)
{
    char *end;

    if (traffic_class == P2P)
        return colon - at == 3 && strncmp(at, "p2p", 3) == 0;
    return strtol(at, &end, 10) == traffic_class && end == colon;
}

/* The stage of a class, or of P2P, in a list whose form the configuration has checked; NONE: it
 * has none there. */
static uint32_t stage_of_class(int traffic_class)
{
    const char *at = mfs_config_get()->nccl_stages;

    while (*at) {
        const size_t length = strcspn(at, ",");
        const char *colon = memchr(at, ':', length);

        if (colon && entry_is(at, colon, traffic_class))
            return stage_of(colon + 1, (size_t)(at + length - colon - 1));
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
    uint32_t stage = MFS_STAGE_NONE;

    if (message_tag->traffic_class >= 0)
        stage = stage_of_class(message_tag->traffic_class);
    if (stage == MFS_STAGE_NONE && mfs_get(&message_tag->p2p_only))
        stage = stage_of_class(P2P);
    if (stage != MFS_STAGE_NONE)
        tag.stage = stage;
    return tag;
}
