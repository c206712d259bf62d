/* SPDX-License-Identifier: Apache-2.0 */
/* A tick: what this host wants of far ports, who may send to its own, and whom that is told. */
#include "host/agent_inside.h"

#include "core/exchange.h"

#define FEW 3u /* peers with traffic; with more of them a tick is twice as long */
/*
 * A limit is forgotten after a lease of 20 ms. What is told every BEACON_NS outlives the loss of
 * one datagram; what is told every CAREFUL_NS that of two, and so it is told for LOSS_NS after a
 * loss.
 */
#define BEACON_NS INT64_C(7500000)
#define CAREFUL_NS INT64_C(5000000)
#define LOSS_NS INT64_C(2000000000)
#define IDLE_NS INT64_C(1000000000)
#define PAGE_NS INT64_C(5000000)   /* between two pages to one peer */
#define MOVED_NS INT64_C(1000000)  /* a key that has moved by less is the same */
#define FRESH_NS INT64_C(4000000)  /* between two tellings of bytes in flight, where a limit is */
#define SENDER_NS INT64_C(500000)  /* until a sender looks at its limit: docs/decisions/0053 */
#define WORKERS_A_PAGE 24u         /* beside all ports of a host */

/* --- claims on others' ports --- */

/* Of what is in flight, where nothing waits. */
static uint32_t level_gone(const struct mfs_claim *claim)
{
    return claim->under_way > 0 ? claim->under_way - 1 : MFS_FAR_NO_LEVEL;
}

static void claims_gather(struct mfs_agent *agent, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    struct mfs_claim claims[MFS_FAR_PORTS_MAX];
    uint32_t count;

    if (!agent->comparable)
        return;
    count = ops->claims(ops->context, now_ns, claims, MFS_FAR_PORTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const struct mfs_claim *claim = &claims[i];
        const bool waits = claim->waiting_bytes > 0;
        struct mfs_agent_said *said;

        if (claim->far >= MFS_FAR_PORTS_MAX || agent->fars[claim->far].peer == MFS_AGENT_NO_PEER ||
            (!waits && claim->inflight_bytes == 0))
            continue;
        said = &agent->peers[agent->fars[claim->far].peer].now;
        if (said->claim_count == MFS_MESSAGE_PORTS_MAX)
            continue;
        said->claims[said->claim_count++] = (struct mfs_message_claim){
            .port = agent->fars[claim->far].number,
            .level = waits ? claim->level : level_gone(claim),
            .span_ns = waits ? claim->span_ns : 0,
            .waiting_bytes = claim->waiting_bytes,
            .inflight_bytes = claim->inflight_bytes,
            .done_bytes = claim->done_bytes,
        };
    }
}

/* --- our own ports --- */

/* From a claim to its limit, beside the way: half a tick at each end, and the sender's. */
static int64_t wait_ns(const struct mfs_agent *agent)
{
    return agent->tick_ns + SENDER_NS;
}

/* Of a peer that is further away than limits are of use for, nothing is known that still holds: it
 * is told nothing, and our own senders yield to none of its claims. */
static bool claims_count(const struct mfs_agent *agent, const struct mfs_agent_peer *peer,
                         int64_t now_ns)
{
    return peer->identity && peer->they.claim_count > 0 &&
           now_ns - peer->they_ns <= MFS_AGENT_HOLD_NS &&
           peer->link.base_ns + wait_ns(agent) <= MFS_EXCHANGE_DELAY_MAX_NS;
}

static const struct mfs_message_claim *claim_on(const struct mfs_agent_peer *peer, uint32_t number)
{
    for (uint32_t i = 0; i < peer->they.claim_count; i++) {
        if (peer->they.claims[i].port == number)
            return &peer->they.claims[i];
    }
    return NULL;
}

/* Level + 1; 0: something waits, or nothing is said of what has gone. */
static uint32_t gone_of(const struct mfs_message_claim *claim)
{
    const bool gone = claim->waiting_bytes == 0 && claim->inflight_bytes > 0;

    return gone && claim->level <= MFS_LEVELS_MAX ? claim->level + 1 : 0;
}

