/* SPDX-License-Identifier: Apache-2.0 */
/* See ADMISSION in host/agent.h. */
#include "host/agent_inside.h"

#define RECENT_NS INT64_C(2000000000) /* an echo of what we sent longer ago admits nobody */
#define BASE_SPAN_NS INT64_C(10000000000) /* the shortest time of so long is the path's own */
#define SMOOTH 8
#define LATE_NS INT64_C(1000000) /* an echo, by more than its way */

/* -1: we know of no such datagram. */
static int64_t age_of(const struct mfs_agent *agent, uint64_t sequence, int64_t now_ns)
{
    if (sequence == 0 || sequence > agent->sequence ||
        agent->sequence - sequence >= MFS_AGENT_SENT_MAX)
        return -1;
    return now_ns - agent->sent_ns[sequence % MFS_AGENT_SENT_MAX];
}

static void timed(struct mfs_agent_link *link, int64_t rtt_ns, int64_t now_ns)
{
    int64_t *least = link->least_ns;

    if (rtt_ns <= 0)
        return;
    link->rtt_ns += link->rtt_ns ? (rtt_ns - link->rtt_ns) / SMOOTH : rtt_ns;
    if (now_ns - link->turned_ns > BASE_SPAN_NS) {
        link->turned_ns = now_ns;
        least[1] = least[0];
        least[0] = 0;
    }
    if (least[0] == 0 || rtt_ns < least[0])
        least[0] = rtt_ns;
    link->base_ns = least[1] && least[1] < least[0] ? least[1] : least[0];
}

/* Each datagram names the newest of ours that had come. A peer that was short of a core between
 * reading and writing is taken for a loss, which does no harm. */
static bool missed(const struct mfs_agent_link *link, uint64_t heard, int64_t now_ns)
{
    return heard < link->told && now_ns - link->told_ns > link->rtt_ns + LATE_NS;
}

bool mfs_agent_accept(struct mfs_agent *agent, struct mfs_agent_link *link,
                      const struct mfs_message_header *header, const struct mfs_message *body,
                      int64_t now_ns)
{
    const int64_t age_ns = age_of(agent, body->heard, now_ns);

    if (header->boot == 0 || body->to_boot != agent->setup.boot)
        return false;
    if (header->boot != link->boot) {
        if (age_ns < 0 || age_ns > RECENT_NS || body->heard <= link->floor)
            return false;
        *link = (struct mfs_agent_link){.boot = header->boot,
                                        .floor = agent->sequence,
                                        .turned_ns = link->turned_ns,
                                        .lost_ns = now_ns};
    } else if (header->sequence <= link->sequence) {
        return false;
    }
    link->sequence = header->sequence;
    link->heard_ns = now_ns;
    if (missed(link, body->heard, now_ns))
        link->lost_ns = now_ns;
    if (age_ns >= 0)
        timed(link, age_ns - (int64_t)body->held_us * 1000, now_ns);
    return true;
}
