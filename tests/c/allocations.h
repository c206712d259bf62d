/* SPDX-License-Identifier: Apache-2.0 */
/* Counts allocations of everything linked in, and lets one fail: needs -Wl,--wrap for the four.
 * Include once. */
#ifndef MFS_TESTS_ALLOCATIONS_H
#define MFS_TESTS_ALLOCATIONS_H

#include <stddef.h>

static unsigned long allocations;
static unsigned long allocations_fail_at; /* the one that returns NULL; 0: none */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    return ++allocations == allocations_fail_at ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return ++allocations == allocations_fail_at ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return ++allocations == allocations_fail_at ? NULL : __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return ++allocations == allocations_fail_at ? NULL : __real_aligned_alloc(alignment, size);
}

#endif
