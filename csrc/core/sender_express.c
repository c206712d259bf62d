/* SPDX-License-Identifier: Apache-2.0 */
#include "core/sender_inside.h"

#define SPARE_SHARE 8 /* of a chunk may be kept for express operations: one part in so many */

/*
 * The time, where nothing waits: the clock that is some milliseconds late and several times
 * cheaper, unless a sample of the bandwidth begins or ends. It may be *vague_ns later than that:
 * twice a window's time and more, so a chunk that was stamped with it would look slow.
 */
static inline int64_t cheap_now_ns(const struct mfs_sender *sender, int64_t *vague_ns)
{
    int64_t now_ns;

    *vague_ns = 0;
    if (sender->rested)
        return sender->others.now(sender->others.ctx, true);
    now_ns = sender->others.now(sender->others.ctx, false);
    if (mfs_sample_due(sender->port, now_ns))
        return sender->others.now(sender->others.ctx, true);
    *vague_ns = sender->others.vague_ns;
    return now_ns;
}

void mfs_sender_done_now(struct mfs_sender *sender, struct mfs_destination *destination,
                         uint64_t bytes, bool keep)
{
    struct mfs_express_room *room = &sender->room;
    const bool waits = mfs_rmlq_operations(sender->queue) > 0;
    int64_t now_ns, vague_ns = 0;

    if (keep && !destination->judged && room->spare + bytes <= room->reuse_max / SPARE_SHARE &&
        destination->inflight_bytes > bytes && !waits) {
        room->spare += bytes; /* the others see its room taken */
        mfs_sender_left(sender, destination, bytes, 0, 0);
        return;
    }
    room->spare = 0;
    now_ns = destination->judged || waits ? sender->others.now(sender->others.ctx, true)
                                          : cheap_now_ns(sender, &vague_ns);
    mfs_sender_left(sender, destination, bytes, now_ns, vague_ns);
    mfs_sender_tell_done(sender, now_ns);
}

int mfs_sender_express(struct mfs_sender *sender, struct mfs_destination *destination,
                       uint64_t bytes, uint64_t largest)
{
    /* the last rank of all: it goes only when nobody of this host waits for the port */
    const struct mfs_told last = {.rank = MFS_RANK_LAST, .untagged_rank = MFS_RANK_NONE};
    struct mfs_express_room *room = &sender->room;
    struct mfs_others others;
    int64_t now_ns, vague_ns;
    int error;

    if (destination->queues != 0 ||
        (mfs_rmlq_operations(sender->queue) > 0 && mfs_rmlq_waits(sender->queue)))
        return -EBUSY;
    if (bytes <= room->spare && room->reused + bytes <= room->reuse_max) {
        room->spare -= bytes;
        room->reused += bytes;
        mfs_destination_sent(&sender->destinations, destination, bytes, 0);
        return 0;
    }
    mfs_window_state_rate(&sender->window, mfs_sender_port_rate(sender));
    if (bytes > (largest > 0 ? largest : sender->window.chunk_bytes))
        return -EMSGSIZE;
    now_ns = cheap_now_ns(sender, &vague_ns);
    mfs_sender_look(sender, now_ns, &others);
    (void)mfs_sender_look_at_own(sender, &others, now_ns);
    if (destination->queues != 0 || /* since the look */
        mfs_sender_turn(sender, &last, &others) < 0)
        return -EBUSY;
    error = mfs_sender_admit(sender, &others, false, bytes, now_ns);
    if (error) {
        sender->window.full = false; /* by this clock the next look would seem to come late */
        return error;
    }
    mfs_sender_book(sender, &others, destination, false, bytes, now_ns + vague_ns);
    *room = (struct mfs_express_room){.reuse_max = sender->window.chunk_bytes};
    if (sender->pace_Bps > 0) /* the pacer is asked each time */
        room->reuse_max = 0;
    mfs_sender_tell(sender, now_ns);
    return 0;
}

void mfs_sender_overdraw(struct mfs_sender *sender, struct mfs_destination *destination,
                         uint64_t bytes)
{
    mfs_destination_sent(&sender->destinations, destination, bytes, 0);
}
