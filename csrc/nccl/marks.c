/* SPDX-License-Identifier: Apache-2.0 */
#include "nccl/marks.h"

#include <stdlib.h>

#define LOOK_BYTES 4096u /* of a message, the socket takes so much at once or nothing */

void mfs_nccl_marks_make(struct mfs_nccl_peer *peer)
{
    struct mfs_nccl_engine *engine = peer->engine;

    if (!mfs_marks_are_on() || engine->device->rdma || !engine->sender)
        return;
    if (!engine->sockets)
        engine->sockets = malloc(sizeof(*engine->sockets));
    if (engine->sockets)
        peer->marks = calloc(peer->channels, sizeof(*peer->marks));
    for (unsigned channel = 0; peer->marks && channel < peer->channels; channel++)
        peer->marks[channel].keeps = true;
}

void mfs_nccl_marks_free(struct mfs_nccl_peer *peer)
{
    free(peer->marks);
    peer->marks = NULL;
}

uint8_t mfs_nccl_mark_first(struct mfs_nccl_peer *peer, unsigned channel, unsigned level)
{
    struct mfs_marks *marks = &peer->marks[channel];

    if (peer->engine->scheduled)
        return mfs_marks_begin(marks, level);
    mfs_marks_rest(marks); /* there are no levels */
    return MFS_MARK_NONE;
}

void mfs_nccl_mark_say(struct mfs_nccl_peer *peer, unsigned channel)
{
    if (peer->marks && peer->engine->scheduled)
        mfs_marks_say(&peer->marks[channel]);
}

void mfs_nccl_mark_before(struct mfs_nccl_peer *peer, unsigned channel)
{
    struct mfs_sockets *sockets = peer->engine->sockets;

    sockets->count = 0;
    if (mfs_marks_want_socket(&peer->marks[channel]))
        mfs_sockets_look(sockets);
}

void mfs_nccl_mark_after(struct mfs_nccl_peer *peer, unsigned channel, uint64_t bytes)
{
    const struct mfs_sockets *sockets = peer->engine->sockets;

    if (sockets->count > 0)
        mfs_marks_saw(&peer->marks[channel],
                      mfs_sockets_grown(sockets, bytes < LOOK_BYTES ? bytes : LOOK_BYTES));
}
