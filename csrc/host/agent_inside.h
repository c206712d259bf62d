/* SPDX-License-Identifier: Apache-2.0 */
/* Inside csrc/host only: the agent's state, which agent.c, agent_take.c and agent_tell.c share. */
#ifndef MFS_HOST_AGENT_INSIDE_H
#define MFS_HOST_AGENT_INSIDE_H

#include "host/agent.h"

#define MFS_AGENT_SENT_MAX 4096u /* datagrams of ours whose times are known */
#define MFS_AGENT_HOLD_NS INT64_C(50000000)
#define MFS_AGENT_TICK_NS INT64_C(1000000)

/* One of our ports. */
struct mfs_agent_owned {
    struct mfs_agent_port port;
    struct mfs_owner owner;
    bool guested; /* others had something for it, which the segment knows */
};

/* A far port: whose, and its number there. */
struct mfs_agent_far_place {
    uint32_t peer; /* MFS_AGENT_NO_PEER: nobody's */
    uint32_t number;
};

struct mfs_agent {
    struct mfs_agent_setup setup;
    struct mfs_agent_counts counts;
    uint64_t sequence; /* of our last datagram */
    int64_t sent_ns[MFS_AGENT_SENT_MAX];
    int64_t tick_ns;
    uint32_t policy;
    bool comparable;
    /* our own */
    uint32_t version;
    uint32_t owned_count, worker_count;
    struct mfs_agent_owned *owned;
    struct mfs_message_worker workers[MFS_FAR_OWN_MAX];
    /* others */
    uint32_t peers_high;
    struct mfs_agent_peer peers[MFS_AGENT_PEERS_MAX];
    struct mfs_agent_far_place fars[MFS_FAR_PORTS_MAX];
    struct mfs_agent_heard heard;
    struct mfs_message body; /* that goes next */
    uint32_t frame_count;
    struct mfs_agent_frame frames[MFS_AGENT_FRAMES_MAX];
};

/* --- agent.c --- */

uint32_t mfs_agent_find(const struct mfs_agent *agent, uint64_t identity);
/* A frame of that body; policy, version and number are put in. */
void mfs_agent_send(struct mfs_agent *agent, const struct mfs_agent_address *to,
                    struct mfs_message *body, int64_t now_ns);

/* --- agent_link.c --- */

/* Does it count? Then it is the newest from now on. */
bool mfs_agent_accept(struct mfs_agent *agent, struct mfs_agent_link *link,
                      const struct mfs_message_header *header, const struct mfs_message *body,
                      int64_t now_ns);

#endif
