/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: names of requests and ports, as other processes may show them. They
 * come from a user or from shared memory; what is kept of them is text that harms no terminal
 * and no parser:
 *
 *     valid UTF-8, no control character, cut between two characters; '?' for each other byte
 */
#ifndef MFS_HOST_NAME_H
#define MFS_HOST_NAME_H

#include <stddef.h>

/*
 * Write to `to` (size bytes, with a NUL at the end) what of `from` is text; `from` ends with a
 * NUL or after from_size bytes. They may be the same memory: the result is never longer.
 */
void mfs_name_clean(char *to, size_t size, const char *from, size_t from_size);

#endif
