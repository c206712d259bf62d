/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every access to a word that another thread or another process may use at the same time. The
 * rest of the code says what it does with a word; this file says which ordering that takes, and
 * why.
 *
 *   mfs_get, mfs_set          one word that means something by itself: a rank, a size, a stamp.
 *                             Relaxed: no other word has to be seen with it.
 *   mfs_publish, mfs_see      a word that says that others are ready. Release and acquire: who
 *                             sees the word sees all that its writer had written before.
 *   mfs_add, mfs_sub          several writers. Relaxed: the sum is the only thing that counts.
 *   mfs_add_own, mfs_sub_own  one writer at a time (the word's owner, or the holder of a lock),
 *                             many readers: a load and a store, no locked instruction.
 *   mfs_swap                  the old value decides who owns what the word stands for. Acquire:
 *                             the new owner sees what the last one has written.
 *   mfs_replace               the same, if the word is still what it was. Acquire and release.
 *   mfs_bump                  several writers of a word that others follow: who sees the new value
 *                             sees what was written before it. Release; acquire, as the old value
 *                             may stand for a place that its last user has written to.
 *   mfs_bits_add, _bits_keep  several writers, each of its own bits. Relaxed, as mfs_add.
 *   mfs_set_in, mfs_publish_in  set and publish in memory that is not ours, so not of an atomic
 *                             type: the buffers of a program that polls them.
 *
 * MFS_ATOMIC_POINT runs in front of each access. It is nothing, unless a test that interleaves
 * several senders on one thread defines it: there it is where another sender may run.
 */
#ifndef MFS_CORE_ATOMIC_H
#define MFS_CORE_ATOMIC_H

#include <stdatomic.h>

#ifndef MFS_ATOMIC_POINT
#define MFS_ATOMIC_POINT() ((void)0)
#endif

/* clang-format off */
#define mfs_get(word) \
    (MFS_ATOMIC_POINT(), atomic_load_explicit((word), memory_order_relaxed))
#define mfs_set(word, value) \
    (MFS_ATOMIC_POINT(), atomic_store_explicit((word), (value), memory_order_relaxed))
#define mfs_see(word) \
    (MFS_ATOMIC_POINT(), atomic_load_explicit((word), memory_order_acquire))
#define mfs_publish(word, value) \
    (MFS_ATOMIC_POINT(), atomic_store_explicit((word), (value), memory_order_release))
/* Their result is the value before. */
#define mfs_add(word, amount) \
    (MFS_ATOMIC_POINT(), atomic_fetch_add_explicit((word), (amount), memory_order_relaxed))
#define mfs_sub(word, amount) \
    (MFS_ATOMIC_POINT(), atomic_fetch_sub_explicit((word), (amount), memory_order_relaxed))
#define mfs_add_own(word, amount) mfs_set((word), mfs_get(word) + (amount))
#define mfs_sub_own(word, amount) mfs_set((word), mfs_get(word) - (amount))
#define mfs_swap(word, value) \
    (MFS_ATOMIC_POINT(), atomic_exchange_explicit((word), (value), memory_order_acquire))
/* false: *expected is now what the word is. */
#define mfs_replace(word, expected, value) \
    (MFS_ATOMIC_POINT(), atomic_compare_exchange_strong_explicit( \
        (word), (expected), (value), memory_order_acq_rel, memory_order_acquire))
#define mfs_bump(word, amount) \
    (MFS_ATOMIC_POINT(), atomic_fetch_add_explicit((word), (amount), memory_order_acq_rel))
#define mfs_bits_add(word, bits) \
    (MFS_ATOMIC_POINT(), atomic_fetch_or_explicit((word), (bits), memory_order_relaxed))
#define mfs_bits_keep(word, bits) \
    (MFS_ATOMIC_POINT(), atomic_fetch_and_explicit((word), (bits), memory_order_relaxed))
#define mfs_set_in(memory, value) __atomic_store_n((memory), (value), __ATOMIC_RELAXED)
#define mfs_publish_in(memory, value) __atomic_store_n((memory), (value), __ATOMIC_RELEASE)
/* What was written before it is seen before what is written, and read, behind it: for sequence
 * locks, whose data are words of their own. */
#define mfs_fence_release() (MFS_ATOMIC_POINT(), atomic_thread_fence(memory_order_release))
#define mfs_fence_acquire() (MFS_ATOMIC_POINT(), atomic_thread_fence(memory_order_acquire))
/* clang-format on */

#endif
