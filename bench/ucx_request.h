/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MFS_BENCH_UCX_REQUEST_H
#define MFS_BENCH_UCX_REQUEST_H

#include <stddef.h>
#include <ucp/api/ucp.h>

/* UCS_INPROGRESS, or how it has ended: then it is given back, and *request is NULL. */
static inline ucs_status_t request_ended(ucs_status_ptr_t *request)
{
    ucs_status_t status = UCS_PTR_STATUS(*request);

    if (UCS_PTR_IS_PTR(*request)) {
        status = ucp_request_check_status(*request);
        if (status == UCS_INPROGRESS)
            return status;
        ucp_request_free(*request);
    }
    *request = NULL;
    return status;
}

#endif
