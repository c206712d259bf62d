/* SPDX-License-Identifier: Apache-2.0 */
#include "host/agent_segment.h"

#include <errno.h>
#include <stdlib.h>

#include "host/guest.h"

#define PORTS_MAX 64u /* ours, of all times */
#define ATTEND_NS INT64_C(50000000) /* without a sign of life the tables are worth nothing */

struct own_port {
    uint32_t number;
    struct mfs_port *port;
    struct mfs_guest *guest; /* NULL until it is told something */
    bool told;
};

struct mfs_agent_segment {
    struct mfs_host *host;
    int64_t attended_ns;
    uint64_t identity; /* 0: not known yet */
    int error; /* why this process is not the agent any more */
    uint32_t count;
    struct own_port ports[PORTS_MAX];
};

int mfs_agent_segment_open(struct mfs_host *host, struct mfs_agent_segment **out)
{
    struct mfs_agent_segment *segment = calloc(1, sizeof(*segment));
    int error;

    if (!segment)
        return -ENOMEM;
    error = mfs_far_attend(host, ATTEND_NS);
    if (error && error != -EAGAIN) {
        free(segment);
        return error;
    }
    segment->host = host;
    *out = segment;
    return 0;
}

int mfs_agent_segment_error(const struct mfs_agent_segment *segment)
{
    return segment->error;
}

void mfs_agent_segment_close(struct mfs_agent_segment *segment)
{
    if (!segment)
        return;
    for (uint32_t i = 0; i < segment->count; i++) {
        mfs_guest_leave(segment->ports[i].guest);
        mfs_port_close(segment->ports[i].port);
    }
    mfs_far_depart(segment->host);
    free(segment);
}

/* NULL: it cannot be opened. */
static struct own_port *own_port_of(struct mfs_agent_segment *segment,
                                    const struct mfs_agent_port *port)
{
    struct own_port *own;

    for (uint32_t i = 0; i < segment->count; i++) {
        if (segment->ports[i].number == port->number)
            return &segment->ports[i];
    }
    if (segment->count == PORTS_MAX)
        return NULL;
    own = &segment->ports[segment->count];
    *own = (struct own_port){.number = port->number};
    if (mfs_port_open(segment->host, port->name, (enum mfs_direction)port->direction, &own->port) <
        0)
        return NULL;
    segment->count++;
    return own;
}

static void attend(void *context, int64_t now_ns)
{
    struct mfs_agent_segment *segment = context;
    int error;

    if (now_ns - segment->attended_ns < ATTEND_NS / 4)
        return;
    segment->attended_ns = now_ns;
    error = mfs_far_attend(segment->host, ATTEND_NS);
    if (error && error != -EAGAIN)
        segment->error = error;
    else if (!error && segment->identity)
        mfs_verdict_attend(segment->host, segment->identity);
}

static uint32_t claims(void *context, int64_t now_ns, struct mfs_claim *rows, uint32_t room)
{
    const struct mfs_agent_segment *segment = context;

    return mfs_far_claims(segment->host, now_ns, rows, room);
}

static bool own_claim(void *context, const struct mfs_agent_port *port, int64_t now_ns,
                      struct mfs_claim *claim)
{
    const struct own_port *own = own_port_of(context, port);

    return own && mfs_port_claim(own->port, own->guest, now_ns, claim);
}

static void limit(void *context, uint32_t far, uint32_t level, int64_t span_ns, int64_t for_ns)
{
    const struct mfs_agent_segment *segment = context;

    mfs_far_limit(segment->host, far, level, span_ns, for_ns);
}

static void share(void *context, uint32_t far, uint32_t sharers, int64_t for_ns)
{
    const struct mfs_agent_segment *segment = context;

    mfs_far_share(segment->host, far, sharers, for_ns);
}

static void guest(void *context, const struct mfs_agent_port *port, uint32_t level, int64_t span_ns,
                  uint64_t inflight_bytes, uint64_t done_bytes, int64_t now_ns)
{
    struct own_port *own = own_port_of(context, port);
    const bool nothing = level == MFS_FAR_NO_LEVEL && inflight_bytes == 0;

    if (!own || (nothing && !own->told))
        return;
    if (!own->guest && mfs_guest_join(own->port, &own->guest) < 0)
        return;
    own->told = !nothing;
    if (mfs_guest_tell(own->guest, level, span_ns, inflight_bytes, done_bytes, now_ns) == -ENOENT) {
        mfs_guest_leave(own->guest); /* somebody has written over its place: anew, next time */
        own->guest = NULL;
    }
}

static void answers(void *context, uint32_t far, uint32_t level, int64_t for_ns)
{
    const struct mfs_agent_segment *segment = context;

    mfs_far_answers(segment->host, far, level, for_ns);
}

static double seed_Bps(void *context, const struct mfs_agent_port *port)
{
    const struct own_port *own = own_port_of(context, port);

    return own ? (double)mfs_port_rate_Bps(own->port) : 0;
}

static uint32_t follows(void *context, struct mfs_follow *rows, uint32_t room)
{
    const struct mfs_agent_segment *segment = context;

    return mfs_verdict_follows(segment->host, rows, room);
}

static uint64_t follows_version(void *context)
{
    const struct mfs_agent_segment *segment = context;

    return mfs_verdict_version(segment->host);
}

static uint64_t requests_version(void *context)
{
    const struct mfs_agent_segment *segment = context;

    return mfs_request_version(segment->host);
}

static uint32_t own_verdict(void *context, uint64_t key)
{
    const struct mfs_agent_segment *segment = context;

    return mfs_verdict_own(segment->host, key);
}

static void verdict(void *context, const struct mfs_follow *follow, uint32_t says, int64_t for_ns)
{
    const struct mfs_agent_segment *segment = context;

    mfs_verdict_tell(segment->host, follow, says, for_ns);
}

void mfs_agent_segment_name(struct mfs_agent_segment *segment, uint64_t identity)
{
    segment->identity = identity;
    mfs_verdict_attend(segment->host, identity);
}

void mfs_agent_segment_ops(struct mfs_agent_segment *segment, struct mfs_agent_ops *ops)
{
    *ops = (struct mfs_agent_ops){.context = segment,
                                  .attend = attend,
                                  .claims = claims,
                                  .own_claim = own_claim,
                                  .limit = limit,
                                  .share = share,
                                  .guest = guest,
                                  .answers = answers,
                                  .seed_Bps = seed_Bps,
                                  .follows = follows,
                                  .follows_version = follows_version,
                                  .requests_version = requests_version,
                                  .own_verdict = own_verdict,
                                  .verdict = verdict};
}
