/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/contacts.h"

#include <errno.h>

#include "host/contact_set.h"
#include "host/log.h"
#include "host/socket.h"

#define LOOK_NS INT64_C(1000000000)
#define SOON_NS INT64_C(20000000) /* after something is new, or as long as a socket connects */

_Atomic bool mfs_ucx_contacts_on;

static struct {
    _Atomic bool looking; /* one thread */
    _Atomic bool changed; /* something has come or gone */
    _Atomic int64_t looked_ns;
    struct mfs_contact_set named; /* by addresses of endpoints */
} state = {.named = {.mutex = PTHREAD_MUTEX_INITIALIZER}};

void mfs_ucx_contacts_ask(struct mfs_host *host)
{
    if (!mfs_get(&mfs_ucx_contacts_on) && mfs_contacts_wanted(host))
        mfs_set(&mfs_ucx_contacts_on, true);
}

void mfs_ucx_contact_of_new_socket(int fd)
{
    static _Atomic bool said;
    struct mfs_socket socket;

    if (!mfs_get(&mfs_ucx_contacts_on))
        return;
    if (mfs_socket_note(fd, &socket) == -ENOSPC)
        mfs_warn_once(&said, "UCX has more than 256 sockets in this process: hosts that only the "
                             "others lead to are not found by connections");
    mfs_set(&state.changed, true);
}

uint32_t mfs_ucx_contact_enter(const struct sockaddr *address)
{
    uint32_t place = 0;

    if (mfs_get(&mfs_ucx_contacts_on)) {
        place = mfs_contact_set_add(&state.named, address);
        mfs_set(&state.changed, true);
    }
    return place;
}

void mfs_ucx_contact_leave(uint32_t place)
{
    mfs_contact_set_drop(&state.named, place);
    if (place)
        mfs_set(&state.changed, true);
}

/* What a socket leads to, unless both of its ends are of this host. */
static int peer_of(unsigned number, struct mfs_contact *contact)
{
    struct sockaddr_storage own, peer;
    const int error = mfs_socket_ends(number, &own, &peer);

    if (error)
        return error;
    if (!mfs_contact_is_other((const void *)&own, (const void *)&peer))
        return -ENOENT;
    return mfs_contact_of((const void *)&peer, contact) ? 0 : -ENOENT;
}

/* Fills up what there is of `contacts`; connects: one of the sockets has no other end yet. */
static uint32_t peers_add(struct mfs_contact *contacts, uint32_t count, bool *connects)
{
    const unsigned high = mfs_socket_places();

    for (unsigned number = 0; number < high && count < MFS_CONTACTS_OF_ONE; number++) {
        const int error = peer_of(number, &contacts[count]);

        count += !error;
        *connects = *connects || error == -ENOTCONN;
    }
    return count;
}

static void look(struct mfs_host *host)
{
    struct mfs_contact contacts[MFS_CONTACTS_OF_ONE];
    bool connects = false;
    uint32_t count;

    mfs_set(&state.changed, false);
    count = peers_add(contacts, mfs_contact_set_all(&state.named, contacts), &connects);
    if (mfs_contacts_tell(host, MFS_CONTACT_UCX, contacts, count) == -EAGAIN || connects)
        mfs_set(&state.changed, true);
}

void mfs_ucx_contacts_end(struct mfs_host *host)
{
    mfs_set(&state.looked_ns, 0);
    mfs_ucx_contacts_round(host);
}

__attribute__((noinline, cold)) void mfs_ucx_contacts_look(struct mfs_host *host)
{
    const int64_t now_ns = mfs_now_ns();
    const int64_t span_ns = mfs_get(&state.changed) ? SOON_NS : LOOK_NS;

    if (now_ns - mfs_get(&state.looked_ns) < span_ns || mfs_swap(&state.looking, true))
        return;
    mfs_set(&state.looked_ns, now_ns);
    look(host);
    mfs_publish(&state.looking, false);
}
