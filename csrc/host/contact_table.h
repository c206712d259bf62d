/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: the table of host/contact.h in the segment.
 *
 * A free cell is taken under the lock, and given back without it by the process that has it. The
 * address is written before the owner; who reads a cell that changes hands meanwhile may find an
 * address that is half of each, and asks somebody who is not there.
 */
#ifndef MFS_HOST_CONTACT_TABLE_H
#define MFS_HOST_CONTACT_TABLE_H

#include <stdatomic.h>

#include "host/contact.h"

struct mfs_contact_cell {
    _Atomic uint32_t owner; /* process slot + 1; 0: free */
    _Atomic uint32_t teller;
    _Atomic uint64_t ip[2];
};

struct mfs_contact_table {
    _Atomic uint32_t wanted; /* by the agent: 1 */
    _Atomic uint64_t version;
    struct mfs_contact_cell cells[MFS_CONTACTS_MAX];
};

struct mfs_living;

/* What nobody alive owns; the lock is held. */
void mfs_contacts_reap(struct mfs_contact_table *table, const struct mfs_living *living);

#endif
