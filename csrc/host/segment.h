/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: the layout of the shared segment, and how its words are read.
 *
 * Every word that two processes may touch is atomic, and nothing that is read is trusted. Words
 * are relaxed unless a comment says what they publish. The tables are written under the segment's
 * lock (attach.h), by the control plane and by reaping alone. On the way of a chunk nobody waits
 * for it: once in a while a sender looks for dead owners, if the lock is free (mfs_process_reap).
 */
#ifndef MFS_HOST_SEGMENT_H
#define MFS_HOST_SEGMENT_H

#include <stdatomic.h>

#include "core/port_state.h"
#include "core/trust.h"
#include "host/contact_table.h"
#include "host/counters.h"
#include "host/event.h"
#include "host/far_tables.h"
#include "host/host.h"
#include "host/port.h"
#include "host/verdict_table.h"
#include "host/waits.h"
#include "host/warned.h"

#define MFS_LAYOUT_VERSION 27u
#define MFS_PROCESSES_MAX 128u
#define MFS_LIVING_WORDS (MFS_PROCESSES_MAX / 64)
#define MFS_COUNT_ROWS 8u
#define MFS_REQUEST_CELLS 24576u /* half as many again as requests: see requests.c */
#define MFS_SENDERS_MAX 128u    /* of one port */
#define MFS_FACTS_WORDS (sizeof(struct mfs_facts) / sizeof(uint64_t))
#define MFS_NAME_WORDS ((MFS_REQUEST_NAME_MAX + 1) / sizeof(uint64_t))
#define MFS_HOST_NAME_WORDS 8u
#define MFS_WARNED_WORDS ((MFS_WARNED_TEXT_MAX + 1) / sizeof(uint64_t))
#define MFS_PORT_NAME_WORDS ((MFS_PORT_NAME_MAX + 1) / sizeof(uint64_t))
#define MFS_EVENT_WORDS (sizeof(struct mfs_event) / sizeof(uint64_t))

_Static_assert(sizeof(struct mfs_facts) % sizeof(uint64_t) == 0, "facts are copied by words");
_Static_assert(sizeof(struct mfs_event) % sizeof(uint64_t) == 0, "events are copied by words");
_Static_assert(sizeof(((struct mfs_event *)0)->name) == MFS_REQUEST_NAME_MAX + 1, "names fit");

/* Cell of the request table, under a sequence lock: odd while it is written. */
struct mfs_request_cell {
    _Atomic uint32_t sequence;
    _Atomic uint32_t live;     /* 0: dropped; the key stays so that probing goes on */
    _Atomic uint64_t key;      /* MFS_REQUEST_NONE: never used */
    _Atomic uint64_t words[MFS_FACTS_WORDS];
    _Atomic uint32_t owner;    /* process slot + 1 of the last writer */
    _Atomic uint32_t follows;  /* its place in the table of verdict_table.h + 1; 0: none */
    _Atomic uint64_t name[MFS_NAME_WORDS]; /* for display */
};

/* Place of an event in the ring: its number n + 1 while it can be read, 0 while it is written. */
struct mfs_event_cell {
    _Atomic uint64_t number;
    _Atomic uint64_t words[MFS_EVENT_WORDS];
};

/* One sender of a port. A cache line of its own: the others read it, one writes. */
struct mfs_sender_cell {
    _Alignas(64) _Atomic uint32_t owner; /* process slot + 1; 0: free */
    _Atomic uint32_t stalled; /* its destinations that take no bytes now */
    _Atomic uint64_t rank;               /* best waiting, or MFS_RANK_NONE */
    _Atomic uint64_t untagged_rank;      /* best untagged waiting, or MFS_RANK_NONE */
    _Atomic uint32_t untagged_bytes;     /* of that one's chunk */
    _Atomic uint32_t slow_kib;           /* to destinations that are slow, in KiB */
    _Atomic uint64_t inflight_bytes;     /* to destinations that take bytes as they should */
    _Atomic int64_t stamp_ns;            /* when the owner last moved */
    _Atomic uint64_t done_bytes;         /* ever completed, by all owners it had */
    _Atomic uint32_t away_us; /* how long the owner mostly does not look while something waits that
                               * did not fit; 0: nothing did */
    _Atomic uint32_t covers_us; /* and how long its window keeps the port busy */
};

