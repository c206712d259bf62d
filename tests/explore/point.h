/* SPDX-License-Identifier: Apache-2.0 */
/* Put in front of the sources (gcc -include): their atomic accesses call this. */
#ifndef MFS_TESTS_EXPLORE_POINT_H
#define MFS_TESTS_EXPLORE_POINT_H

/* Another process of the machine (machine.h) may run here. */
void explore_point(void);

#define MFS_ATOMIC_POINT explore_point

#endif
