/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "host/config.h"
#include "host/port.h"

/* Is it the name of one device, and not a list, a pattern or a word for several? */
static bool one_device(const char *text)
{
    const size_t length = strcspn(text, ":");

    for (const char *at = text; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("._-:", *at))
            return false;
    }
    return length > 0 && length <= MFS_PORT_NAME_MAX && strcmp(text, "all") != 0;
}

void mfs_port_name_of(const char *port, const char *devices, char *name)
{
    if (port && *port)
        snprintf(name, MFS_PORT_NAME_MAX + 1, "%s", port);
    else if (devices && one_device(devices))
        snprintf(name, MFS_PORT_NAME_MAX + 1, "%.*s", (int)strcspn(devices, ":"), devices);
    else
        snprintf(name, MFS_PORT_NAME_MAX + 1, "default");
}

void mfs_port_own(char *name)
{
    mfs_port_name_of(mfs_config_get()->port, getenv("UCX_NET_DEVICES"), name);
}
