/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "core/atomic.h"
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

/* What was learned: written once, and there from when it is told so. */
static char learned[MFS_PORT_NAME_MAX + 1];
static _Atomic uint32_t learned_state; /* NOTHING, WRITING or THERE */

enum { NOTHING, WRITING, THERE };

bool mfs_port_said(void)
{
    const char *devices = getenv("UCX_NET_DEVICES");

    return *mfs_config_get()->port || (devices && one_device(devices));
}

void mfs_port_own(char *name)
{
    if (!mfs_port_said() && mfs_see(&learned_state) == THERE)
        memcpy(name, learned, sizeof(learned));
    else
        mfs_port_name_of(mfs_config_get()->port, getenv("UCX_NET_DEVICES"), name);
}

#define DEVICES_MAX 8u

struct device {
    const char *name;
    size_t length; /* without its port number */
};

static int compare(const struct device *a, const struct device *b)
{
    const size_t both = a->length < b->length ? a->length : b->length;
    const int order = memcmp(a->name, b->name, both);

    return order ? order : (a->length > b->length) - (a->length < b->length);
}

/* In order, each once; what is not a device's name, or one too many, is left out. */
static uint32_t sort(const char *const *names, uint32_t count, struct device *devices)
{
    uint32_t known = 0;

    for (uint32_t i = 0; i < count && known < DEVICES_MAX; i++) {
        const struct device device = {names[i], strcspn(names[i], ":")};
        uint32_t at = 0;

        while (at < known && compare(&devices[at], &device) < 0)
            at++;
        if (!one_device(names[i]) || (at < known && compare(&devices[at], &device) == 0))
            continue;
        memmove(&devices[at + 1], &devices[at], (known - at) * sizeof(device));
        devices[at] = device;
        known++;
    }
    return known;
}

bool mfs_port_learns(void)
{
    return mfs_get(&learned_state) == NOTHING && !mfs_port_said();
}

bool mfs_port_name_join(const char *const *devices, uint32_t count, char *name)
{
    struct device found[DEVICES_MAX + 1];
    const uint32_t known = sort(devices, count, found);
    size_t length = 0;

    memset(name, 0, MFS_PORT_NAME_MAX + 1);
    for (uint32_t i = 0; i < known; i++) {
        if (length + 1 + found[i].length > MFS_PORT_NAME_MAX)
            break;
        length += (size_t)snprintf(name + length, MFS_PORT_NAME_MAX + 1 - length, "%s%.*s",
                                   i ? "+" : "", (int)found[i].length, found[i].name);
    }
    return *name != '\0';
}

bool mfs_port_learn(const char *name)
{
    uint32_t state = NOTHING;

    if (!*name || strlen(name) > MFS_PORT_NAME_MAX || !mfs_port_learns() ||
        !mfs_replace(&learned_state, &state, WRITING))
        return false;
    strcpy(learned, name);
    mfs_publish(&learned_state, THERE);
    return true;
}
