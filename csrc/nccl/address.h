/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the peers of this process can reach it to set connections up: an address of the
 * interface that NCCL_SOCKET_IFNAME names, else of the one that the device or MFS_PORT is,
 * else of the first that is up and no loopback or bridge of containers.
 */
#ifndef MFS_NCCL_ADDRESS_H
#define MFS_NCCL_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

union mfs_nccl_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* port: the scheduler's name of the NIC. 0 or -ENODEV. */
int mfs_nccl_address_own(const char *port, union mfs_nccl_address *address);
socklen_t mfs_nccl_address_bytes(const union mfs_nccl_address *address);
/* "198.18.0.1:4242" */
void mfs_nccl_address_text(const union mfs_nccl_address *address, char *text, size_t size);

#endif
