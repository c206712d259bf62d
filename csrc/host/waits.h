/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits in each process, in the segment: `mfs dump` reads it from outside, also when the
 * process hangs or is stopped.
 *
 *   sender --every 100 ms, from its own look at the port--> its table: the 32 oldest, and the time
 *
 * A sender that looks at its queue tells of it now and then, whoever asks or not, so a process that
 * stops has told what waited a moment before. It costs no chunk anything: that the time has come
 * is seen where a sender looks for dead owners (docs/decisions/0060). What has waited for long
 * is said in the log as well, once.
 */
#ifndef MFS_HOST_WAITS_H
#define MFS_HOST_WAITS_H

#include <stdatomic.h>

#include "core/waits.h"
#include "host/host.h"

#define MFS_WAIT_TABLES 256u /* senders of a host that tell what waits; others have only totals */
#define MFS_WAIT_ROWS 32u
#define MFS_WAITS_SLEEP_NS INT64_C(5000000) /* for one that goes to sleep */
/* And so much more for each flow: to look at it takes less than a hundredth of that. */
#define MFS_WAITS_FLOW_NS INT64_C(20000)

/* One that waits, as others see it. */
struct mfs_wait_row {
    uint64_t request; /* key, or MFS_REQUEST_NONE */
    uint64_t bytes_left, bytes_sent;
    uint64_t inflight_bytes; /* to its destination */
    int64_t posted_ns; /* its oldest operation */
    int64_t moved_ns; /* since when nothing of it has been sent, as far as was seen */
    int64_t peer_ns; /* when a byte for its destination left last; 0: not known */
    uint32_t layer;
    uint16_t stage; /* enum mfs_stage */
    uint8_t level; /* MFS_LEVELS_MAX: it has none yet */
    uint8_t why; /* enum mfs_wait_for */
    char peer[MFS_PEER_NAME_MAX + 1];
};

#define MFS_WAIT_WORDS (sizeof(struct mfs_wait_row) / sizeof(uint64_t))

/* Of one sender; written by its owner. Under a sequence lock: odd while it is written. */
struct mfs_wait_table {
    _Alignas(64) _Atomic uint32_t owner; /* process slot + 1; 0: free */
    _Atomic uint32_t sequence;
    _Atomic uint32_t port, sender; /* whose it is: indices of ports[] and of its senders[] */
    _Atomic int64_t told_ns;
    _Atomic uint64_t flows, bytes; /* that wait, also those for which no row is left */
    _Atomic uint64_t held_bytes; /* in flight, to whatever destination */
    _Atomic uint64_t done_bytes; /* completed until then: of what waited all has gone once as many
                                  * have been completed since */
    _Atomic uint32_t count;
    _Atomic uint64_t rows[MFS_WAIT_ROWS][MFS_WAIT_WORDS];
};

/* What a sender remembers of what it has told. */
struct mfs_waits {
    struct mfs_host *host;
    struct mfs_wait_table *table; /* NULL: none was left */
    uint32_t owner, port, sender; /* what stands in it */
    int64_t every_ns; /* between two times that it tells */
    int64_t limit_ns; /* what has not moved for so long is said in the log, as often at most */
    int64_t said_ns; /* when it was last; 0: never */
    uint32_t count;
    struct {
        uint64_t flow, bytes_sent;
        int64_t moved_ns;
        bool said;
    } seen[MFS_WAIT_ROWS];
};

struct mfs_segment;
struct mfs_living;

/* A table for the sender, if one is free; the lock is held. */
void mfs_waits_open(struct mfs_waits *waits, struct mfs_host *host, uint32_t port, uint32_t sender);
void mfs_waits_close(struct mfs_waits *waits);
/* Tell what waits. Returns when to do it again. */
int64_t mfs_waits_tell(struct mfs_waits *waits, const struct mfs_sender *sender, int64_t now_ns);
/* Give back what the dead held; the lock is held. */
void mfs_waits_reap(struct mfs_segment *segment, const struct mfs_living *living);

/* The destination's name, as its transport gives it. */
MFS_API void mfs_waits_peer(const struct mfs_sender *sender,
                            const struct mfs_destination *destination,
                            char name[MFS_PEER_NAME_MAX + 1]);
/* For a log: what has waited longest for it, as " (the oldest of request cmpl-17, stage p2d, layer
 * 3)"; "" if nothing waits. */
MFS_API void mfs_waits_oldest(struct mfs_host *host, const struct mfs_sender *sender,
                              const struct mfs_destination *destination, char *text, size_t size);

#endif
