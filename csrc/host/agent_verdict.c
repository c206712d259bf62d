/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verdicts of requests, between agents (host/verdict.h): a host asks about each request that it
 * follows, and the owner answers, and tells what has changed.
 *
 *   follower                          owner
 *   ask(key, what it has) ----------> answers once; from then on it is one of the askers
 *   ask again each 200 ms, and ----> keeps it for a second
 *   each 20 ms without an answer
 *            <-- verdict(key, ...) -- when it changes, and again each 5 ms until ...
 *   ask(key, the new one) ----------> ... an ask says that it has come
 *
 * Both sides forget by themselves: there is nothing to take back, and a datagram that is lost is
 * made good by a later one. An answer is taken of the owner alone, by the name that the request's
 * follower knows him by: who lies decides about requests of his own.
 */
#include <stdlib.h>

#include "host/agent_inside.h"

#define ASK_NS INT64_C(200000000)
#define WITH_NS INT64_C(100000000)   /* what is due so soon goes with what is due */
#define AGAIN_NS INT64_C(20000000)   /* an ask without an answer */
#define TRIES 8u                     /* then as seldom as all others */
#define FORGET_NS INT64_C(1000000000)
#define TELL_NS INT64_C(5000000)     /* a change that its asker does not have */
#define JUDGE_NS INT64_C(5000000)    /* between two looks at what our own host says */
#define FIND_NS INT64_C(50000000)    /* between two looks for owners that are no peers */

/* --- what we follow --- */

static bool used(const struct mfs_agent_follow *follow)
{
    return follow->row.owner != 0;
}

static void verdict_set(struct mfs_agent *agent, struct mfs_agent_follow *follow, uint32_t verdict,
                        int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;

    follow->heard = verdict;
    follow->heard_ns = now_ns;
    follow->tries = 0;
    follow->held = verdict != 0;
    ops->verdict(ops->context, &follow->row, verdict, MFS_VERDICT_HOLD_NS);
}

/* From now on this host decides for itself. */
static void verdict_void(struct mfs_agent *agent, struct mfs_agent_follow *follow)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;

    follow->heard = 0;
    follow->held = false;
    ops->verdict(ops->context, &follow->row, 0, 0);
}

/* What the segment has already holds for a while. */
static struct mfs_agent_follow follow_new(const struct mfs_follow *row, int64_t now_ns)
{
    return (struct mfs_agent_follow){
        .row = *row, .peer = MFS_AGENT_NO_PEER, .heard_ns = now_ns, .held = true};
}

static void list_read(struct mfs_agent *agent, int64_t now_ns)
{
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    const uint32_t count = ops->follows(ops->context, verdicts->rows, MFS_FOLLOWS_MAX);
    uint32_t high = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct mfs_follow *row = &verdicts->rows[i];
        struct mfs_agent_follow *follow;

        if (row->place >= MFS_FOLLOWS_MAX || row->place < high)
            continue;
        while (high < row->place)
            verdicts->follows[high++] = (struct mfs_agent_follow){.peer = MFS_AGENT_NO_PEER};
        follow = &verdicts->follows[high++];
        if (follow->row.owner != row->owner || follow->row.key != row->key)
            *follow = follow_new(row, now_ns);
    }
    for (uint32_t i = high; i < verdicts->high; i++)
        verdicts->follows[i] = (struct mfs_agent_follow){.peer = MFS_AGENT_NO_PEER};
    verdicts->high = high;
    verdicts->find_ns = 0;
}

static void owners_find(struct mfs_agent *agent, int64_t now_ns)
{
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;

    if (now_ns < verdicts->find_ns)
        return;
    verdicts->find_ns = now_ns + FIND_NS;
    for (uint32_t i = 0; i < verdicts->high; i++) {
        struct mfs_agent_follow *follow = &verdicts->follows[i];

        if (used(follow) && follow->peer == MFS_AGENT_NO_PEER)
            follow->peer = mfs_agent_find(agent, follow->row.owner);
    }
}

