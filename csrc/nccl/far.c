/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/far.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "core/atomic.h"
#include "host/contact_set.h"
#include "host/far.h"
#include "nccl/peer.h"

#define TELL_NS INT64_C(1000000000)

/* Of all engines of the process. */
static struct mfs_contact_set contacts = {.mutex = PTHREAD_MUTEX_INITIALIZER};
static _Atomic int64_t told_ns; /* 0: something has changed */

uint64_t mfs_nccl_far_uid(const unsigned char *uuid)
{
    uint64_t uid;

    memcpy(&uid, uuid, sizeof(uid));
    return uid != 0 ? uid : 1;
}

void mfs_nccl_far_enter(struct mfs_nccl_engine *engine)
{
    if (engine->far_entered || !engine->host || !mfs_far_wanted(engine->host))
        return;
    engine->far_entered = mfs_far_own_enter(engine->host, mfs_nccl_far_uid(engine->uuid),
                                            engine->device->port, &engine->far_place) == 0;
}

void mfs_nccl_far_leave(struct mfs_nccl_engine *engine)
{
    if (engine->far_entered)
        mfs_far_own_leave(engine->host, engine->far_place);
    engine->far_entered = false;
    for (struct mfs_nccl_peer *peer = engine->peers; peer; peer = peer->next) {
        mfs_contact_set_drop(&contacts, peer->contact);
        peer->contact = 0;
    }
    mfs_set(&told_ns, 0);
    mfs_nccl_far_tick(engine, mfs_now_ns()); /* perhaps nobody else does */
}

void mfs_nccl_far_met(struct mfs_nccl_peer *peer, int fd)
{
    struct sockaddr_storage own = {0}, other = {0};
    socklen_t own_size = sizeof(own), other_size = sizeof(other);

    if (peer->contact || getsockname(fd, (void *)&own, &own_size) != 0 ||
        getpeername(fd, (void *)&other, &other_size) != 0 ||
        !mfs_contact_is_other((void *)&own, (void *)&other))
        return;
    peer->contact = mfs_contact_set_add(&contacts, (void *)&other);
    mfs_set(&told_ns, 0);
}

void mfs_nccl_far_tick(struct mfs_nccl_engine *engine, int64_t now_ns)
{
    struct mfs_contact all[MFS_CONTACTS_OF_ONE];
    int64_t before_ns = mfs_get(&told_ns);

    if (!engine->host || now_ns - before_ns < TELL_NS ||
        !mfs_replace(&told_ns, &before_ns, now_ns) || !mfs_contacts_wanted(engine->host))
        return;
    if (mfs_contacts_tell(engine->host, MFS_CONTACT_NCCL, all,
                          mfs_contact_set_all(&contacts, all)) == -EAGAIN)
        mfs_set(&told_ns, 0);
}