/* A member of a port, as its senders name it: core/weigh.h. */
struct mfs_member_cell {
    _Atomic uint64_t key; /* 0: free */
    _Atomic uint64_t mark;
};

struct mfs_port_cell {
    _Atomic uint32_t used; /* 1 publishes name and direction */
    _Atomic uint32_t direction; /* enum mfs_direction */
    _Atomic uint64_t name[MFS_PORT_NAME_WORDS];
    _Alignas(64) _Atomic uint32_t senders_high; /* cells ever used: bound of scans */
    _Atomic uint64_t beside; /* ports that have a device in common with it: overlap.h */
    struct mfs_port_state state;
    _Atomic int64_t reap_next_ns; /* look for dead owners not before */
    _Atomic uint64_t weigh_clock;
    struct mfs_sender_cell senders[MFS_SENDERS_MAX];
    _Atomic uint8_t member_of[MFS_SENDERS_MAX]; /* of a sender, from 1 on; 0: of none */
    struct mfs_member_cell members[MFS_SENDERS_MAX];
};

/* Which processes have the port of the same index open: a bit each. */
struct mfs_port_users {
    _Atomic uint64_t bits[MFS_LIVING_WORDS];
};

struct mfs_process_cell {
    _Atomic uint32_t used; /* 1: a process has the slot; 0: nobody; others: rubbish */
    _Atomic int32_t pid; /* this and the next two are for display: identity.h */
    _Atomic uint64_t pid_namespace;
    _Atomic uint64_t host[MFS_HOST_NAME_WORDS];
    _Atomic uint64_t counters[MFS_COUNT_LAST];
    struct mfs_count_row rows[MFS_COUNT_ROWS]; /* those of one thread each, to be added */
};

/* What was warned of: warned.c says who writes what. */
struct mfs_warned_cell {
    _Atomic uint64_t kind; /* 0: free */
    _Atomic uint64_t count;
    _Atomic int64_t first_ns, last_ns; /* CLOCK_MONOTONIC */
    _Atomic uint32_t sequence; /* of pid and text: odd while they are written */
    _Atomic int32_t pid;
    _Atomic uint64_t text[MFS_WARNED_WORDS];
};

struct mfs_segment {
    char magic[8];
    uint32_t version;
    uint32_t reserved;
    uint64_t size;
    _Atomic uint32_t writer; /* process slot + 1 of who changes the tables; it holds the lock */
    _Atomic uint64_t settings_version;
    _Atomic uint32_t policy; /* index in the table of policies + 1; others, also 0: rubbish */
    _Atomic uint32_t request_count;
    _Atomic uint64_t request_version;
    _Atomic uint64_t past[MFS_COUNT_LAST]; /* counters of processes that have gone */
    struct mfs_process_cell processes[MFS_PROCESSES_MAX];
    struct mfs_port_users port_users[MFS_PORTS_MAX];
    struct mfs_port_cell ports[MFS_PORTS_MAX];
    struct mfs_warned_cell warned[MFS_WARNED_MAX];
    struct mfs_request_cell requests[MFS_REQUEST_CELLS];
    struct mfs_follow_table follows;
    _Atomic uint32_t tracing; /* events are recorded */
    _Atomic uint64_t events_count; /* ever recorded: the next one's number */
    struct mfs_event_cell events[MFS_EVENTS_MAX];
    struct mfs_wait_table waits[MFS_WAIT_TABLES];
    struct mfs_far_tables far;
    struct mfs_contact_table contacts;
};

/* The slots that live processes hold. */
struct mfs_living {
    uint64_t slots[MFS_LIVING_WORDS];
};

/* Is a cell's owner (its slot + 1; 0: nobody) alive? No number that is none of a slot is. */
static inline bool mfs_living_owner(const struct mfs_living *living, uint32_t owner)
{
    return owner > 0 && owner <= MFS_PROCESSES_MAX &&
           (living->slots[(owner - 1) / 64] >> (owner - 1) % 64 & 1);
}

/* Chunks and window by the configuration of the process. */
struct mfs_port;
void mfs_port_window_config(const struct mfs_port *port, struct mfs_window_config *window);

#endif
