/* SPDX-License-Identifier: Apache-2.0 */
#include "core/classes.h"

unsigned mfs_class_of(unsigned level, unsigned classes)
{
    return level < classes ? level : classes - 1;
}