static bool ask_due(const struct mfs_agent_follow *follow, int64_t now_ns)
{
    const int64_t age_ns = now_ns - follow->asked_ns;

    return follow->asked_ns == 0 || follow->heard != follow->said || age_ns >= ASK_NS ||
           (follow->tries > 0 && follow->tries < TRIES && age_ns >= AGAIN_NS);
}

/* Of prefill and decode on one host there is nobody to ask. */
static void own_follow(struct mfs_agent *agent, struct mfs_agent_follow *follow, bool judge,
                       int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;

    if (judge || now_ns - follow->heard_ns >= ASK_NS)
        verdict_set(agent, follow, ops->own_verdict(ops->context, follow->row.key), now_ns);
}

static void follows_look(struct mfs_agent *agent, bool judge, int64_t now_ns)
{
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;

    for (uint32_t i = 0; i < verdicts->high; i++) {
        struct mfs_agent_follow *follow = &verdicts->follows[i];

        if (!used(follow))
            continue;
        if (follow->held && now_ns - follow->heard_ns >= MFS_VERDICT_HOLD_NS)
            verdict_void(agent, follow);
        if (follow->row.owner == agent->setup.identity)
            own_follow(agent, follow, judge, now_ns);
        else if (follow->peer != MFS_AGENT_NO_PEER && ask_due(follow, now_ns))
            verdicts->due[follow->peer] = true;
    }
}

/* --- what others ask us --- */

static bool answer_due(const struct mfs_agent_asked *asked, int64_t now_ns)
{
    return asked->owes || asked->is != asked->told ||
           (asked->is != asked->have && now_ns - asked->told_ns >= TELL_NS);
}

static void asked_look(struct mfs_agent *agent, uint32_t place, bool judge, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    struct mfs_agent_askers *askers = &agent->verdicts.askers[place];

    for (uint32_t i = 0; i < askers->count;) {
        struct mfs_agent_asked *asked = &askers->list[i];

        if (now_ns - asked->asked_ns >= FORGET_NS) {
            *asked = askers->list[--askers->count];
            continue;
        }
        if (judge)
            asked->is = ops->own_verdict(ops->context, asked->key);
        agent->verdicts.due[place] |= answer_due(asked, now_ns);
        i++;
    }
}

static struct mfs_agent_asked *asked_of(struct mfs_agent_askers *askers, uint64_t key)
{
    for (uint32_t i = 0; i < askers->count; i++) {
        if (askers->list[i].key == key)
            return &askers->list[i];
    }
    if (!askers->list)
        askers->list = calloc(MFS_AGENT_ASKED_MAX, sizeof(*askers->list));
    if (!askers->list || askers->count == MFS_AGENT_ASKED_MAX)
        return NULL; /* no answer: it decides for itself */
    askers->list[askers->count] = (struct mfs_agent_asked){.key = key};
    return &askers->list[askers->count++];
}

static void ask_take(struct mfs_agent *agent, uint32_t place, const struct mfs_message_verdict *ask,
                     int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    struct mfs_agent_asked *asked = asked_of(&agent->verdicts.askers[place], ask->key);

    if (!asked)
        return;
    if (asked->asked_ns == 0)
        asked->is = asked->told = ops->own_verdict(ops->context, ask->key);
    asked->asked_ns = now_ns;
    asked->owes = true;
    asked->have = ask->verdict;
}

static void answer_take(struct mfs_agent *agent, uint32_t place,
                        const struct mfs_message_verdict *answer, int64_t now_ns)
{
    const uint64_t owner = agent->peers[place].identity;
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;

    for (uint32_t i = 0; i < verdicts->high; i++) {
        struct mfs_agent_follow *follow = &verdicts->follows[i];

        if (follow->row.key != answer->key || follow->row.owner != owner)
            continue;
        verdict_set(agent, follow, answer->verdict, now_ns);
        agent->counts.verdicts_held++;
    }
}

/* --- for the agent --- */

