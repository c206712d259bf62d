/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happened to the flows of a host, in a ring that outlives the processes that
 * wrote it: who waited, at which level and why, with which deadline, when it was promoted, when it
 * left and when its last byte was acknowledged. "Why was this request late" is answered from
 * outside its process.
 *
 *   number:  0 1 2 ...   n-MFS_EVENTS_MAX ... n-1 | n
 *            overwritten |  can be read           | the next one
 *
 * Off until somebody asks (MFS_TRACE, `mfs trace`): a flow then costs one load. On, an
 * event is a copy of 19 words, without a lock or a syscall; a writer that dies half-way
 * leaves one event that is never read.
 */
#ifndef MFS_HOST_EVENT_H
#define MFS_HOST_EVENT_H

#include "core/rmlq.h"
#include "host/host.h"
#include "host/port.h"

#define MFS_EVENTS_MAX 16384u /* that can be read at one time; a power of two */

struct mfs_event {
    int64_t time_ns;     /* CLOCK_MONOTONIC */
    int64_t deadline_ns; /* of its request; MFS_TIME_NEVER if it has none */
    uint64_t request;    /* key, or MFS_REQUEST_NONE */
    uint64_t bytes_left; /* queued and not yet sent */
    uint64_t bytes_sent; /* since the flow became active */
    int64_t slack_ns;    /* this and rate_Bps: see struct mfs_why */
    uint64_t rate_Bps;
    uint64_t shed_for;   /* the request for which it was given up; MFS_REQUEST_NONE: for none */
    uint32_t layer;
    uint16_t stage;      /* enum mfs_stage */
    uint16_t kind;       /* enum mfs_flow_event */
    uint16_t level;      /* where it is now */
    uint16_t level_before;
    uint16_t port;       /* index of mfs_port_name_at() */
    uint16_t direction;  /* enum mfs_direction */
    int32_t pid;
    uint16_t given_up;   /* 1: its request was hopeless or shed at that moment */
    uint16_t why;        /* it has this level: enum mfs_why_reason */
    char name[64]; /* of the request, MFS_REQUEST_NAME_MAX at most; "" if unknown */
};

/* Record from now on, or no longer; for all processes of the host. */
MFS_API void mfs_event_trace(struct mfs_host *host, bool on);
MFS_API bool mfs_event_tracing(struct mfs_host *host);
/* For the queue on a port: records what it tells while somebody traces. Lives as the port does. */
MFS_API struct mfs_flow_watch mfs_event_watch(struct mfs_port *port);
/* Events ever recorded; the next one bears this number. */
MFS_API uint64_t mfs_event_count(struct mfs_host *host);
/*
 * Copy events from number *next on, oldest first, at most `room` of them, and move *next
 * behind the last one. *lost (may be NULL) is raised by those that were overwritten before
 * they were read, or that a dead process left half written. Returns how many were copied; 0:
 * there are none yet.
 */
MFS_API size_t mfs_event_read(struct mfs_host *host, uint64_t *next, struct mfs_event *events,
                              size_t room, uint64_t *lost);

#endif
