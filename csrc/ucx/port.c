/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/port.h"

#include <stdlib.h>
#include <string.h>

#include "host/config.h"

static void named(struct mfs_ucx_port *port, struct mfs_ucx_worker *worker, const char *name)
{
    strcpy(port->name, name);
    for (int i = 0; i < MFS_UCX_LANES; i++)
        port->lanes[i].worker = worker;
}

void mfs_ucx_port_init(struct mfs_ucx_port *own, struct mfs_ucx_worker *worker)
{
    char name[MFS_PORT_NAME_MAX + 1];

    mfs_port_name_of(mfs_config_get()->port, getenv("UCX_NET_DEVICES"), name);
    named(own, worker, name);
}

void mfs_ucx_ports_free(struct mfs_ucx_port *own)
{
    for (struct mfs_ucx_port *port = own, *next; port; port = next) {
        next = port->next;
        for (int i = 0; i < MFS_UCX_LANES; i++)
            mfs_sender_leave(port->lanes[i].sender);
        if (port != own)
            free(port);
    }
}

struct mfs_ucx_port *mfs_ucx_port_get(struct mfs_ucx_port *own, const char *name)
{
    struct mfs_ucx_port *port = own;

    while (port && strcmp(port->name, name) != 0)
        port = port->next;
    if (port)
        return port;
    port = calloc(1, sizeof(*port));
    if (!port)
        return own;
    named(port, own->lanes[0].worker, name);
    port->next = own->next;
    own->next = port;
    return port;
}

bool mfs_ucx_port_of(const struct mfs_ucx_api *api, ucp_ep_h ep, const struct mfs_ucx_made *made,
                     char *name)
{
    return !mfs_port_said() && mfs_ucx_device_port(api, ep, made, name);
}
