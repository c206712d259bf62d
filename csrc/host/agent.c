/* SPDX-License-Identifier: Apache-2.0 */
#include "host/agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/agent_inside.h"

int mfs_agent_new(const struct mfs_agent_setup *setup, struct mfs_agent **out)
{
    struct mfs_agent *agent = calloc(1, sizeof(*agent));

    if (!agent)
        return -ENOMEM;
    agent->setup = *setup;
    agent->tick_ns = MFS_AGENT_TICK_NS;
    for (uint32_t i = 0; i < MFS_FAR_PORTS_MAX; i++)
        agent->fars[i].peer = MFS_AGENT_NO_PEER;
    *out = agent;
    return 0;
}

void mfs_agent_free(struct mfs_agent *agent)
{
    if (!agent)
        return;
    for (uint32_t i = 0; i < MFS_AGENT_PEERS_MAX; i++)
        free(agent->verdicts.askers[i].list);
    free(agent->owned);
    free(agent);
}

/* --- what its caller tells it --- */

void mfs_agent_policy(struct mfs_agent *agent, uint32_t policy, bool comparable)
{
    agent->policy = policy;
    agent->comparable = comparable;
}

static struct mfs_agent_owned *owned_of(const struct mfs_agent *agent, uint32_t number)
{
    for (uint32_t i = 0; i < agent->owned_count; i++) {
        if (agent->owned[i].port.number == number)
            return &agent->owned[i];
    }
    return NULL;
}

int mfs_agent_own(struct mfs_agent *agent, uint32_t version, const struct mfs_agent_port *ports,
                  uint32_t port_count, const struct mfs_message_worker *workers,
                  uint32_t worker_count)
{
    struct mfs_agent_owned *owned;

    if (port_count > MFS_MESSAGE_PORTS_MAX || worker_count > MFS_FAR_OWN_MAX)
        return -EINVAL;
    owned = calloc(port_count + 1, sizeof(*owned));
    if (!owned)
        return -ENOMEM;
    for (uint32_t i = 0; i < port_count; i++) {
        const struct mfs_agent_owned *before = owned_of(agent, ports[i].number);

        mfs_owner_init(&owned[i].owner);
        if (before)
            owned[i] = *before; /* what is known of it */
        owned[i].port = ports[i];
    }
    free(agent->owned);
    agent->owned = owned;
    agent->owned_count = port_count;
    if (worker_count > 0)
        memcpy(agent->workers, workers, worker_count * sizeof(*workers));
    agent->worker_count = worker_count;
    agent->version = version;
    return 0;
}

static void far_drop(struct mfs_agent *agent, struct mfs_agent_peer *peer, uint32_t place)
{
    const uint32_t far = peer->port_fars[place];

    if (agent->fars[far].peer == (uint32_t)(peer - agent->peers))
        agent->fars[far].peer = MFS_AGENT_NO_PEER;
    peer->port_count--;
    peer->port_numbers[place] = peer->port_numbers[peer->port_count];
    peer->port_fars[place] = peer->port_fars[peer->port_count];
}

void mfs_agent_far(struct mfs_agent *agent, uint32_t place, uint32_t number, uint32_t far)
{
    struct mfs_agent_peer *peer = &agent->peers[place];
    uint32_t at = 0;

    if (place >= MFS_AGENT_PEERS_MAX || !peer->identity)
        return;
    while (at < peer->port_count && peer->port_numbers[at] != number)
        at++;
    if (at < peer->port_count)
        far_drop(agent, peer, at);
    if (far >= MFS_FAR_PORTS_MAX || peer->port_count == MFS_MESSAGE_PORTS_MAX)
        return;
    peer->port_numbers[peer->port_count] = number;
    peer->port_fars[peer->port_count++] = far;
    agent->fars[far] = (struct mfs_agent_far_place){place, number};
}

void mfs_agent_whole(struct mfs_agent *agent, uint32_t place, uint32_t version, bool owes)
{
    if (place >= MFS_AGENT_PEERS_MAX)
        return;
    agent->peers[place].version = version;
    agent->peers[place].owes |= owes;
}

void mfs_agent_drop(struct mfs_agent *agent, uint32_t place)
{
    struct mfs_agent_peer *peer = &agent->peers[place];

    if (place >= MFS_AGENT_PEERS_MAX)
        return;
    while (peer->port_count > 0)
        far_drop(agent, peer, 0);
    for (uint32_t i = 0; i < agent->owned_count; i++)
        mfs_owner_forget(&agent->owned[i].owner, place + 1);
    mfs_agent_verdicts_drop(agent, place);
    *peer = (struct mfs_agent_peer){0};
}

/* --- what goes --- */

