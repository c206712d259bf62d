/* SPDX-License-Identifier: Apache-2.0 */
#include "core/owner.h"

#include "core/exchange.h"

#define SECOND_NS 1e9
#define BACK_NS 20000000.0         /* of credit: a member that had none counts again */
#define GAP_NS                                                                                     \
    INT64_C(100000000)  /* between two judgements at most: longer ones are not charged             \
                         */
#define UNDATED_LEVEL 7            /* of what has no deadline: the last but those given up */
#define SAMPLE_NS INT64_C(30000000)
#define BUSY 0.8                   /* of the rate, whose maximum is high by a burst */
#define WAY_MAX_NS INT64_C(8000000)
#define RATE_SPAN_NS INT64_C(5000000000)
#define INFLIGHT_NS 8000000.0      /* of the port's time: bytes of a member that are believed */

void mfs_owner_init(struct mfs_owner *owner)
{
    *owner = (struct mfs_owner){.allowed = MFS_EXCHANGE_BEGIN, .limit = MFS_RANK_NONE};
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* --- the rate --- */

double mfs_owner_rate_Bps(const struct mfs_owner *owner)
{
    const double *most_Bps = owner->rate.most_Bps;

    return most_Bps[0] > most_Bps[1] ? most_Bps[0] : most_Bps[1];
}

/* What members have completed since the look before. */
static void done_see(struct mfs_owner *owner, const struct mfs_owner_member *members,
                     uint32_t count)
{
    const uint64_t before = owner->looks++;

    for (uint32_t i = 0; i < count; i++) {
        const struct mfs_owner_member *member = &members[i];
        struct mfs_owner_seen *seen = &owner->seen[member->who];

        if (seen->look == before && before > 0 && member->done_bytes > seen->done_bytes) {
            const uint64_t bytes = member->done_bytes - seen->done_bytes;

            owner->moved_bytes += bytes;
            owner->others_bytes += member->who != 0 ? bytes : 0;
        }
        *seen = (struct mfs_owner_seen){member->done_bytes, owner->looks};
    }
}

static void sample_begin(struct mfs_owner *owner, const struct mfs_owner_member *members,
                         uint32_t count, int64_t now_ns)
{
    struct mfs_owner_rate *rate = &owner->rate;

    rate->since_ns = rate->seen_ns = now_ns;
    rate->area = 0;
    rate->base_bytes = owner->moved_bytes;
    rate->base_count = count;
    for (uint32_t i = 0; i < count; i++)
        rate->base_who[i] = members[i].who;
}

static bool same_members(const struct mfs_owner_rate *rate, const struct mfs_owner_member *members,
                         uint32_t count)
{
    if (count != rate->base_count)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (rate->base_who[i] != members[i].who)
            return false;
    }
    return true;
}

/* flight_ns: of a byte, from when it was sent until it had come. */
static void sample_take(struct mfs_owner *owner, double rate_Bps, int64_t flight_ns, int64_t now_ns)
{
    struct mfs_owner_rate *rate = &owner->rate;

    if (now_ns - rate->turned_ns > RATE_SPAN_NS) {
        rate->turned_ns = now_ns;
        rate->most_Bps[1] = rate->most_Bps[0];
        rate->most_Bps[0] = 0;
    }
    if (rate_Bps > rate->most_Bps[0])
        rate->most_Bps[0] = rate_Bps;
    flight_ns = least(flight_ns, WAY_MAX_NS);
    if (rate_Bps < BUSY * mfs_owner_rate_Bps(owner))
        rate->way_ns += (flight_ns - rate->way_ns) / 4;
    else /* some of that is queueing: less and less is believed, until the port is not busy */
        rate->way_ns = least(rate->way_ns * 7 / 8, flight_ns);
}