static uint32_t others_of(const struct mfs_agent *agent, uint32_t number,
                          struct mfs_owner_member *members, int64_t now_ns)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < agent->peers_high; i++) {
        const struct mfs_agent_peer *peer = &agent->peers[i];
        const struct mfs_message_claim *claim =
            claims_count(agent, peer, now_ns) ? claim_on(peer, number) : NULL;

        if (!claim)
            continue;
        members[count++] = (struct mfs_owner_member){
            .who = i + 1,
            /* it was said then: since then the time has gone on */
            .rank = claim->waiting_bytes > 0
                        ? mfs_exchange_rank(claim->level, claim->span_ns, peer->they_ns)
                        : MFS_RANK_NONE,
            .inflight_bytes = claim->inflight_bytes,
            .done_bytes = claim->done_bytes,
            .base_ns = peer->link.base_ns,
            .at_ns = peer->they_ns,
            .under_way = gone_of(claim),
        };
    }
    return count;
}

/* This host is one member: its own senders are in an order already. */
static bool ours_of(const struct mfs_agent *agent, const struct mfs_agent_port *port,
                    struct mfs_owner_member *member, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    struct mfs_claim claim;

    if (!ops->own_claim(ops->context, port, now_ns, &claim))
        return false;
    *member = (struct mfs_owner_member){
        .rank = claim.waiting_bytes > 0 ? mfs_exchange_rank(claim.level, claim.span_ns, now_ns)
                                        : MFS_RANK_NONE,
        .inflight_bytes = claim.inflight_bytes,
        .done_bytes = claim.done_bytes,
        .at_ns = now_ns,
    };
    return true;
}

static void span_of(mfs_rank_t rank, int64_t now_ns, uint32_t *level, int64_t *span_ns)
{
    *level = rank == MFS_RANK_NONE ? MFS_FAR_NO_LEVEL : mfs_rank_level(rank);
    *span_ns = rank == MFS_RANK_NONE ? 0 : mfs_exchange_span(rank, now_ns);
}

/* Our senders are told what they have to yield to. */
static void guest_tell(struct mfs_agent *agent, struct mfs_agent_owned *owned,
                       const struct mfs_owner_member *others, uint32_t count, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    mfs_rank_t best = MFS_RANK_NONE;
    uint64_t inflight = 0;
    uint32_t level;
    int64_t span_ns;

    for (uint32_t i = 0; i < count; i++) {
        if (others[i].rank < best)
            best = others[i].rank;
        inflight += others[i].inflight_bytes;
    }
    span_of(best, now_ns, &level, &span_ns);
    ops->guest(ops->context, &owned->port, level, span_ns, inflight, owned->owner.others_bytes,
               now_ns);
    owned->guested = true;
}

static void limit_add(struct mfs_agent_said *said, const struct mfs_message_limit *limit)
{
    if (said->limit_count < MFS_MESSAGE_PORTS_MAX)
        said->limits[said->limit_count++] = *limit;
}

static void port_judge(struct mfs_agent *agent, struct mfs_agent_owned *owned, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    struct mfs_owner_member members[MFS_OWNER_MEMBERS_MAX];
    const uint32_t others = others_of(agent, owned->port.number, members, now_ns);
    const uint64_t spent = owned->owner.spent_times;
    struct mfs_message_limit limit = {
        .port = owned->port.number, .for_ns = MFS_AGENT_HOLD_NS, .sharers = others};
    uint32_t count = others;
    mfs_rank_t rank;

    if (others == 0) {
        if (owned->guested)
            ops->guest(ops->context, &owned->port, MFS_FAR_NO_LEVEL, 0, 0,
                       owned->owner.others_bytes, now_ns);
        owned->guested = false;
        return;
    }
    count += ours_of(agent, &owned->port, &members[count], now_ns);
    rank = mfs_owner_judge(&owned->owner, members, count, agent->setup.rate_Bps,
                           ops->seed_Bps(ops->context, &owned->port), wait_ns(agent), now_ns);
    agent->counts.had_share += owned->owner.spent_times - spent;
    guest_tell(agent, owned, members, others, now_ns);
    if (owned->port.direction == MFS_EGRESS)
        mfs_agent_answers_see(agent, members, others);
    if (rank == MFS_RANK_NONE && others < 2)
        return;
    span_of(rank, now_ns, &limit.level, &limit.span_ns);
    for (uint32_t i = 0; i < others; i++)
        limit_add(&agent->peers[members[i].who - 1].now, &limit);
}

/* --- telling --- */

/* In level or key: a span gets shorter by itself. */
static bool moved(uint32_t level, int64_t span_ns, uint32_t was_level, int64_t was_span_ns,
                  int64_t age_ns)
{
    const int64_t by_ns = span_ns + age_ns - was_span_ns;

    if (level != was_level)
        return true;
    return level < MFS_FAR_NO_LEVEL && (by_ns > MOVED_NS || by_ns < -MOVED_NS);
}