void mfs_agent_verdicts_take(struct mfs_agent *agent, uint32_t place,
                             const struct mfs_message *body, int64_t now_ns)
{
    if (!agent->setup.ops.follows)
        return;
    for (uint32_t i = 0; i < body->ask_count; i++)
        ask_take(agent, place, &body->asks[i], now_ns);
    for (uint32_t i = 0; i < body->verdict_count; i++)
        answer_take(agent, place, &body->verdicts[i], now_ns);
}

static bool judge_due(struct mfs_agent *agent, int64_t now_ns)
{
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    uint64_t version;

    if (now_ns - verdicts->judged_ns < JUDGE_NS)
        return false;
    version = ops->requests_version(ops->context);
    if (version == verdicts->judged)
        return false;
    verdicts->judged = version;
    verdicts->judged_ns = now_ns;
    return true;
}

void mfs_agent_verdicts_look(struct mfs_agent *agent, int64_t now_ns)
{
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    uint64_t version;
    bool judge;

    if (!ops->follows)
        return;
    version = ops->follows_version(ops->context);
    if (version != verdicts->version) {
        verdicts->version = version;
        list_read(agent, now_ns);
    }
    owners_find(agent, now_ns);
    for (uint32_t i = 0; i < agent->peers_high; i++)
        verdicts->due[i] = false;
    judge = judge_due(agent, now_ns);
    follows_look(agent, judge, now_ns);
    for (uint32_t i = 0; i < agent->peers_high; i++)
        asked_look(agent, i, judge, now_ns);
}

static void answers_say(struct mfs_agent *agent, uint32_t place, struct mfs_message *body,
                        int64_t now_ns)
{
    struct mfs_agent_askers *askers = &agent->verdicts.askers[place];
    const uint32_t room = mfs_message_room(body);

    for (uint32_t i = 0; i < askers->count && body->verdict_count < room; i++) {
        struct mfs_agent_asked *asked = &askers->list[i];

        if (!answer_due(asked, now_ns))
            continue;
        body->verdicts[body->verdict_count++] = (struct mfs_message_verdict){asked->key, asked->is};
        asked->told = asked->is;
        asked->told_ns = now_ns;
        asked->owes = false;
    }
    agent->counts.verdicts_told += body->verdict_count;
}

static void asks_say(struct mfs_agent *agent, uint32_t place, struct mfs_message *body,
                     int64_t now_ns)
{
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;
    const uint32_t room = mfs_message_room(body);

    for (uint32_t i = 0; i < verdicts->high && body->ask_count < room; i++) {
        struct mfs_agent_follow *follow = &verdicts->follows[i];

        if (!used(follow) || follow->peer != place ||
            (!ask_due(follow, now_ns) && now_ns - follow->asked_ns < WITH_NS))
            continue;
        body->asks[body->ask_count++] =
            (struct mfs_message_verdict){follow->row.key, follow->heard};
        follow->said = follow->heard;
        follow->asked_ns = now_ns;
        follow->tries++;
    }
}

void mfs_agent_verdicts_say(struct mfs_agent *agent, uint32_t place, struct mfs_message *body,
                            int64_t now_ns)
{
    if (!agent->verdicts.due[place])
        return;
    answers_say(agent, place, body, now_ns);
    asks_say(agent, place, body, now_ns);
}

void mfs_agent_verdicts_drop(struct mfs_agent *agent, uint32_t place)
{
    struct mfs_agent_verdicts *verdicts = &agent->verdicts;

    free(verdicts->askers[place].list);
    verdicts->askers[place] = (struct mfs_agent_askers){0};
    verdicts->due[place] = false;
    for (uint32_t i = 0; i < verdicts->high; i++) {
        struct mfs_agent_follow *follow = &verdicts->follows[i];

        if (!used(follow) || follow->peer != place)
            continue;
        if (follow->held)
            verdict_void(agent, follow);
        *follow = (struct mfs_agent_follow){.row = follow->row, .peer = MFS_AGENT_NO_PEER};
    }
}
