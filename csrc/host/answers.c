/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THREADS: one at a time looks, whoever comes first when it is time; all that is here is its own
 * meanwhile. A socket's place may be another one's at any moment: what is remembered of it stands
 * beside its cookie.
 */
#include "host/answers.h"

#include <errno.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/far_address.h"
#include "host/far_tables.h"
#include "host/marks.h"

#define EVERY_NS INT64_C(500000)
#define ALONE_NS INT64_C(100000000) /* without an agent */

static struct {
    _Atomic bool busy;
    _Atomic int64_t next_ns;
    struct {
        uint64_t cookie;
        uint64_t peer; /* 0: not known yet */
        uint64_t version; /* of the tables by which `far` was found */
        uint32_t far;
        uint8_t class_and_1; /* that was told last */
    } sockets[MFS_SOCKETS_MAX];
} answers;

/* 0: it is not connected yet, or to nobody who has an address. */
static uint64_t peer_of(const struct mfs_socket *socket)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);

    if (!mfs_socket_is_open(socket) ||
        getpeername(socket->fd, (struct sockaddr *)&address, &size) != 0)
        return 0;
    return mfs_far_sockaddr((const struct sockaddr *)&address);
}

static uint8_t class_of(const struct mfs_far_tables *far, uint32_t port, int64_t now_ns)
{
    const uint32_t level = mfs_far_answers_now(far, port, now_ns);

    return level == MFS_FAR_NO_LEVEL ? MFS_MARK_NONE
                                     : (uint8_t)(mfs_class_of(level, mfs_classes_get()->count) + 1);
}

static void socket_look(const struct mfs_far_tables *far, unsigned place, bool attended,
                        int64_t now_ns)
{
    const struct mfs_socket socket = mfs_socket_at(place);
    const uint64_t version = mfs_see(&far->version);
    uint8_t class_and_1 = MFS_MARK_NONE;
    int error;

    if (socket.cookie == 0)
        return;
    if (answers.sockets[place].cookie != socket.cookie) {
        answers.sockets[place].cookie = socket.cookie;
        answers.sockets[place].peer = 0;
        answers.sockets[place].class_and_1 = MFS_MARK_NONE;
    }
    if (attended) {
        if (answers.sockets[place].peer == 0) {
            answers.sockets[place].peer = peer_of(&socket);
            answers.sockets[place].version = version + 1; /* another than it is */
        }
        if (answers.sockets[place].version != version) {
            answers.sockets[place].far = mfs_far_find(far, answers.sockets[place].peer, MFS_EGRESS);
            answers.sockets[place].version = version;
        }
        class_and_1 = class_of(far, answers.sockets[place].far, now_ns);
    }
    if (class_and_1 == answers.sockets[place].class_and_1)
        return;
    answers.sockets[place].class_and_1 = class_and_1;
    error = mfs_socket_answers(&socket, class_and_1);
    if (error && error != -ENOENT)
        mfs_marks_refused();
}

void mfs_answers_look(struct mfs_host *host, int64_t now_ns)
{
    const struct mfs_far_tables *far = &host->segment->far;
    bool attended;

    if (now_ns < mfs_get(&answers.next_ns) || mfs_swap(&answers.busy, true))
        return;
    attended = mfs_far_attended(far, now_ns);
    for (unsigned place = 0, count = mfs_socket_places(); place < count; place++)
        socket_look(far, place, attended, now_ns);
    mfs_set(&answers.next_ns, now_ns + (attended ? EVERY_NS : ALONE_NS));
    mfs_publish(&answers.busy, false);
}
