/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contacts: hosts that processes of this host are connected to, by their IP addresses, for an agent
 * that finds its peers by them (MFS_PEERS=connections).
 *
 *   TCP sockets of UCX's ------------+
 *   addresses of UCX's endpoints ----+--tell--> a table in the segment --> the agent asks there
 *   NCCL's handshakes ---------------+          whether an agent answers that has the key
 *
 * A process tells all that it is connected to, again and again; what it does not tell any more is
 * free. What an idle process has told stays, and what the dead had is reaped. Who is told of is
 * nobody yet: an address is where the agent asks, and nothing else.
 *
 * Nothing of it runs unless somebody wants it: mfs_contacts_wanted().
 */
#ifndef MFS_HOST_CONTACT_H
#define MFS_HOST_CONTACT_H

#include "host/host.h"

#define MFS_CONTACTS_MAX 2048u /* of a host */
#define MFS_CONTACTS_OF_ONE 256u /* that one teller has */
/* Tellers of a process. */
#define MFS_CONTACT_UCX 1u
#define MFS_CONTACT_NCCL 2u

struct mfs_contact {
    uint8_t ip[16]; /* IPv6, or ::ffff: and an address of IPv4 */
    uint32_t teller;
};

/* --- the agent --- */

/* It wants to hear of contacts, or does not; what the dead have told goes. Once a second. */
MFS_API void mfs_contacts_want(struct mfs_host *host, bool wanted);
/* It moves when one comes or goes. */
MFS_API uint64_t mfs_contacts_version(struct mfs_host *host);
/* All, as often as they are told; returns how many. */
MFS_API uint32_t mfs_contacts(struct mfs_host *host, struct mfs_contact *contacts, uint32_t room);

/* --- a process that has connections --- */

/* By MFS_PEERS, or by an agent that is there. */
MFS_API bool mfs_contacts_wanted(struct mfs_host *host);
/* This process is connected to these, as far as that teller knows, and to no others; the same
 * address counts once. 0; -EAGAIN: another process writes, tell it again; -ENOSPC: the rest has no
 * room; -EINVAL: more than MFS_CONTACTS_OF_ONE. */
MFS_API int mfs_contacts_tell(struct mfs_host *host, uint32_t teller,
                              const struct mfs_contact *contacts, uint32_t count);

#endif
