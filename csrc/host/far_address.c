/* SPDX-License-Identifier: Apache-2.0 */
#include "host/far_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "host/far.h"

/* FNV-1a. 0 stands for nobody. */
static uint64_t hash_bytes(const void *from, size_t size)
{
    const unsigned char *bytes = from;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash != 0 ? hash : 1;
}

static uint64_t six_hash(const struct in6_addr *six)
{
    if (IN6_IS_ADDR_V4MAPPED(six))
        return hash_bytes(&six->s6_addr[12], sizeof(struct in_addr));
    return hash_bytes(six, sizeof(*six));
}

uint64_t mfs_far_sockaddr(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return hash_bytes(&((const struct sockaddr_in *)(const void *)address)->sin_addr,
                          sizeof(struct in_addr));
    if (address->sa_family == AF_INET6)
        return six_hash(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return 0;
}

uint64_t mfs_far_address(const char *ip)
{
    struct in_addr four;
    struct in6_addr six;

    if (inet_pton(AF_INET, ip, &four) == 1)
        return hash_bytes(&four, sizeof(four));
    return inet_pton(AF_INET6, ip, &six) == 1 ? six_hash(&six) : 0;
}
