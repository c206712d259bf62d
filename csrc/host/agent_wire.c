/* SPDX-License-Identifier: Apache-2.0 */
#include "host/agent_wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define AT_ONCE 32u
#define FLOOD 512u /* datagrams of one tick at most: a flood does not keep us from our own */
#define IDLE_NS INT64_C(5000000)
#define BUSY_NS INT64_C(200000000) /* after the last traffic */
#define SECOND_NS INT64_C(1000000000)

struct mfs_agent_wire {
    struct mfs_agent *agent;
    int socket;
    bool six, hold;
    bool busy;       /* there is traffic with peers, or was just now */
    int64_t busy_ns; /* when there was some last */
    int64_t next_ns; /* when the next tick is */
    uint64_t lost;
    int64_t emptied_ns; /* when the socket was seen empty last */
    int64_t since_ns; /* the same, of those that have come: none of them is older */
    uint32_t taken; /* datagrams since the last tick */
    /* what has come: of count datagrams those in front of `next` are done with */
    uint32_t count, next;
    int64_t came_ns, real_ns; /* when they were read, by both clocks */
    struct mmsghdr heads[AT_ONCE];
    struct iovec places[AT_ONCE];
    struct sockaddr_storage from[AT_ONCE];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } more[AT_ONCE];
    uint8_t data[AT_ONCE][MFS_MESSAGE_BYTES_MAX + 1];
};

/* What the kernel has written over, of those that were read. */
static void places_ready(struct mfs_agent_wire *wire, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        wire->heads[i].msg_hdr.msg_namelen = sizeof(wire->from[i]);
        wire->heads[i].msg_hdr.msg_controllen = sizeof(wire->more[i]);
    }
}

int mfs_agent_wire_open(struct mfs_agent *agent, int socket, bool six, bool hold,
                        struct mfs_agent_wire **out)
{
    struct mfs_agent_wire *wire = calloc(1, sizeof(*wire));

    if (!wire)
        return -ENOMEM;
    wire->agent = agent;
    wire->socket = socket;
    wire->six = six;
    wire->hold = hold;
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        wire->places[i] = (struct iovec){wire->data[i], sizeof(wire->data[i])};
        wire->heads[i].msg_hdr = (struct msghdr){.msg_name = &wire->from[i],
                                                 .msg_iov = &wire->places[i],
                                                 .msg_iovlen = 1,
                                                 .msg_control = wire->more[i].bytes};
    }
    places_ready(wire, AT_ONCE);
    wire->emptied_ns = mfs_now_ns();
    *out = wire;
    return 0;
}

void mfs_agent_wire_close(struct mfs_agent_wire *wire)
{
    free(wire);
}

uint64_t mfs_agent_wire_lost(const struct mfs_agent_wire *wire)
{
    return wire->lost;
}

/* --- addresses --- */

static void address_from(const struct sockaddr_storage *from, struct mfs_agent_address *address)
{
    *address = (struct mfs_agent_address){0};
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)from;

        memcpy(address->ip, &in6->sin6_addr, sizeof(in6->sin6_addr));
        address->scope = in6->sin6_scope_id;
        address->port = ntohs(in6->sin6_port);
        address->six = true;
    } else {
        const struct sockaddr_in *in = (const void *)from;

        memcpy(address->ip, &in->sin_addr, sizeof(in->sin_addr));
        address->port = ntohs(in->sin_port);
    }
}

static socklen_t address_to(const struct mfs_agent_address *address, struct sockaddr_storage *to)
{
    struct sockaddr_in6 *in6 = (void *)to;
    struct sockaddr_in *in = (void *)to;

    memset(to, 0, sizeof(*to));
    if (address->six) {
        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_addr, address->ip, sizeof(in6->sin6_addr));
        in6->sin6_scope_id = address->scope;
        in6->sin6_port = htons(address->port);
        return sizeof(*in6);
    }
    in->sin_family = AF_INET;
    memcpy(&in->sin_addr, address->ip, sizeof(in->sin_addr));
    in->sin_port = htons(address->port);
    return sizeof(*in);
}

/* --- sending --- */

/* Those of frames[0..count) as many as go in one call; returns how many are done with. */
static uint32_t some_send(struct mfs_agent_wire *wire, const struct mfs_agent_frame *frames,
                          uint32_t count)
{
    struct mmsghdr heads[AT_ONCE];
    struct iovec places[AT_ONCE];
    struct sockaddr_storage to[AT_ONCE];
    int done;

    count = count < AT_ONCE ? count : AT_ONCE;
    for (uint32_t i = 0; i < count; i++) {
        places[i] = (struct iovec){(void *)frames[i].bytes, frames[i].size};
        heads[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &to[i],
                                                .msg_namelen = address_to(&frames[i].to, &to[i]),
                                                .msg_iov = &places[i],
                                                .msg_iovlen = 1}};
    }
    done = sendmmsg(wire->socket, heads, count, 0);
    if (done > 0)
        return (uint32_t)done;
    wire->lost++; /* no route, a full buffer, a peer's port is closed: the next one says it */
    return 1;
}

