/* SPDX-License-Identifier: Apache-2.0 */
#include "core/facts.h"

static const struct mfs_facts unknown = {
    .deadline_ns = MFS_TIME_NEVER,
    .next_start_ns = MFS_TIME_NEVER,
    .red_ns = MFS_TIME_NEVER,
    .start_ns = MFS_TIME_NEVER,
};

void mfs_facts_init(struct mfs_facts *facts)
{
    *facts = unknown;
}
