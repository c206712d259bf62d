/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses that one teller of a process is connected to (host/contact.h), each with the number of
 * its connections. Any thread.
 */
#ifndef MFS_HOST_CONTACT_SET_H
#define MFS_HOST_CONTACT_SET_H

#include <pthread.h>
#include <sys/socket.h>

#include "host/contact.h"

/* All zero but for the mutex at first. */
struct mfs_contact_set {
    pthread_mutex_t mutex; /* of what follows */
    uint32_t high;         /* places ever used */
    struct {
        uint8_t ip[16];
        uint32_t connections; /* 0: the place is free */
    } at[MFS_CONTACTS_OF_ONE];
};

/* false: it is no address of IP. */
MFS_API bool mfs_contact_of(const struct sockaddr *address, struct mfs_contact *contact);
/* Are the two ends of a connection on different hosts, as far as their addresses tell? */
MFS_API bool mfs_contact_is_other(const struct sockaddr *own, const struct sockaddr *other);

/* One more connection there. Its place + 1, by which it is taken out; 0: there is no room, or it is
 * no address of IP. */
MFS_API uint32_t mfs_contact_set_add(struct mfs_contact_set *set, const struct sockaddr *address);
/* 0: nothing is done. */
MFS_API void mfs_contact_set_drop(struct mfs_contact_set *set, uint32_t place);
/* All; returns how many, MFS_CONTACTS_OF_ONE at most. */
MFS_API uint32_t mfs_contact_set_all(struct mfs_contact_set *set, struct mfs_contact *contacts);

#endif
