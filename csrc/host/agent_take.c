/* SPDX-License-Identifier: Apache-2.0 */
/* What comes: is it a message, does it count, and what it says of claims and limits. */
#include "host/agent_inside.h"

#include <errno.h>

#define AGED_NS INT64_C(20000000) /* unread for so long: we were stopped, or short of a core */

static int open_sealed(const struct mfs_agent *agent, const uint8_t *data, size_t size,
                       uint8_t text[MFS_MESSAGE_BYTES_MAX])
{
    unsigned long long text_bytes = 0;

    if (agent->setup.open(text, &text_bytes, NULL, data + MFS_MESSAGE_HEADER_BYTES,
                          size - MFS_MESSAGE_HEADER_BYTES, data, MFS_MESSAGE_CLEAR_BYTES,
                          data + MFS_MESSAGE_CLEAR_BYTES, agent->setup.key) != 0)
        return -EBADMSG;
    return (int)text_bytes;
}

static int malformed(struct mfs_agent *agent, int error, const char *why)
{
    agent->counts.malformed++;
    agent->heard.error = error;
    agent->heard.why = why;
    return MFS_AGENT_MALFORMED;
}

static uint32_t place_free(struct mfs_agent *agent)
{
    for (uint32_t i = 0; i < MFS_AGENT_PEERS_MAX; i++) {
        if (!agent->peers[i].identity)
            return i;
    }
    return MFS_AGENT_NO_PEER;
}

/* The far port that is a peer's of that number; MFS_FAR_NONE. */
static uint32_t far_of(const struct mfs_agent_peer *peer, uint32_t number)
{
    for (uint32_t i = 0; i < peer->port_count; i++) {
        if (peer->port_numbers[i] == number)
            return peer->port_fars[i];
    }
    return MFS_FAR_NONE;
}

static bool limit_named(const struct mfs_message *body, uint32_t port)
{
    for (uint32_t i = 0; i < body->limit_count; i++) {
        if (body->limits[i].port == port)
            return true;
    }
    return false;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void share_hold(const struct mfs_agent *agent, uint32_t far, uint32_t sharers,
                       int64_t for_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;

    if (ops->share)
        ops->share(ops->context, far, sharers, for_ns);
}

/* What its ports let us send; a limit that it does not name any more is none. */
static void limits_hold(struct mfs_agent *agent, struct mfs_agent_peer *peer,
                        const struct mfs_message *body, int64_t waited_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;

    for (uint32_t i = 0; i < peer->they.limit_count; i++) {
        const uint32_t far = far_of(peer, peer->they.limits[i].port);

        if (far == MFS_FAR_NONE || limit_named(body, peer->they.limits[i].port))
            continue;
        ops->limit(ops->context, far, MFS_FAR_NO_LEVEL, 0, 0);
        share_hold(agent, far, 0, 0);
    }
    for (uint32_t i = 0; i < body->limit_count; i++) {
        const struct mfs_message_limit *limit = &body->limits[i];
        const uint32_t far = far_of(peer, limit->port);

        if (far == MFS_FAR_NONE)
            continue;
        ops->limit(ops->context, far, limit->level, limit->span_ns - waited_ns,
                   least(limit->for_ns, MFS_AGENT_HOLD_NS) - waited_ns);
        share_hold(agent, far, limit->sharers, least(limit->for_ns, MFS_AGENT_HOLD_NS));
        agent->counts.limits_held++;
    }
}

static int content_take(struct mfs_agent *agent, struct mfs_agent_peer *peer,
                        struct mfs_message *body, int64_t now_ns, int64_t waited_ns)
{
    int left = 0;

    peer->have = body->have;
    peer->policy = body->policy;
    if (body->leaves)
        return MFS_AGENT_LEAVES;
    if (body->pages > 0)
        return MFS_AGENT_PAGE;
    if (peer->policy != agent->policy) {
        body->claim_count = body->limit_count = body->ask_count = body->verdict_count = 0;
        left = MFS_AGENT_POLICY;
    }
    if (waited_ns > AGED_NS) {
        body->claim_count = body->limit_count = 0; /* verdicts hold for longer */
        agent->counts.aged++;
    }
    limits_hold(agent, peer, body, waited_ns);
    mfs_agent_verdicts_take(agent, (uint32_t)(peer - agent->peers), body, now_ns);
    peer->they.claim_count = body->claim_count;
    peer->they.limit_count = body->limit_count;
    for (uint32_t i = 0; i < body->claim_count; i++)
        peer->they.claims[i] = body->claims[i];
    for (uint32_t i = 0; i < body->limit_count; i++)
        peer->they.limits[i] = body->limits[i];
    peer->they_ns = now_ns;
    return left;
}

/* As it is at first; what has been told is forgotten, and our caller forgets the rest. */
static void peer_begin(struct mfs_agent *agent, uint32_t place, uint64_t identity,
                       const struct mfs_agent_link *link)
{
    mfs_agent_drop(agent, place);
    agent->peers[place] =
        (struct mfs_agent_peer){.identity = identity, .link = *link, .owes = true};
    if (agent->peers_high <= place)
        agent->peers_high = place + 1;
}

int mfs_agent_take(struct mfs_agent *agent, const uint8_t *data, size_t size,
                   const struct mfs_agent_address *from, int64_t now_ns, int64_t waited_ns)
{
    struct mfs_agent_heard *heard = &agent->heard;
    struct mfs_agent_link link = {0};
    uint8_t text[MFS_MESSAGE_BYTES_MAX];
    bool known;
    int done, left = 0;

    heard->source = *from;
    heard->peer = MFS_AGENT_NO_PEER;
    heard->version = size > 3 ? data[3] : 0;
    done = mfs_message_header_parse(data, size, &heard->header);
    if (done < 0)
        return malformed(agent, done, NULL);
    done = open_sealed(agent, data, size, text);
    if (done < 0)
        return malformed(agent, done, "not made with our key");
    if (heard->header.sender == agent->setup.identity || heard->header.sender == 0)
        return MFS_AGENT_OWN;
    heard->peer = mfs_agent_find(agent, heard->header.sender);
    known = heard->peer != MFS_AGENT_NO_PEER;
    if (known)
        link = agent->peers[heard->peer].link;
    if (known && heard->header.boot == link.boot && heard->header.sequence <= link.sequence) {
        agent->counts.stale++;
        return 0;
    }
    done = mfs_message_parse(text, (size_t)done, &heard->body, &heard->why);
    if (done < 0)
        return malformed(agent, done, heard->why);
    if (!known)
        heard->peer = place_free(agent);
    if (heard->peer == MFS_AGENT_NO_PEER)
        return MFS_AGENT_FULL;
    if (!mfs_agent_accept(agent, &link, &heard->header, &heard->body, now_ns)) {
        agent->counts.stale += heard->body.to_boot == agent->setup.boot;
        return MFS_AGENT_STRANGER;
    }
    if (!known)
        left = MFS_AGENT_CAME;
    else if (agent->peers[heard->peer].link.boot != link.boot)
        left = MFS_AGENT_AGAIN;
    if (left)
        peer_begin(agent, heard->peer, heard->header.sender, &link);
    agent->peers[heard->peer].link = link;
    agent->peers[heard->peer].address = *from;
    agent->counts.received++;
    if (mfs_agent_answered(agent, heard->body.heard))
        left |= MFS_AGENT_ANSWER;
    return left | content_take(agent, &agent->peers[heard->peer], &heard->body, now_ns, waited_ns);
}
