/* SPDX-License-Identifier: Apache-2.0 */
/* What the calling thread says of its posts: their tag, and whether it gives a transfer up. */
#include "host/tag.h"

#include <string.h>

#include "core/atomic.h"
#include "host/name.h"

static _Thread_local struct mfs_tag current_tag;
_Atomic bool mfs_tag_used;

void mfs_tag_set(const struct mfs_tag *tag)
{
    static const struct mfs_tag untagged;

    current_tag = tag ? *tag : untagged;
    if (tag) /* before this thread posts with it; other threads have tags of their own */
        mfs_set(&mfs_tag_used, true);
}

struct mfs_tag mfs_tag_get(void)
{
    return current_tag;
}

static _Thread_local char peer_name[MFS_PEER_NAME_MAX + 1];

void mfs_peer_set(const char *name)
{
    mfs_name_clean(peer_name, sizeof(peer_name), name ? name : "", name ? strlen(name) : 0);
}

const char *mfs_peer_get(void)
{
    return peer_name;
}

static _Thread_local bool aborting;

void mfs_abort_set(bool aborts)
{
    aborting = aborts;
}

bool mfs_abort_get(void)
{
    return aborting;
}
