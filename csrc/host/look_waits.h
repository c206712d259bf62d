/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits in the processes of a host, looked at from outside (host/look.h): what each sender has
 * told last (host/waits.h), and what its own words say now.
 */
#ifndef MFS_HOST_LOOK_WAITS_H
#define MFS_HOST_LOOK_WAITS_H

#include "core/waits.h"
#include "host/host.h"
#include "host/look.h"

#define MFS_LOOK_QUEUES_MAX 256u
#define MFS_LOOK_NOBODY 128u /* no process */
#define MFS_LOOK_WAITS_MAX 32u /* of one sender */

/* Times are spans until now. */
struct mfs_look_wait {
    char request[64]; /* its name, MFS_REQUEST_NAME_MAX at most; "": not known */
    uint64_t key; /* MFS_REQUEST_NONE: of no request */
    uint32_t layer;
    uint32_t stage; /* enum mfs_stage */
    uint32_t level; /* MFS_LOOK_NOTHING: it has none */
    uint32_t why; /* enum mfs_wait_for */
    uint64_t bytes_left, bytes_sent; /* queued, and sent since it became active */
    uint64_t inflight_bytes; /* to its peer */
    int64_t wait_ns; /* since its oldest operation was posted */
    int64_t still_ns; /* since something of it was sent, as far as was seen */
    int64_t peer_ns; /* since a byte for its peer left last; -1: none is in flight */
    int64_t due_ns; /* until its deadline; MFS_TIME_NEVER: it has none */
    int64_t laxity_ns; /* that, less what sending the rest takes at the port's rate */
    int64_t finish_ns; /* until it has to have left, with what comes after it; MFS_TIME_NEVER */
    uint64_t p2d_left_bytes; /* of its request to deliver, with what is not computed yet; 0: not
                              * known */
    bool given_up; /* it is hopeless, or was shed */
    char peer[MFS_PEER_NAME_MAX + 1];
};

/* Of one sender that has something to do. */
struct mfs_look_queue {
    uint32_t process; /* index in the look's processes */
    char port[MFS_PORT_NAME_MAX + 1];
    uint32_t direction; /* enum mfs_direction */
    uint32_t level; /* of its best chunk that can be sent; MFS_LOOK_NOTHING */
    uint32_t stalled; /* its destinations that take no bytes */
    bool still; /* it has not looked at its queue for the lease */
    uint64_t inflight_bytes; /* to destinations that take bytes as they should */
    int64_t age_ns; /* since it has last looked at its queue */
    int64_t told_ns; /* since it told what waits; -1: it never has */
    uint64_t flows, bytes; /* that waited then */
    uint32_t better_process; /* whose chunk goes before its best; MFS_LOOK_NOBODY */
    uint32_t better_level;
    uint32_t count; /* of waits, the oldest first */
    struct mfs_look_wait waits[MFS_LOOK_WAITS_MAX];
};

struct mfs_look_waits {
    uint32_t left_out; /* for want of room here */
    uint32_t queue_count;
    struct mfs_look_queue queues[MFS_LOOK_QUEUES_MAX];
};

/* As mfs_look_take(), and what waits, of one and the same copy. */
MFS_API int mfs_look_waits(const char *path, struct mfs_look *look, struct mfs_look_waits *waits);

#endif
