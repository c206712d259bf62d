/* SPDX-License-Identifier: Apache-2.0 */
/* What ASan is told of memory and stacks that the explorer gives out itself; nothing without it. */
#ifndef MFS_TESTS_EXPLORE_ASAN_H
#define MFS_TESTS_EXPLORE_ASAN_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__
#endif
#endif

#ifdef __SANITIZE_ADDRESS__

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#define asan_allow(at, bytes) __asan_unpoison_memory_region((at), (bytes))
#define asan_forbid(at, bytes) __asan_poison_memory_region((at), (bytes))
#define asan_stack_leave(keep, stack, bytes)                                                       \
    __sanitizer_start_switch_fiber((keep), (stack), (bytes))
#define asan_stack_enter(kept, stack, bytes)                                                       \
    __sanitizer_finish_switch_fiber((kept), (stack), (bytes))

#else

#define asan_allow(at, bytes) ((void)(at), (void)(bytes))
#define asan_forbid(at, bytes) ((void)(at), (void)(bytes))
#define asan_stack_leave(keep, stack, bytes) ((void)(keep), (void)(stack), (void)(bytes))
#define asan_stack_enter(kept, stack, bytes) ((void)(kept), (void)(stack), (void)(bytes))

#endif

#endif
