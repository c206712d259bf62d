/* SPDX-License-Identifier: Apache-2.0 */
/* What this host wants of other hosts' ports and what they allow, looked at from outside
 * (host/look.h, host/far.h). */
#ifndef MFS_HOST_LOOK_FAR_H
#define MFS_HOST_LOOK_FAR_H

#include "host/far.h"

struct mfs_look_far {
    char name[MFS_FAR_NAME_MAX + 1];
    struct mfs_claim claim;
    uint32_t limit_level; /* what is worse is held back; MFS_FAR_NO_LEVEL: nothing is */
    int64_t limit_span_ns; /* from now to the limit's key */
    int64_t limit_for_ns; /* until it ends */
};

struct mfs_look_far_ports {
    bool attended; /* there is an agent */
    uint32_t count;
    struct mfs_look_far ports[MFS_FAR_PORTS_MAX];
};

/* As mfs_look_take(). */
MFS_API int mfs_look_far(const char *path, struct mfs_look_far_ports *look);

#endif
