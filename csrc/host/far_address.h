/* SPDX-License-Identifier: Apache-2.0 */
/* An endpoint that was made from a socket's address: the host's address stands for whoever is
 * there (host/far.h), and the number of its port says nothing. */
#ifndef MFS_HOST_FAR_ADDRESS_H
#define MFS_HOST_FAR_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

#include "core/types.h"

/* As mfs_far_address() says it of the same address as text; 0: it is not of a kind that is known.
 */
MFS_API uint64_t mfs_far_sockaddr(const struct sockaddr *address);

#endif
