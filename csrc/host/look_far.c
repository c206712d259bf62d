/* SPDX-License-Identifier: Apache-2.0 */
#include "host/look_far.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"
#include "core/exchange.h"
#include "host/config.h"
#include "host/copy.h"
#include "host/far_tables.h"

static void tell(const struct mfs_segment *segment, int64_t now_ns, struct mfs_look_far_ports *look)
{
    const struct mfs_far_tables *far = &segment->far;
    const int64_t lease_ns = mfs_config_get()->lease;
    struct mfs_far_sums sums;

    memset(look, 0, sizeof(*look));
    look->attended = mfs_far_attended(far, now_ns);
    mfs_far_sum(segment, lease_ns, now_ns, &sums);
    for (uint32_t i = 0; i < MFS_FAR_PORTS_MAX && look->attended; i++) {
        struct mfs_look_far *port = &look->ports[look->count];
        const mfs_rank_t limit = mfs_far_limit_now(far, i, lease_ns, now_ns);

        if (!mfs_far_name(far, i, port->name))
            continue;
        look->count++;
        port->claim = (struct mfs_claim){.far = i, .level = MFS_FAR_NO_LEVEL};
        if (mfs_far_summed(&sums, i)) {
            port->claim = sums.claim[i];
            mfs_far_rank_tell(sums.rank[i], now_ns, &port->claim.level, &port->claim.span_ns);
        }
        mfs_far_rank_tell(limit, now_ns, &port->limit_level, &port->limit_span_ns);
        if (port->limit_level != MFS_FAR_NO_LEVEL)
            port->limit_for_ns = mfs_get(&far->ports[i].until_ns) - now_ns;
    }
}

int mfs_look_far(const char *path, struct mfs_look_far_ports *look)
{
    struct mfs_segment *copy = calloc(1, sizeof(*copy));
    struct mfs_living living;
    int error = copy ? mfs_segment_copy(path, MFS_COPY_FAR, copy, &living) : -ENOMEM;

    if (!error)
        tell(copy, mfs_now_ns(), look);
    free(copy);
    return error;
}