static bool claim_moved(const struct mfs_message_claim *now, const struct mfs_message_claim *was,
                        int64_t age_ns)
{
    if ((now->waiting_bytes > 0) != (was->waiting_bytes > 0))
        return true;
    if (now->waiting_bytes == 0) /* a level alone */
        return now->level != was->level;
    return moved(now->level, now->span_ns, was->level, was->span_ns, age_ns);
}

/* All that it has waiting for that port was held back by the one limit and is by the other. */
static bool held_by_both(const struct mfs_agent_peer *peer, const struct mfs_message_limit *was,
                         const struct mfs_message_limit *now, int64_t now_ns)
{
    const struct mfs_message_claim *claim = claim_on(peer, now->port);
    mfs_rank_t rank;

    if (!claim || claim->waiting_bytes == 0)
        return false;
    rank = mfs_exchange_rank(claim->level, claim->span_ns, peer->they_ns);
    return rank != MFS_RANK_NONE &&
           rank > mfs_exchange_rank(was->level, was->span_ns, peer->told_ns) &&
           rank > mfs_exchange_rank(now->level, now->span_ns, now_ns);
}

static const struct mfs_message_limit *limit_on(const struct mfs_agent_said *said, uint32_t number)
{
    for (uint32_t i = 0; i < said->limit_count; i++) {
        if (said->limits[i].port == number)
            return &said->limits[i];
    }
    return NULL;
}

static bool limits_any(const struct mfs_agent_said *said)
{
    for (uint32_t i = 0; i < said->limit_count; i++) {
        if (said->limits[i].level < MFS_FAR_NO_LEVEL)
            return true;
    }
    return false;
}

/* How many share a port can wait for the beacon; which ranks may go there cannot. */
static bool limits_differ(const struct mfs_agent_peer *peer, int64_t now_ns)
{
    const struct mfs_agent_said *now = &peer->now, *told = &peer->told;

    for (uint32_t i = 0; i < told->limit_count; i++) {
        if (told->limits[i].level < MFS_FAR_NO_LEVEL && !limit_on(now, told->limits[i].port))
            return true;
    }
    for (uint32_t i = 0; i < now->limit_count; i++) {
        const struct mfs_message_limit none = {.level = MFS_FAR_NO_LEVEL};
        const struct mfs_message_limit *one = &now->limits[i], *was = limit_on(told, one->port);

        if (!was)
            was = &none;
        if (moved(one->level, one->span_ns, was->level, was->span_ns, now_ns - peer->told_ns) &&
            !held_by_both(peer, was, one, now_ns))
            return true;
    }
    return false;
}

/* Has anything left, or come, that the owner of a port should know of? */
static bool bytes_differ(const struct mfs_agent_said *now, const struct mfs_agent_said *told)
{
    for (uint32_t i = 0; i < now->claim_count; i++) {
        if (now->claims[i].inflight_bytes != told->claims[i].inflight_bytes ||
            now->claims[i].done_bytes != told->claims[i].done_bytes)
            return true;
    }
    return false;
}

/* Has anything changed that the peer should know before the next beacon? */
static bool differ(const struct mfs_agent_peer *peer, int64_t now_ns)
{
    const int64_t age_ns = now_ns - peer->told_ns;
    const struct mfs_agent_said *now = &peer->now, *told = &peer->told;

    if (told->claim_count != now->claim_count)
        return true;
    if (age_ns >= FRESH_NS && limits_any(&peer->they) && bytes_differ(now, told))
        return true;
    for (uint32_t i = 0; i < now->claim_count; i++) {
        const struct mfs_message_claim *one = &now->claims[i], *was = &told->claims[i];

        if (one->port != was->port || claim_moved(one, was, age_ns))
            return true;
    }
    return limits_differ(peer, now_ns);
}

static bool said_anything(const struct mfs_agent_said *said)
{
    return said->claim_count > 0 || said->limit_count > 0;
}

static bool due(const struct mfs_agent *agent, const struct mfs_agent_peer *peer, int64_t now_ns)
{
    const int64_t age_ns = now_ns - peer->told_ns;
    const bool careful = now_ns - peer->link.lost_ns < LOSS_NS;

    if (peer->owes || agent->verdicts.due[peer - agent->peers])
        return true;
    if (said_anything(&peer->now) || said_anything(&peer->told))
        return age_ns >= (careful ? CAREFUL_NS : BEACON_NS) || differ(peer, now_ns);
    return age_ns >= IDLE_NS;
}

static void body_begin(struct mfs_agent *agent)
{
    struct mfs_message *body = &agent->body;

    body->leaves = false;
    body->page = body->pages = 0;
    body->port_count = body->worker_count = body->claim_count = body->limit_count = 0;
    body->ask_count = body->verdict_count = 0;
}

