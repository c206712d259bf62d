/* SPDX-License-Identifier: Apache-2.0 */
#include "core/types.h"

const char *mfs_stage_name(uint32_t stage)
{
    static const char *const names[] = {"none", "kv_reuse", "collective", "p2d"};

    return stage < sizeof(names) / sizeof(names[0]) ? names[stage] : NULL;
}
