/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of a host that may change while processes run. */
#include <errno.h>

#include "core/atomic.h"
#include "host/attach.h"

int mfs_host_set_policy(struct mfs_host *host, const char *name)
{
    const struct mfs_policy *policy = mfs_policy_find(name);

    if (!policy)
        return -EINVAL;
    mfs_set(&host->segment->policy, mfs_policy_index(policy) + 1);
    mfs_bump(&host->segment->settings_version, 1);
    return 0;
}

const struct mfs_policy *mfs_host_policy(struct mfs_host *host)
{
    const uint32_t index = mfs_get(&host->segment->policy) - 1;
    const struct mfs_policy *policy = mfs_policy_at(index);

    if (!policy) /* it is rubbish: see mfs_segment_mend() */
        return mfs_policy_at(mfs_get(&host->policy_known));
    mfs_set(&host->policy_known, index);
    return policy;
}

uint64_t mfs_host_settings_version(struct mfs_host *host)
{
    return mfs_see(&host->segment->settings_version);
}
