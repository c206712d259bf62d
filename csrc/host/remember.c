/* SPDX-License-Identifier: Apache-2.0 */
#include "host/remember.h"

#include "host/attach.h"

void mfs_remember_init(struct mfs_remember *remember)
{
    for (uint32_t i = 0; i < MFS_REMEMBER_ROWS; i++)
        remember->rows[i].key = MFS_REQUEST_NONE;
}

bool mfs_remember_read(struct mfs_remember *remember, struct mfs_host *host, uint64_t key,
                       struct mfs_facts *facts)
{
    const uint32_t row = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) % MFS_REMEMBER_ROWS;

    if (mfs_request_get(host, key, facts) == 0) {
        remember->rows[row].key = key;
        remember->rows[row].facts = *facts;
        return true;
    }
    if (remember->rows[row].key != key || !mfs_process_overwritten(host))
        return false;
    *facts = remember->rows[row].facts;
    return true;
}
