/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/device.h"

#include <string.h>

#include "host/port.h"

#define TRANSPORTS 16u

/* UCX's names of transports that leave the host, without their endings ("rc_mlx5"). Those of RDMA
 * come first: an endpoint that has both moves its data by them, and has TCP for messages. */
static const char *const rdma[] = {"rc_", "dc_", "ud_", "srd", "gga"};
static const char *const sockets[] = {"tcp"};

static bool is_one(const char *name, const char *const *kinds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strncmp(name, kinds[i], strlen(kinds[i])) == 0)
            return true;
    }
    return false;
}

static uint32_t devices_of(const ucp_transports_t *transports, const char *const *kinds,
                           size_t count, const char **devices)
{
    uint32_t found = 0;

    /* UCX before 1.14 says that it has told them, and leaves all as it was */
    for (unsigned i = 0; i < transports->num_entries && i < TRANSPORTS; i++) {
        const ucp_transport_entry_t *entry = &transports->entries[i];

        if (entry->transport_name && entry->device_name && strcmp(entry->device_name, "lo") != 0 &&
            is_one(entry->transport_name, kinds, count))
            devices[found++] = entry->device_name;
    }
    return found;
}

bool mfs_ucx_device_learn(const struct mfs_ucx_api *api, ucp_ep_h ep)
{
    ucp_transport_entry_t entries[TRANSPORTS] = {0};
    ucp_ep_attr_t attr = {
        .field_mask = UCP_EP_ATTR_FIELD_TRANSPORTS,
        .transports = {entries, TRANSPORTS, sizeof(entries[0])},
    };
    const char *devices[TRANSPORTS];
    uint32_t count;

    if (!mfs_port_learns() || !api->ucp_ep_query || api->ucp_ep_query(ep, &attr) != UCS_OK)
        return false;
    count = devices_of(&attr.transports, rdma, sizeof(rdma) / sizeof(rdma[0]), devices);
    if (count == 0)
        count = devices_of(&attr.transports, sockets, 1, devices);
    return mfs_port_learn(devices, count);
}
