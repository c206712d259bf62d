/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: what the last processes of a host have left, kept beside the segment.
 *
 *   PATH        the segment; stays as it is when its last process goes
 *   PATH.last   what it was when a process made it anew: one generation, for `mfs trace --last`
 *
 * A generation that has done nothing, as of a command that looked and went, does not push out the
 * one before. Nothing fails if it cannot be kept, as where there is no room.
 */
#ifndef MFS_HOST_PAST_H
#define MFS_HOST_PAST_H

/* fd: the file at path, which nobody uses, and which is about to be made anew. */
void mfs_past_keep(int fd, const char *path);

#endif
