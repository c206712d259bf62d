/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/device.h"

#include <string.h>

#define TRANSPORTS 16u

/*
 * RAILS: UCX lists every device that an endpoint has a lane of, also those for messages alone. A
 * put or get is striped over as many as MAX_RMA_RAILS says (1 if nobody has set it), the first of
 * the list. Over TCP with UCP_ERR_HANDLING_MODE_PEER, as NIXL's endpoints, UCX sends puts and gets
 * as messages, by one device whatever is set. Seen with UCX 1.17 to 1.22 over TCP by what each
 * device has carried: docs/decisions/0035-a-port-for-what-an-endpoint-uses.md.
 */

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

static bool is_new(const char *const *devices, uint32_t count, const char *device)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(devices[i], device) == 0)
            return false;
    }
    return true;
}

/* Each once, as UCX lists them, and no more than `most`. */
static uint32_t devices_of(const ucp_transports_t *transports, const char *const *kinds,
                           size_t count, uint32_t most, const char **devices)
{
    uint32_t found = 0;

    /* UCX before 1.14 says that it has told them, and leaves all as it was */
    for (unsigned i = 0; i < transports->num_entries && i < TRANSPORTS && found < most; i++) {
        const ucp_transport_entry_t *entry = &transports->entries[i];

        if (entry->transport_name && entry->device_name && strcmp(entry->device_name, "lo") != 0 &&
            is_one(entry->transport_name, kinds, count) &&
            is_new(devices, found, entry->device_name))
            devices[found++] = entry->device_name;
    }
    return found;
}

bool mfs_ucx_device_port(const struct mfs_ucx_api *api, ucp_ep_h ep,
                         const struct mfs_ucx_made *made, char *name)
{
    ucp_transport_entry_t entries[TRANSPORTS] = {0};
    ucp_ep_attr_t attr = {
        .field_mask = UCP_EP_ATTR_FIELD_TRANSPORTS,
        .transports = {entries, TRANSPORTS, sizeof(entries[0])},
    };
    const char *devices[TRANSPORTS];
    uint32_t count;

    if (!api->ucp_ep_query || api->ucp_ep_query(ep, &attr) != UCS_OK)
        return false;
    count =
        devices_of(&attr.transports, rdma, sizeof(rdma) / sizeof(rdma[0]), made->rails, devices);
    if (count == 0)
        count = devices_of(&attr.transports, sockets, 1, made->survives ? 1 : made->rails, devices);
    return mfs_port_name_join(devices, count, name);
}