/* Of a datagram's number. */
static uint64_t *greetings_of(struct mfs_agent *agent, uint64_t sequence)
{
    return &agent->greetings[sequence % MFS_AGENT_SENT_MAX / 64];
}

static uint64_t greeting_bit(uint64_t sequence)
{
    return UINT64_C(1) << sequence % 64;
}

static struct mfs_agent_frame *seal(struct mfs_agent *agent,
                                    const struct mfs_message_header *header,
                                    const struct mfs_message *body)
{
    struct mfs_agent_frame *frame = &agent->frames[agent->frame_count];
    uint8_t *const nonce = frame->bytes + MFS_MESSAGE_CLEAR_BYTES;
    uint8_t text[MFS_MESSAGE_BYTES_MAX];
    unsigned long long sealed_bytes = 0;
    int size;

    mfs_message_header_pack(header, frame->bytes);
    size = mfs_message_pack(body, text, sizeof(text));
    if (size < 0 || agent->setup.close(frame->bytes + MFS_MESSAGE_HEADER_BYTES, &sealed_bytes, text,
                                       (unsigned long long)size, frame->bytes,
                                       MFS_MESSAGE_CLEAR_BYTES, NULL, nonce, agent->setup.key) != 0)
        return NULL;
    frame->size = MFS_MESSAGE_HEADER_BYTES + (uint32_t)sealed_bytes;
    return frame;
}

uint64_t mfs_agent_send(struct mfs_agent *agent, const struct mfs_agent_address *to,
                        struct mfs_message *body, int64_t now_ns)
{
    const struct mfs_message_header header = {agent->setup.identity, agent->setup.boot,
                                              agent->sequence + 1};
    struct mfs_agent_frame *frame;

    if (agent->frame_count == MFS_AGENT_FRAMES_MAX)
        return 0; /* as if it were lost: it is said again */
    body->policy = agent->policy;
    body->inventory = agent->version;
    frame = seal(agent, &header, body);
    if (!frame)
        return 0;
    frame->to = *to;
    agent->frame_count++;
    agent->sequence++;
    agent->sent_ns[agent->sequence % MFS_AGENT_SENT_MAX] = now_ns;
    *greetings_of(agent, agent->sequence) &= ~greeting_bit(agent->sequence);
    agent->counts.sent++;
    return agent->sequence;
}

uint64_t mfs_agent_greet(struct mfs_agent *agent, const struct mfs_agent_address *to,
                         uint64_t to_boot, uint64_t heard, bool leaves, int64_t now_ns)
{
    struct mfs_message body = {.to_boot = to_boot, .heard = heard, .leaves = leaves};
    const uint64_t sequence = mfs_agent_send(agent, to, &body, now_ns);

    if (sequence && !leaves)
        *greetings_of(agent, sequence) |= greeting_bit(sequence);
    return sequence;
}

bool mfs_agent_answered(struct mfs_agent *agent, uint64_t sequence)
{
    uint64_t *greetings = greetings_of(agent, sequence);
    const uint64_t bit = greeting_bit(sequence);
    const bool first = sequence > 0 && sequence <= agent->sequence &&
                       agent->sequence - sequence < MFS_AGENT_SENT_MAX && (*greetings & bit);

    if (first)
        *greetings &= ~bit;
    return first;
}

const struct mfs_agent_frame *mfs_agent_frames(struct mfs_agent *agent, uint32_t *count)
{
    *count = agent->frame_count;
    return agent->frames;
}

void mfs_agent_frames_sent(struct mfs_agent *agent)
{
    agent->frame_count = 0;
}

/* --- to look at --- */

uint32_t mfs_agent_find(const struct mfs_agent *agent, uint64_t identity)
{
    for (uint32_t i = 0; i < agent->peers_high; i++) {
        if (agent->peers[i].identity == identity && identity != 0)
            return i;
    }
    return MFS_AGENT_NO_PEER;
}

const struct mfs_agent_heard *mfs_agent_heard(const struct mfs_agent *agent)
{
    return &agent->heard;
}

const struct mfs_agent_peer *mfs_agent_peer(const struct mfs_agent *agent, uint32_t place)
{
    if (place >= MFS_AGENT_PEERS_MAX || !agent->peers[place].identity)
        return NULL;
    return &agent->peers[place];
}

const struct mfs_agent_counts *mfs_agent_counts(const struct mfs_agent *agent)
{
    return &agent->counts;
}

const struct mfs_owner *mfs_agent_owner(const struct mfs_agent *agent, uint32_t number)
{
    const struct mfs_agent_owned *owned = owned_of(agent, number);

    return owned ? &owned->owner : NULL;
}

int64_t mfs_agent_tick_ns(const struct mfs_agent *agent)
{
    return agent->tick_ns;
}
