/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/far.h"

#include "core/atomic.h"
#include "host/far.h"
#include "host/far_address.h"
#include "host/port.h"

/* UCX 1.12 and later say it; 0: this one does not. */
static uint64_t uid_of(const struct mfs_ucx_api *api, const ucp_address_t *address)
{
    ucp_worker_address_attr_t attr = {.field_mask = UCP_WORKER_ADDRESS_ATTR_FIELD_UID};
    ucp_address_t *asked = (ucp_address_t *)(uintptr_t)address; /* it is not written to */

    if (!address || !api->ucp_worker_address_query ||
        api->ucp_worker_address_query(asked, &attr) != UCS_OK)
        return 0;
    return attr.worker_uid;
}

void mfs_ucx_far_enter(struct mfs_ucx_worker *worker)
{
    const struct mfs_ucx_api *api = worker->api;
    char port[MFS_PORT_NAME_MAX + 1];
    ucp_address_t *address;
    size_t length;
    uint64_t uid;

    if (mfs_get(&worker->far_asked) || !mfs_far_wanted(worker->host) ||
        !api->ucp_worker_address_query || !api->ucp_worker_get_address ||
        !api->ucp_worker_release_address || mfs_swap(&worker->far_asked, true) ||
        api->ucp_worker_get_address(worker->handle, &address, &length) != UCS_OK)
        return;
    uid = uid_of(api, address);
    api->ucp_worker_release_address(worker->handle, address);
    mfs_port_own(port);
    if (mfs_far_own_enter(worker->host, uid, port, &worker->far_place) != 0)
        mfs_publish(&worker->far_asked, false); /* another time */
}

void mfs_ucx_far_leave(struct mfs_ucx_worker *worker)
{
    mfs_far_own_leave(worker->host, worker->far_place);
    worker->far_place = MFS_FAR_NONE;
}

void mfs_ucx_far_move(struct mfs_ucx_worker *worker)
{
    char port[MFS_PORT_NAME_MAX + 1];

    mfs_port_own(port);
    (void)mfs_far_own_move(worker->host, port);
}

uint64_t mfs_ucx_far_peer(struct mfs_ucx_worker *worker, const ucp_ep_params_t *params)
{
    if (!mfs_far_wanted(worker->host))
        return 0;
    mfs_ucx_far_enter(worker); /* the agent may have come since it was made */
    if (params->field_mask & UCP_EP_PARAM_FIELD_REMOTE_ADDRESS)
        return uid_of(worker->api, params->address);
    if (params->field_mask & UCP_EP_PARAM_FIELD_SOCK_ADDR && params->sockaddr.addr)
        return mfs_far_sockaddr(params->sockaddr.addr);
    return 0;
}
