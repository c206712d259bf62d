/* SPDX-License-Identifier: Apache-2.0 */
/* Inside csrc/host only: the agent's state, which agent.c, agent_take.c, agent_tell.c,
 * agent_answers.c and agent_verdict.c share. */
#ifndef MFS_HOST_AGENT_INSIDE_H
#define MFS_HOST_AGENT_INSIDE_H

#include "host/agent.h"

#define MFS_AGENT_SENT_MAX 4096u /* datagrams of ours whose times are known */
#define MFS_AGENT_HOLD_NS INT64_C(50000000)
#define MFS_AGENT_TICK_NS INT64_C(1000000)
#define MFS_AGENT_ASKED_MAX 256u /* requests of ours that one peer may ask about */

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

/* A request of another host's, of which we have bytes. */
struct mfs_agent_follow {
    struct mfs_follow row; /* owner 0: the place is free */
    uint32_t peer;         /* the owner; MFS_AGENT_NO_PEER: it is none now */
    uint32_t tries;        /* asks without an answer */
    uint32_t heard, said;  /* verdicts: what it told last, and what our last ask said of that */
    int64_t heard_ns, asked_ns;
    bool held; /* the segment has one, which ends MFS_VERDICT_HOLD_NS after heard_ns */
};

/* A request of ours that a peer asks about. */
struct mfs_agent_asked {
    uint64_t key;
    int64_t asked_ns, told_ns;
    bool owes; /* an ask has no answer yet */
    uint32_t is, told, have; /* verdicts: ours, what it was told last, what it says that it has */
};

struct mfs_agent_askers {
    uint32_t count;
    struct mfs_agent_asked *list; /* of MFS_AGENT_ASKED_MAX; NULL: it has asked nothing */
};

struct mfs_agent_verdicts {
    uint64_t version, judged; /* of what we follow, of our own requests */
    int64_t judged_ns, find_ns;
    uint32_t high; /* places of `follows` that are looked at */
    struct mfs_agent_follow follows[MFS_FOLLOWS_MAX]; /* as in the segment's table */
    struct mfs_agent_askers askers[MFS_AGENT_PEERS_MAX];
    bool due[MFS_AGENT_PEERS_MAX]; /* there is something to ask or to answer */
    struct mfs_follow rows[MFS_FOLLOWS_MAX]; /* of one look */
};

struct mfs_agent {
    struct mfs_agent_setup setup;
    struct mfs_agent_counts counts;
    uint64_t sequence; /* of our last datagram */
    int64_t sent_ns[MFS_AGENT_SENT_MAX];
    uint64_t greetings[MFS_AGENT_SENT_MAX / 64]; /* a bit of each that has no answer yet */
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
    struct mfs_agent_verdicts verdicts;
    struct mfs_agent_heard heard;
    struct mfs_message body; /* that goes next */
    uint32_t frame_count;
    struct mfs_agent_frame frames[MFS_AGENT_FRAMES_MAX];
};

/* --- agent.c --- */

uint32_t mfs_agent_find(const struct mfs_agent *agent, uint64_t identity);
/* A frame of that body; policy, version and number are put in. The number; 0: it is lost. */
uint64_t mfs_agent_send(struct mfs_agent *agent, const struct mfs_agent_address *to,
                        struct mfs_message *body, int64_t now_ns);
/* Is the datagram of that number a greeting of ours without an answer? Then it has one now. */
bool mfs_agent_answered(struct mfs_agent *agent, uint64_t sequence);

/* --- agent_link.c --- */

/* Does it count? Then it is the newest from now on. */
bool mfs_agent_accept(struct mfs_agent *agent, struct mfs_agent_link *link,
                      const struct mfs_message_header *header, const struct mfs_message *body,
                      int64_t now_ns);

/* --- agent_answers.c --- */

/* At each tick, around the judging of our ports: these members have claims on one by which we send
 * what others read. */
void mfs_agent_answers_begin(struct mfs_agent *agent);
void mfs_agent_answers_see(struct mfs_agent *agent, const struct mfs_owner_member *members,
                           uint32_t count);
void mfs_agent_answers_tell(struct mfs_agent *agent, int64_t now_ns);

/* --- agent_verdict.c --- */

/* What a peer asks and answers. */
void mfs_agent_verdicts_take(struct mfs_agent *agent, uint32_t place,
                             const struct mfs_message *body, int64_t now_ns);
/* At each tick, in front of telling: what is due, and what is not fresh any more. */
void mfs_agent_verdicts_look(struct mfs_agent *agent, int64_t now_ns);
/* What is due goes into a body that has all else already. */
void mfs_agent_verdicts_say(struct mfs_agent *agent, uint32_t place, struct mfs_message *body,
                            int64_t now_ns);
/* A peer is none any more: what it told is void. */
void mfs_agent_verdicts_drop(struct mfs_agent *agent, uint32_t place);

#endif
