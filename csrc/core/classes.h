/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Levels and the traffic classes of a fabric, of which a network has a few: the first levels have a
 * class each, all others share the last one.
 *
 *      level    0  1  2 ... K-1  K
 *      class    0  1  2      2   2      of three
 *
 * The policy mfs puts all that has little time left into levels 0 and 1, so those must not be
 * folded together first.
 */
#ifndef MFS_CORE_CLASSES_H
#define MFS_CORE_CLASSES_H

#include "core/types.h"

#define MFS_CLASSES_MAX 8

/* classes > 0. */
MFS_API unsigned mfs_class_of(unsigned level, unsigned classes);

#endif