void mfs_agent_wire_send(struct mfs_agent_wire *wire)
{
    uint32_t count, at = 0;
    const struct mfs_agent_frame *frames = mfs_agent_frames(wire->agent, &count);

    while (at < count)
        at += some_send(wire, frames + at, count - at);
    mfs_agent_frames_sent(wire->agent);
}

/* --- taking --- */

static int64_t real_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* false: nothing is there. */
static bool some_read(struct mfs_agent_wire *wire)
{
    const bool all = wire->count > 0 && wire->count < AT_ONCE; /* since the last tick */
    int64_t asked_ns;
    int done;

    places_ready(wire, wire->count);
    wire->next = wire->count = 0;
    if (all)
        return false;
    asked_ns = mfs_now_ns();
    wire->since_ns = wire->emptied_ns;
    do { /* an error of an earlier datagram */
        done = recvmmsg(wire->socket, wire->heads, AT_ONCE, MSG_DONTWAIT, NULL);
    } while (done < 0 && errno != EAGAIN && errno != EINTR && wire->taken++ < FLOOD);
    if (done < 0 ? errno == EAGAIN : done < (int)AT_ONCE)
        wire->emptied_ns = asked_ns;
    if (done <= 0)
        return false;
    wire->count = (uint32_t)done;
    wire->came_ns = mfs_now_ns();
    wire->real_ns = real_ns();
    return true;
}

/* How long a datagram has lain in the socket, as the kernel says it: by a clock that may have been
 * set meanwhile. */
static int64_t waited_ns(struct msghdr *head, int64_t now_ns, int64_t most_ns)
{
    for (struct cmsghdr *one = CMSG_FIRSTHDR(head); one; one = CMSG_NXTHDR(head, one)) {
        struct timespec came;
        int64_t waited;

        if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&came, CMSG_DATA(one), sizeof(came));
        waited = now_ns - (came.tv_sec * SECOND_NS + came.tv_nsec);
        return waited < 0 ? 0 : waited < most_ns ? waited : most_ns;
    }
    return 0;
}

static int next_take(struct mfs_agent_wire *wire)
{
    const uint32_t at = wire->next++;
    const int64_t waited =
        waited_ns(&wire->heads[at].msg_hdr, wire->real_ns, wire->came_ns - wire->since_ns);
    struct mfs_agent_address from;

    address_from(&wire->from[at], &from);
    return mfs_agent_take(wire->agent, wire->data[at], wire->heads[at].msg_len, &from,
                          wire->came_ns - waited, waited);
}

/* All that has come, until something is left to do. */
static int all_take(struct mfs_agent_wire *wire)
{
    int left = 0;

    while (left == 0 && wire->taken < FLOOD && (wire->next < wire->count || some_read(wire))) {
        wire->taken++;
        left = next_take(wire);
    }
    return left;
}

/* --- the round --- */

/* Until that moment; true: something has come before. */
static bool nap(const struct mfs_agent_wire *wire, bool busy, int64_t until_ns, int64_t now_ns)
{
    const int64_t span_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    const struct timespec span = {span_ns / SECOND_NS, span_ns % SECOND_NS};
    struct pollfd one = {.fd = wire->socket, .events = POLLIN};

    /* with traffic, what comes is taken at the next tick: many at a time cost less */
    return ppoll(&one, busy ? 0 : 1, &span, NULL) > 0;
}

static void tick(struct mfs_agent_wire *wire)
{
    const int64_t now_ns = mfs_now_ns();

    wire->taken = 0;
    if (mfs_agent_tick(wire->agent, now_ns) > 0)
        wire->busy_ns = now_ns;
    wire->busy = now_ns - wire->busy_ns < BUSY_NS;
    wire->next_ns = now_ns + (wire->busy ? mfs_agent_tick_ns(wire->agent) : IDLE_NS);
}

int mfs_agent_wire_run(struct mfs_agent_wire *wire, int64_t until_ns)
{
    for (;;) {
        const int64_t now_ns = mfs_now_ns();
        uint32_t frames;
        int left;

        if (now_ns < wire->next_ns &&
            !nap(wire, wire->busy, wire->next_ns < until_ns ? wire->next_ns : until_ns, now_ns) &&
            wire->next_ns > until_ns)
            return 0;
        left = all_take(wire);
        if (left)
            return left;
        tick(wire);
        mfs_agent_frames(wire->agent, &frames);
        if (frames > 0 && wire->hold)
            return MFS_AGENT_FRAMES;
        if (frames > 0)
            mfs_agent_wire_send(wire);
        if (mfs_now_ns() >= until_ns) /* where every tick is late, none is slept for */
            return 0;
    }
}
