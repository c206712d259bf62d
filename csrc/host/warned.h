/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of a host have warned of, each kind once, in the segment: how often, when
 * first and last, by whom, and in which words last. A log may be lost, or nobody's; this is read
 * from outside (look.h), also of a process that hangs.
 *
 *   mfs_log(MFS_LOG_WARN, "%s takes no bytes ...", ...) --> cell of that format --> `mfs info`
 *
 * Without a lock: a cell is taken by one compare-and-swap and never given back. Its words are
 * written by one at a time; who finds another writing leaves them as they are. What has no cell
 * left shares the last one.
 */
#ifndef MFS_HOST_WARNED_H
#define MFS_HOST_WARNED_H

#include "host/host.h"

#define MFS_WARNED_MAX 48u
#define MFS_WARNED_TEXT_MAX 183 /* longer ones are cut */

/* As it is read. */
struct mfs_warned {
    uint64_t count;
    int64_t first_ns, last_ns;
    int32_t pid;
    char text[MFS_WARNED_TEXT_MAX + 1];
};

/* Once more. kind: the same text for all that is to be counted together. host NULL: nothing. */
MFS_API void mfs_warned_note(struct mfs_host *host, const char *kind, const char *text);

struct mfs_segment;
/* The cell at index 0 to MFS_WARNED_MAX - 1; false: nobody has warned of anything there. */
bool mfs_warned_read(const struct mfs_segment *segment, uint32_t index, struct mfs_warned *warned);

#endif
