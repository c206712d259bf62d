/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic classes of MFS_CLASSES: a DSCP for each, the most urgent one first.
 *
 *   46,26,0    level 0: 46, level 1: 26, all other levels and what has none: 0
 *   26         all that the process sends: 26
 */
#ifndef MFS_HOST_CLASSES_H
#define MFS_HOST_CLASSES_H

#include "core/classes.h"

#define MFS_DSCP_MAX 63
#define MFS_DSCP_SHIFT 2 /* in the byte that IP has for it, and InfiniBand's traffic class */

struct mfs_classes {
    unsigned count; /* 0: nothing is marked */
    uint8_t dscp[MFS_CLASSES_MAX];
    uint8_t rest; /* the DSCP of sockets by which nothing with a class is under way */
    bool has_answers; /* it is that of MFS_CLASSES_ANSWERS; else the last one */
};

/* 0, or -EINVAL: it is no list of 1 to MFS_CLASSES_MAX numbers up to MFS_DSCP_MAX. "": none. */
MFS_API int mfs_classes_parse(const char *text, struct mfs_classes *classes);
/* One of them, for what others read of us: 0, or -EINVAL. "": the last one. */
MFS_API int mfs_classes_answers(const char *text, struct mfs_classes *classes);
/* The process's own. They stay as they are. */
MFS_API const struct mfs_classes *mfs_classes_get(void);

#endif
