/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To which hosts this process is connected by UCX, for an agent that finds its peers by that
 * (host/contact.h):
 *
 *   TCP sockets that UCX makes or accepts    both ends of each are asked of the kernel, every
 * second endpoints made from a socket's address   that address, over whatever they go endpoints
 * made from a worker's address   by their TCP sockets; over RDMA alone, not known
 *
 * The process that accepts an endpoint does not look at its address: the other one tells its agent,
 * and two agents need one who begins.
 *
 * THREADS: any. One looks at a time, and the others go on.
 */
#ifndef MFS_UCX_CONTACTS_H
#define MFS_UCX_CONTACTS_H

#include <sys/socket.h>

#include "core/atomic.h"
#include "host/contact.h"

extern _Atomic bool mfs_ucx_contacts_on; /* somebody wants them; it stays so */

/* A worker or an endpoint is about to be made: are they wanted? Sockets are noted from now on. */
void mfs_ucx_contacts_ask(struct mfs_host *host);
/* UCX has set this one up. May be called in a signal handler. */
void mfs_ucx_contact_of_new_socket(int fd);
/* An endpoint that is made from this address. What it is taken out by; 0: nothing. */
uint32_t mfs_ucx_contact_enter(const struct sockaddr *address);
void mfs_ucx_contact_leave(uint32_t place);

/* A look, if it is time. */
void mfs_ucx_contacts_look(struct mfs_host *host);
/* A worker has ended: now, since nobody may make progress any more. */
void mfs_ucx_contacts_end(struct mfs_host *host);

/* In some rounds of progress: if it is time, look, and tell the segment. */
static inline void mfs_ucx_contacts_round(struct mfs_host *host)
{
    if (!MFS_LIKELY(!mfs_get(&mfs_ucx_contacts_on)))
        mfs_ucx_contacts_look(host);
}

#endif
