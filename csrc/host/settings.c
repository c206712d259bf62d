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
    mfs_set(&host->segment->policy, mfs_policy_index(policy));
    mfs_bump(&host->segment->settings_version, 1);
    return 0;
}

const struct mfs_policy *mfs_host_policy(struct mfs_host *host)
{
    const struct mfs_policy *policy = mfs_policy_at(mfs_get(&host->segment->policy));

    return policy ? policy : mfs_policy_at(0);
}

uint64_t mfs_host_settings_version(struct mfs_host *host)
{
    return mfs_see(&host->segment->settings_version);
}
