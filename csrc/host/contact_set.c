/* SPDX-License-Identifier: Apache-2.0 */
#include "host/contact_set.h"

#include <netinet/in.h>
#include <string.h>

bool mfs_contact_of(const struct sockaddr *address, struct mfs_contact *contact)
{
    const struct sockaddr_in *four = (const void *)address;
    const struct sockaddr_in6 *six = (const void *)address;

    memset(contact, 0, sizeof(*contact));
    if (address->sa_family == AF_INET6) {
        memcpy(contact->ip, &six->sin6_addr, sizeof(contact->ip));
    } else if (address->sa_family == AF_INET) {
        contact->ip[10] = contact->ip[11] = 0xff;
        memcpy(contact->ip + 12, &four->sin_addr, sizeof(four->sin_addr));
    } else {
        return false;
    }
    return true;
}

bool mfs_contact_is_other(const struct sockaddr *own, const struct sockaddr *other)
{
    struct mfs_contact here, there;

    return mfs_contact_of(other, &there) &&
           (!mfs_contact_of(own, &here) || memcmp(here.ip, there.ip, sizeof(here.ip)) != 0);
}

/* Its place, or one that is free; MFS_CONTACTS_OF_ONE: there is none. The mutex is held. */
static uint32_t place_of(const struct mfs_contact_set *set, const uint8_t ip[16])
{
    uint32_t empty = MFS_CONTACTS_OF_ONE;

    for (uint32_t i = 0; i < set->high; i++) {
        if (set->at[i].connections == 0)
            empty = i;
        else if (memcmp(set->at[i].ip, ip, sizeof(set->at[i].ip)) == 0)
            return i;
    }
    return empty < MFS_CONTACTS_OF_ONE ? empty : set->high;
}

uint32_t mfs_contact_set_add(struct mfs_contact_set *set, const struct sockaddr *address)
{
    struct mfs_contact contact;
    uint32_t place;

    if (!mfs_contact_of(address, &contact))
        return 0;
    pthread_mutex_lock(&set->mutex);
    place = place_of(set, contact.ip);
    if (place < MFS_CONTACTS_OF_ONE) {
        memcpy(set->at[place].ip, contact.ip, sizeof(contact.ip));
        set->at[place].connections++;
        if (set->high <= place)
            set->high = place + 1;
    }
    pthread_mutex_unlock(&set->mutex);
    return place < MFS_CONTACTS_OF_ONE ? place + 1 : 0;
}

void mfs_contact_set_drop(struct mfs_contact_set *set, uint32_t place)
{
    if (place == 0)
        return;
    pthread_mutex_lock(&set->mutex);
    if (set->at[place - 1].connections > 0)
        set->at[place - 1].connections--;
    pthread_mutex_unlock(&set->mutex);
}

uint32_t mfs_contact_set_all(struct mfs_contact_set *set, struct mfs_contact *contacts)
{
    uint32_t count = 0;

    pthread_mutex_lock(&set->mutex);
    for (uint32_t i = 0; i < set->high; i++) {
        if (set->at[i].connections > 0)
            memcpy(contacts[count++].ip, set->at[i].ip, sizeof(set->at[i].ip));
    }
    pthread_mutex_unlock(&set->mutex);
    return count;
}
