/* SPDX-License-Identifier: Apache-2.0 */
/* Allocations of our own libraries in this process, counted. */
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <stdbool.h>

/* Under a sanitizer, whose allocator is in the way, they are not seen. */
extern const bool allocations_are_seen;
extern unsigned long allocations_fail_at; /* the one that returns NULL; 0: none */
extern unsigned long allocations; /* of libmfs and libmfs_ucx, of all threads */

#endif
