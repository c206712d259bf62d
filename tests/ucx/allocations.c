/* SPDX-License-Identifier: Apache-2.0 */
/* The program's malloc comes first in the search of every library: it asks whose call it is. */
#include "allocations.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

unsigned long allocations, allocations_fail_at;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const bool allocations_are_seen = false;
#else
const bool allocations_are_seen = true;

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *malloc(size_t bytes);
void *calloc(size_t count, size_t bytes);
void *realloc(void *memory, size_t bytes);

/* Counted, if it is ours. true: it fails. */
static bool fails(const void *caller)
{
    Dl_info info;

    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "/libmfs") &&
           __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) == allocations_fail_at;
}

void *malloc(size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, bytes);
}
#endif
