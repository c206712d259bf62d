/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: a segment as its file says it is, copied from outside of its processes.
 * Who copies attaches to nothing, takes no lock and maps nothing.
 */
#ifndef MFS_HOST_COPY_H
#define MFS_HOST_COPY_H

#include "host/segment.h"

/* Which parts, besides all that stands before the requests. */
enum mfs_copy_parts {
    MFS_COPY_REQUESTS = 1u << 0,
    MFS_COPY_EVENTS = 1u << 1,
    MFS_COPY_WAITS = 1u << 2,
    MFS_COPY_FAR = 1u << 4,
    MFS_COPY_PAST = 1u << 3, /* also of a file that nobody uses any more */
};

/*
 * copy: zeroed before. living: who holds a slot; when nobody does, those who held one to their end.
 * -ENOENT: there is no file; -ENODATA: nobody uses it, or nobody has; -EPROTO: another version's;
 * -EBADMSG: it is no segment; -EACCES: it belongs to, or is open to, another user.
 */
int mfs_segment_copy(const char *path, unsigned parts, struct mfs_segment *copy,
                     struct mfs_living *living);

/* What a copy says; it has the requests. */
struct mfs_look;
void mfs_look_tell(struct mfs_segment *copy, const struct mfs_living *living,
                   struct mfs_look *look);

#endif
