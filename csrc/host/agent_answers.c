/* SPDX-License-Identifier: Apache-2.0 */
/* How urgent is what others read of us: as their claims on our ports are believed, to the segment,
 * for the sockets that answer them (host/answers.h). */
#include "host/agent_inside.h"

#define UNDER_WAY_NS INT64_C(8000000) /* that answers take which were asked for a moment ago */
#define AGAIN_NS INT64_C(5000000) /* well within the lease for which it holds */

void mfs_agent_answers_begin(struct mfs_agent *agent)
{
    for (uint32_t i = 0; i < agent->peers_high; i++)
        agent->peers[i].answers.wants = MFS_FAR_NO_LEVEL;
}

/* Of what waits, or else of what has gone. */
static uint32_t level_of(const struct mfs_owner_member *member)
{
    if (member->rank != MFS_RANK_NONE)
        return mfs_rank_level(member->rank);
    return member->under_way > 0 ? member->under_way - 1 : MFS_FAR_NO_LEVEL;
}

void mfs_agent_answers_see(struct mfs_agent *agent, const struct mfs_owner_member *members,
                           uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct mfs_agent_answers *answers = &agent->peers[members[i].who - 1].answers;

        if (level_of(&members[i]) < answers->wants)
            answers->wants = level_of(&members[i]);
    }
}

/* A better level than is wanted now stays while that may be under way. */
static uint32_t level_now(struct mfs_agent_answers *answers, int64_t now_ns)
{
    if (answers->told && answers->level < answers->wants &&
        now_ns - answers->level_ns <= UNDER_WAY_NS)
        return answers->level;
    answers->level_ns = now_ns;
    return answers->wants;
}

static void tell(const struct mfs_agent *agent, struct mfs_agent_peer *peer, int64_t now_ns)
{
    const struct mfs_agent_ops *ops = &agent->setup.ops;
    struct mfs_agent_answers *answers = &peer->answers;
    const uint32_t level = level_now(answers, now_ns);
    const bool none = level == MFS_FAR_NO_LEVEL;

    if (none ? !answers->told
             : answers->told && answers->level == level && now_ns - answers->told_ns < AGAIN_NS)
        return;
    answers->level = level;
    answers->told = !none;
    answers->told_ns = now_ns;
    for (uint32_t i = 0; i < peer->port_count; i++)
        ops->answers(ops->context, peer->port_fars[i], level, none ? 0 : MFS_AGENT_HOLD_NS);
}

void mfs_agent_answers_tell(struct mfs_agent *agent, int64_t now_ns)
{
    if (!agent->setup.ops.answers)
        return;
    for (uint32_t i = 0; i < agent->peers_high; i++) {
        if (agent->peers[i].identity)
            tell(agent, &agent->peers[i], now_ns);
    }
}