static void rate_see(struct mfs_owner *owner, const struct mfs_owner_member *members,
                     uint32_t count, bool contended, int64_t now_ns)
{
    struct mfs_owner_rate *rate = &owner->rate;
    double moved, inflight = 0;

    done_see(owner, members, count);
    if (!contended || !same_members(rate, members, count)) {
        sample_begin(owner, members, count, now_ns);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        inflight += (double)members[i].inflight_bytes;
    moved = (double)(owner->moved_bytes - rate->base_bytes);
    rate->area += inflight * (double)(now_ns - rate->seen_ns);
    rate->seen_ns = now_ns;
    if (now_ns - rate->since_ns < SAMPLE_NS)
        return;
    if (moved > 0) {
        const double flight_ns = rate->area / moved;

        sample_take(owner, moved * SECOND_NS / (double)(now_ns - rate->since_ns),
                    flight_ns < (double)WAY_MAX_NS ? (int64_t)flight_ns : WAY_MAX_NS, now_ns);
    }
    sample_begin(owner, members, count, now_ns);
}

/* --- credit: see LIARS --- */

static uint32_t level_of(const struct mfs_owner_member *member)
{
    return mfs_rank_level(member->rank);
}

static bool waits(const struct mfs_owner_member *member)
{
    return member->rank != MFS_RANK_NONE;
}

static void credits_earn(struct mfs_owner *owner, double span_ns, double share)
{
    for (uint32_t who = 0; who < owner->credits_high; who++) {
        struct mfs_owner_credit *credit = &owner->credits[who];

        if (!credit->known)
            continue;
        credit->left_ns += span_ns * share;
        if (credit->left_ns > (double)MFS_OWNER_PERIOD_NS * share)
            credit->left_ns = (double)MFS_OWNER_PERIOD_NS * share;
        if (credit->left_ns >= BACK_NS)
            credit->spent = false;
    }
}

static void credit_spend(struct mfs_owner *owner, struct mfs_owner_member *member, double span_ns,
                         double share)
{
    struct mfs_owner_credit *credit = &owner->credits[member->who];

    if (!credit->known) {
        *credit = (struct mfs_owner_credit){(double)MFS_OWNER_PERIOD_NS * share, true, false};
        if (owner->credits_high <= member->who)
            owner->credits_high = member->who + 1;
    }
    if (!credit->spent) {
        credit->left_ns -= span_ns;
        credit->spent = credit->left_ns <= 0;
        owner->spent_times += credit->spent;
    }
    if (!credit->spent)
        return;
    if (waits(member))
        member->rank = mfs_rank_make(UNDATED_LEVEL, MFS_KEY_MAX);
    else
        member->under_way = UNDATED_LEVEL + 1;
}

/* It says of which level it has something: that waits, or has gone. */
static bool says(const struct mfs_owner_member *member)
{
    return waits(member) || member->under_way > 0;
}

static uint32_t said_level(const struct mfs_owner_member *member)
{
    return waits(member) ? level_of(member) : member->under_way - 1;
}

static void charge(struct mfs_owner *owner, struct mfs_owner_member *members, uint32_t count,
                   int64_t now_ns)
{
    const int64_t span_ns = owner->charged_ns ? least(now_ns - owner->charged_ns, GAP_NS) : 0;
    uint32_t worst = 0, saying = 0;
    double share;

    for (uint32_t i = 0; i < count; i++) {
        if (!says(&members[i]))
            continue;
        saying++;
        if (said_level(&members[i]) > worst)
            worst = said_level(&members[i]);
    }
    share = 1.0 / (saying > 0 ? saying : 1);
    owner->charged_ns = now_ns;
    credits_earn(owner, (double)span_ns, share);
    for (uint32_t i = 0; i < count; i++) {
        struct mfs_owner_member *member = &members[i];

        if (says(member) && member->who != 0 && said_level(member) < worst)
            credit_spend(owner, member, (double)span_ns, share);
    }
}

void mfs_owner_forget(struct mfs_owner *owner, uint32_t who)
{
    if (who >= MFS_OWNER_MEMBERS_MAX)
        return;
    owner->credits[who] = (struct mfs_owner_credit){0};
    owner->seen[who] = (struct mfs_owner_seen){0};
    owner->rate.base_count = 0;
}

/* --- the limit --- */

/* Something more urgent has come: as many as have that go, not as many as went before. */
static void levels_follow(struct mfs_owner *owner, const struct mfs_owner_member *members,
                          uint32_t count, uint32_t waiting)
{
    uint32_t best = MFS_LEVELS_MAX + 1, urgent = 0;
    bool mixed;

    for (uint32_t i = 0; i < count; i++) {
        if (waits(&members[i]) && level_of(&members[i]) < best)
            best = level_of(&members[i]);
    }
    for (uint32_t i = 0; i < count; i++)
        urgent += waits(&members[i]) && level_of(&members[i]) == best;
    mixed = urgent < waiting;
    if (mixed && !owner->mixed && owner->allowed > urgent)
        owner->allowed = urgent;
    owner->mixed = mixed;
}

static void allow(struct mfs_owner *owner, const struct mfs_owner_member *members, uint32_t count,
                  uint32_t waiting, double rate_Bps, int64_t base_ns, int64_t wait_ns)
{
    /* who is more urgent shall not wait because others could fill the port better */
    const int64_t way_ns = owner->mixed ? base_ns : most(base_ns, owner->rate.way_ns);
    double backlog_ns = 0;

    for (uint32_t i = 0; i < count; i++)
        backlog_ns += (double)members[i].inflight_bytes / rate_Bps * SECOND_NS;
    backlog_ns -= (double)way_ns;
    if (backlog_ns < 0)
        backlog_ns = 0;
    else if (backlog_ns > (double)MFS_EXCHANGE_SPAN_MAX_NS)
        backlog_ns = (double)MFS_EXCHANGE_SPAN_MAX_NS;
    owner->allowed =
        mfs_exchange_allowed(owner->allowed, waiting, (int64_t)backlog_ns, base_ns + wait_ns);
}

static mfs_rank_t limit_of(const struct mfs_owner_member *members, uint32_t count, uint32_t allowed)
{
    mfs_rank_t ranks[MFS_OWNER_MEMBERS_MAX];
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (waits(&members[i]))
            ranks[waiting++] = members[i].rank;
    }
    return mfs_exchange_limit(ranks, waiting, allowed);
}

