/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NCCL's list: "eth,ib0" are beginnings of names, "=eth0" whole names, "^docker" all others. */
static bool in_list(const char *name, const char *list)
{
    const bool all_others = *list == '^';
    const char *at = list + all_others;
    const bool whole = *at == '=';

    for (at += whole; *at;) {
        const size_t length = strcspn(at, ",");
        const size_t compared = whole && strlen(name) > length ? strlen(name) : length;

        if (length > 0 && strncmp(name, at, compared) == 0)
            return !all_others;
        at += length + (at[length] == ',');
    }
    return all_others;
}

/* How much we want this interface: 0 not at all. IPv4 before IPv6 at equal names. */
static unsigned rank(const struct ifaddrs *found, const char *port)
{
    const char *list = getenv("NCCL_SOCKET_IFNAME");
    const bool v4 = found->ifa_addr && found->ifa_addr->sa_family == AF_INET;
    const bool v6 = found->ifa_addr && found->ifa_addr->sa_family == AF_INET6;
    unsigned name;

    if ((!v4 && !v6) || !(found->ifa_flags & IFF_UP))
        return 0;
    if (v6 && IN6_IS_ADDR_LINKLOCAL(
                  &((const union mfs_nccl_address *)(const void *)found->ifa_addr)->v6.sin6_addr))
        return 0;
    if (list && *list)
        name = in_list(found->ifa_name, list) ? 4 : 0;
    else if (strcmp(found->ifa_name, port) == 0)
        name = 4;
    else if (found->ifa_flags & IFF_LOOPBACK)
        name = 1;
    else if (strncmp(found->ifa_name, "docker", 6) == 0 ||
             strncmp(found->ifa_name, "veth", 4) == 0 || strncmp(found->ifa_name, "virbr", 5) == 0)
        name = 2;
    else
        name = 3;
    return name > 0 ? 2 * name + v4 : 0;
}

int mfs_nccl_address_own(const char *port, union mfs_nccl_address *address)
{
    struct ifaddrs *all;
    unsigned best = 0;

    if (getifaddrs(&all) != 0)
        return -errno;
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        const unsigned wanted = rank(at, port);

        if (wanted <= best)
            continue;
        best = wanted;
        memset(address, 0, sizeof(*address));
        memcpy(address, at->ifa_addr,
               at->ifa_addr->sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6));
    }
    freeifaddrs(all);
    return best > 0 ? 0 : -ENODEV;
}

socklen_t mfs_nccl_address_bytes(const union mfs_nccl_address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

void mfs_nccl_address_text(const union mfs_nccl_address *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const bool v4 = address->any.sa_family == AF_INET;
    const void *number =
        v4 ? (const void *)&address->v4.sin_addr : (const void *)&address->v6.sin6_addr;

    (void)inet_ntop(address->any.sa_family, number, host, sizeof(host));
    snprintf(text, size, v4 ? "%s:%u" : "[%s]:%u", host,
             ntohs(v4 ? address->v4.sin_port : address->v6.sin6_port));
}
