/* SPDX-License-Identifier: Apache-2.0 */
/* Put in front of the sources (gcc -include): their atomic accesses call this. */
#ifndef MFS_TESTS_EXPLORE_POINT_H
#define MFS_TESTS_EXPLORE_POINT_H

extern int explore_turn; /* accesses until another process of the machine (machine.h) may run */
void explore_turn_over(void);

static inline void explore_point(void)
{
    if (__builtin_expect(--explore_turn <= 0, 0))
        explore_turn_over();
}

#define MFS_ATOMIC_POINT explore_point

#endif