static void inflight_cut(struct mfs_owner_member *members, uint32_t count, double rate_Bps)
{
    const double most_bytes = rate_Bps * INFLIGHT_NS / SECOND_NS;

    for (uint32_t i = 0; i < count && rate_Bps > 0; i++) {
        if ((double)members[i].inflight_bytes > most_bytes)
            members[i].inflight_bytes = (uint64_t)most_bytes;
    }
}

mfs_rank_t mfs_owner_judge(struct mfs_owner *owner, struct mfs_owner_member *members,
                           uint32_t count, double configured_Bps, double seed_Bps, int64_t wait_ns,
                           int64_t now_ns)
{
    const double learned_Bps = mfs_owner_rate_Bps(owner);
    const double seen_Bps = learned_Bps > 0 ? learned_Bps : seed_Bps;
    const double rate_Bps = configured_Bps > 0 ? configured_Bps : seen_Bps;
    int64_t base_ns = 0, newest_ns = INT64_MIN;
    uint32_t waiting = 0;

    for (uint32_t i = 0; i < count; i++) {
        waiting += waits(&members[i]);
        base_ns = most(base_ns, members[i].base_ns);
        newest_ns = most(newest_ns, members[i].at_ns);
    }
    inflight_cut(members, count, rate_Bps);
    rate_see(owner, members, count, waiting > 1, now_ns);
    charge(owner, members, count, now_ns);
    if (waiting < 2 || rate_Bps <= 0) {
        owner->judged_ns = now_ns;
        owner->limit = MFS_RANK_NONE;
        if (owner->allowed > MFS_EXCHANGE_BEGIN)
            owner->allowed = MFS_EXCHANGE_BEGIN;
        return MFS_RANK_NONE;
    }
    levels_follow(owner, members, count, waiting);
    /* not again by what was known at the last time, and not before that has had its effect */
    if (newest_ns > owner->judged_ns && now_ns - owner->judged_ns >= base_ns + wait_ns) {
        owner->judged_ns = now_ns;
        allow(owner, members, count, waiting, rate_Bps, base_ns, wait_ns);
    }
    owner->limit = limit_of(members, count, owner->allowed);
    return owner->limit;
}
