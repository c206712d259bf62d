/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Has any thread of this process ever set a tag? While none has, a call that is intercepted
 * need not look for its thread's (a thread's own data cost a library that may be opened late
 * a function call).
 */
#ifndef MFS_HOST_TAG_H
#define MFS_HOST_TAG_H

#include "core/atomic.h"
#include "host/host.h"

MFS_API extern _Atomic bool mfs_tag_used;

static inline struct mfs_tag mfs_tag_look(void)
{
    static const struct mfs_tag untagged;

    return mfs_get(&mfs_tag_used) ? mfs_tag_get() : untagged;
}

#endif
