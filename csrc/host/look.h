/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A look at a host's segment from outside: plain numbers, copied out of the file. Who looks
 * attaches to nothing, takes no lock and maps nothing, so it costs the processes of the host
 * nothing, needs no place among them, and shows one that is stopped, whatever that one holds.
 *
 * Only what living processes hold is told. The words may be anything (core/trust.h): the numbers
 * may then be wrong, but there are never more of them than these tables have places.
 */
#ifndef MFS_HOST_LOOK_H
#define MFS_HOST_LOOK_H

#include "host/host.h"
#include "host/port.h"
#include "host/warned.h"

#define MFS_LOOK_PROCESSES_MAX 128u
#define MFS_LOOK_SENDERS_MAX 128u /* of one port */
#define MFS_HOST_NAME_MAX 63 /* of a host; longer ones are cut */
#define MFS_LOOK_NOTHING 64u /* no level: nothing waits */
#define MFS_LOOK_WARNED_MAX 48u

/* Of a registered request; the last of them that is true. */
enum mfs_look_request {
    MFS_LOOK_WAITING, /* it has not begun to compute, or nobody has said so */
    MFS_LOOK_COMPUTING,
    MFS_LOOK_COMPUTED, /* what is left is to deliver its KV */
    MFS_LOOK_LATE, /* its deadline has passed */
    MFS_LOOK_GIVEN_UP, /* hopeless or shed */
    MFS_LOOK_REQUESTS_LAST
};

struct mfs_look_process {
    int32_t pid; /* as that process knows it; one that has several segments open is here twice */
    uint64_t pid_namespace; /* in which it is that number; 0: not known */
    char host[MFS_HOST_NAME_MAX + 1]; /* its name of the host: in a pod, the pod's */
    uint64_t counters[MFS_COUNT_LAST];
};

struct mfs_look_sender {
    uint32_t process; /* index in processes */
    uint32_t level;   /* of its best chunk that can be sent; MFS_LOOK_NOTHING */
    uint32_t stalled; /* its destinations that take no bytes now */
    bool still; /* something waits or is in flight, and it has not looked at its queue for the lease
                 */
    int64_t age_ns; /* since it has last looked at its queue */
    uint64_t inflight_bytes; /* to destinations that take bytes as they should */
    int64_t away_ns; /* how long it mostly does not look, while something waits for room */
    int64_t covers_ns; /* how long what it has in flight then keeps the port busy; 0: not known */
};

struct mfs_look_port {
    char name[MFS_PORT_NAME_MAX + 1];
    uint32_t direction; /* enum mfs_direction */
    uint64_t rate_Bps; /* 0: not known yet */
    uint64_t window_bytes; /* by the settings of the process that looks */
    uint64_t done_bytes; /* ever completed, also by senders that have gone */
    uint32_t sender_count;
    struct mfs_look_sender senders[MFS_LOOK_SENDERS_MAX];
};

struct mfs_look {
    int64_t now_ns; /* when it was taken */
    uint64_t pid_namespace; /* of the process that looks; 0: not known */
    const char *policy;
    bool tracing;
    uint64_t counters[MFS_COUNT_LAST]; /* of all processes there ever were */
    uint32_t requests[MFS_LOOK_REQUESTS_LAST];
    uint32_t warned_count;
    struct mfs_warned warned[MFS_LOOK_WARNED_MAX]; /* in no order */
    uint32_t process_count;
    struct mfs_look_process processes[MFS_LOOK_PROCESSES_MAX];
    uint32_t port_count;
    struct mfs_look_port ports[MFS_PORTS_MAX];
};

/*
 * What lies at path; NULL or "": at the default place. -ENOENT: nothing; -ENODATA: nobody is
 * attached to it; -EPROTO: another version's; -EBADMSG: it is no segment; -EACCES: it belongs to,
 * or is open to, another user.
 */
MFS_API int mfs_look_take(const char *path, struct mfs_look *look);
/* The same, also of a file that nobody uses any more: as it was left. -ENODATA: nobody ever has. */
MFS_API int mfs_look_past(const char *path, struct mfs_look *look);

#endif