static void body_say(struct mfs_agent *agent, struct mfs_agent_peer *peer, int64_t now_ns)
{
    const struct mfs_agent_said *said = &peer->now;
    struct mfs_message *body = &agent->body;

    for (uint32_t i = 0; i < said->claim_count; i++)
        body->claims[i] = said->claims[i];
    for (uint32_t i = 0; i < said->limit_count; i++)
        body->limits[i] = said->limits[i];
    body->claim_count = said->claim_count;
    body->limit_count = said->limit_count;
    mfs_agent_verdicts_say(agent, (uint32_t)(peer - agent->peers), body, now_ns);
    agent->counts.limits_told += said->limit_count;
    peer->told = *said;
    peer->told_ns = now_ns;
    peer->owes = false;
}

/* Which of our workers it is told next. */
static void body_page(struct mfs_agent *agent, struct mfs_agent_peer *peer, int64_t now_ns)
{
    const uint32_t pages = (agent->worker_count + WORKERS_A_PAGE - 1) / WORKERS_A_PAGE;
    struct mfs_message *body = &agent->body;
    uint32_t first;

    body->pages = (uint16_t)(pages > 0 ? pages : 1);
    body->page = (uint16_t)(peer->page % body->pages);
    first = body->page * WORKERS_A_PAGE;
    for (uint32_t i = 0; i < agent->owned_count && body->page == 0; i++) {
        struct mfs_message_port *port = &body->ports[body->port_count++];

        port->direction = (uint8_t)agent->owned[i].port.direction;
        for (uint32_t k = 0; k <= MFS_MESSAGE_NAME_MAX; k++)
            port->name[k] = agent->owned[i].port.name[k];
    }
    for (uint32_t i = first; i < agent->worker_count && i < first + WORKERS_A_PAGE; i++)
        body->workers[body->worker_count++] = agent->workers[i];
    peer->page = (body->page + 1u) % body->pages;
    peer->page_ns = now_ns;
    agent->counts.page++;
}

static void tell(struct mfs_agent *agent, struct mfs_agent_peer *peer, int64_t now_ns)
{
    const bool page = peer->have != agent->version && now_ns - peer->page_ns >= PAGE_NS;
    struct mfs_message *body = &agent->body;
    int64_t held_us;

    body_begin(agent);
    if (due(agent, peer, now_ns))
        body_say(agent, peer, now_ns);
    else if (page)
        body_page(agent, peer, now_ns);
    else
        return;
    held_us = (now_ns - peer->link.heard_ns) / 1000;
    body->to_boot = peer->link.boot;
    body->heard = peer->link.sequence;
    body->held_us = held_us < 0 ? 0 : held_us > UINT32_MAX ? UINT32_MAX : (uint32_t)held_us;
    body->have = peer->version;
    mfs_agent_send(agent, &peer->address, body, now_ns);
    peer->link.told = agent->sequence;
    peer->link.told_ns = now_ns;
}

uint32_t mfs_agent_tick(struct mfs_agent *agent, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    uint32_t busy = 0;

    ops->attend(ops->context, now_ns);
    for (uint32_t i = 0; i < agent->peers_high; i++)
        agent->peers[i].now.claim_count = agent->peers[i].now.limit_count = 0;
    mfs_agent_answers_begin(agent);
    claims_gather(agent, now_ns);
    for (uint32_t i = 0; i < agent->owned_count; i++)
        port_judge(agent, &agent->owned[i], now_ns);
    mfs_agent_answers_tell(agent, now_ns);
    mfs_agent_verdicts_look(agent, now_ns);
    for (uint32_t i = 0; i < agent->peers_high; i++) {
        struct mfs_agent_peer *peer = &agent->peers[i];

        if (!peer->identity)
            continue;
        busy += peer->now.claim_count > 0 || claims_count(agent, peer, now_ns);
        tell(agent, peer, now_ns);
    }
    agent->tick_ns = busy > FEW ? 2 * MFS_AGENT_TICK_NS : MFS_AGENT_TICK_NS;
    return busy;
}

void mfs_agent_leave(struct mfs_agent *agent, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;

    for (uint32_t i = 0; i < agent->owned_count; i++) {
        struct mfs_agent_owned *owned = &agent->owned[i];

        if (owned->guested)
            ops->guest(ops->context, &owned->port, MFS_FAR_NO_LEVEL, 0, 0,
                       owned->owner.others_bytes, now_ns);
        owned->guested = false;
    }
}
