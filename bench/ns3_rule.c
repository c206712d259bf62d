// SPDX-License-Identifier: Apache-2.0
#include "ns3_rule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/exchange.h"
#include "core/owner.h"
#include "core/sender.h"

#define LEASE_NS INT64_C(20000000)
#define SHARED_NS INT64_C(50000000) /* as csrc/host/far.h has it */
#define FLOOR_BYTES 131072u /* as csrc/host/port.c has it */

struct transfer {
    struct mfs_op op; /* first: a chunk names it */
    uint64_t number;
    int64_t arrival_ns, deadline_ns;
    uint32_t to;
};

/* What the owner of the port at the other end has told. */
struct told {
    mfs_rank_t limit;
    int64_t at_ns;
    uint32_t sharers;
};

struct rule {
    struct mfs_sender *sender;
    struct told *told; /* by host */
    struct mfs_destination *to;
    struct mfs_window_config window;
    uint64_t *done_bytes; /* by host */
    struct transfer **transfers; /* by number */
    uint64_t count, version;
    uint32_t hosts;
    struct mfs_others guest;
    struct mfs_guest_word word;
};

struct owner {
    struct mfs_owner of;
};

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (!memory) {
        fputs("no memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void check(int error)
{
    if (error) {
        fprintf(stderr, "sender: %s\n", strerror(-error));
        exit(1);
    }
}

/* --- a sender --- */

static uint64_t facts_version(void *ctx)
{
    return ((const struct rule *)ctx)->version;
}

static bool facts_read(void *ctx, uint64_t key, struct mfs_facts *facts)
{
    const struct rule *rule = ctx;
    const struct transfer *transfer = key <= rule->count ? rule->transfers[key - 1] : NULL;

    if (!transfer)
        return false;
    facts->arrival_ns = transfer->arrival_ns;
    facts->deadline_ns = transfer->deadline_ns;
    return true;
}

static void look(void *ctx, int64_t now_ns, struct mfs_others *others)
{
    (void)now_ns;
    *others = ((const struct rule *)ctx)->guest;
}

static void publish(void *ctx, const struct mfs_told *told, int64_t now_ns)
{
    (void)ctx, (void)told, (void)now_ns;
}

struct rule *rule_new(uint32_t hosts, bool gets, uint64_t rate_Bps)
{
    struct rule *rule = zeroed(1, sizeof(*rule));
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.facts = (struct mfs_facts_source){rule, facts_version, facts_read};
    config.queue.params.rate_Bps = rate_Bps;
    mfs_window_config_init(&config.window);
    config.window.window_min_bytes = rate_Bps > 0 ? 0 : (gets ? 4 : 1) * FLOOR_BYTES;
    config.rate_known = rate_Bps > 0;
    config.others = (struct mfs_port_ops){.look = look, .publish = publish, .ctx = rule};
    rule->window = config.window;
    rule->hosts = hosts;
    rule->guest.best = rule->guest.untagged_best = MFS_RANK_NONE;
    rule->to = zeroed(hosts, sizeof(*rule->to));
    rule->told = zeroed(hosts, sizeof(*rule->told));
    rule->done_bytes = zeroed(hosts, sizeof(*rule->done_bytes));
    check(mfs_sender_create(&config, &rule->sender));
    for (uint32_t i = 0; i < hosts; i++)
        check(mfs_sender_open(rule->sender, &rule->to[i], NULL));
    return rule;
}

void rule_push(struct rule *rule, uint32_t to, uint64_t number, uint64_t bytes, bool collective,
               int64_t deadline_ns, int64_t now_ns)
{
    struct transfer *transfer = zeroed(1, sizeof(*transfer));
    const struct mfs_tag tag = {rule->count + 1, 0,
                                collective ? MFS_STAGE_COLLECTIVE : MFS_STAGE_P2D};

    *transfer = (struct transfer){.op = {.length = bytes},
                                  .number = number,
                                  .arrival_ns = now_ns,
                                  .deadline_ns = deadline_ns,
                                  .to = to};
    if ((rule->count & (rule->count + 1)) == 0) { /* full: it doubles */
        rule->transfers =
            realloc(rule->transfers, 2 * (rule->count + 1) * sizeof(*rule->transfers));
        if (!rule->transfers)
            exit(1);
    }
    rule->transfers[rule->count++] = transfer;
    rule->version++;
    check(mfs_sender_push(rule->sender, &transfer->op, &rule->to[to], &tag, now_ns));
}

bool rule_next(struct rule *rule, int64_t now_ns, struct rule_chunk *chunk)
{
    struct mfs_chunk taken;
    const struct transfer *transfer;

    if (mfs_sender_next(rule->sender, 0, now_ns, &taken) != 0)
        return false;
    transfer = (const struct transfer *)(const void *)taken.op;
    *chunk = (struct rule_chunk){transfer->number, taken.length, transfer->to};
    return true;
}

void rule_done(struct rule *rule, uint32_t to, uint64_t bytes, int64_t now_ns)
{
    rule->done_bytes[to] += bytes;
    mfs_sender_done(rule->sender, &rule->to[to], bytes, now_ns);
}

bool rule_restless(const struct rule *rule)
{
    return mfs_sender_restless(rule->sender);
}

/* --- what is told --- */

static mfs_rank_t best_of(const struct mfs_destination *to)
{
    const struct mfs_heap *flows = &to->voq.flows[MFS_TAGGED];

    return flows->count > 0 ? flows->entries[0].rank : MFS_RANK_NONE;
}

static void span_of(mfs_rank_t rank, int64_t now_ns, uint32_t *level, int64_t *span_ns)
{
    *level = rank == MFS_RANK_NONE ? RULE_NO_LEVEL : mfs_rank_level(rank);
    *span_ns = rank == MFS_RANK_NONE ? 0 : mfs_exchange_span(rank, now_ns);
}

static mfs_rank_t rank_of(const struct rule_claim *claim)
{
    return claim->level == RULE_NO_LEVEL
               ? MFS_RANK_NONE
               : mfs_exchange_rank(claim->level, claim->span_ns, claim->at_ns);
}

void rule_claim_to(const struct rule *rule, uint32_t to, int64_t now_ns, struct rule_claim *claim)
{
    *claim = (struct rule_claim){.at_ns = now_ns,
                                 .inflight_bytes = rule->to[to].inflight_bytes,
                                 .done_bytes = rule->done_bytes[to]};
    span_of(best_of(&rule->to[to]), now_ns, &claim->level, &claim->span_ns);
}

void rule_claim_all(const struct rule *rule, int64_t now_ns, struct rule_claim *claim)
{
    mfs_rank_t best = MFS_RANK_NONE;

    *claim = (struct rule_claim){.at_ns = now_ns};
    for (uint32_t i = 0; i < rule->hosts; i++) {
        const mfs_rank_t rank = best_of(&rule->to[i]);

        best = rank < best ? rank : best;
        claim->inflight_bytes += rule->to[i].inflight_bytes;
        claim->done_bytes += rule->done_bytes[i];
    }
    span_of(best, now_ns, &claim->level, &claim->span_ns);
}

void rule_told(struct rule *rule, uint32_t to, uint32_t level, int64_t span_ns, uint32_t sharers,
               int64_t now_ns)
{
    const struct rule_claim limit = {.level = level, .span_ns = span_ns, .at_ns = now_ns};

    rule->told[to] = (struct told){rank_of(&limit), now_ns, sharers};
}

void rule_look(struct rule *rule, int64_t now_ns)
{
    uint32_t least = UINT32_MAX;

    for (uint32_t i = 0; i < rule->hosts; i++) {
        struct mfs_destination *to = &rule->to[i];
        const int64_t age_ns = now_ns - rule->told[i].at_ns;
        const mfs_rank_t best = best_of(to);
        const mfs_rank_t limit = age_ns <= LEASE_NS ? rule->told[i].limit : MFS_RANK_NONE;
        const uint32_t sharers = age_ns <= SHARED_NS ? rule->told[i].sharers : 0;

        mfs_sender_limit(rule->sender, to,
                         mfs_exchange_heed(&to->end, best, limit, LEASE_NS, now_ns));
        if ((to->inflight_bytes > 0 || best != MFS_RANK_NONE) && sharers < least)
            least = sharers;
    }
    if (least != UINT32_MAX)
        mfs_sender_share(rule->sender, least);
}

void rule_guest(struct rule *rule, const struct rule_claim *claims, uint32_t count, int64_t now_ns)
{
    const uint64_t most = mfs_window_bytes(&rule->window, rule->sender->rate_Bps) / 2;
    mfs_rank_t best = MFS_RANK_NONE;
    uint64_t inflight = 0, done = 0;

    for (uint32_t i = 0; i < count; i++) {
        const mfs_rank_t rank = rank_of(&claims[i]);

        best = rank < best ? rank : best;
        inflight += claims[i].inflight_bytes;
        done += claims[i].done_bytes;
    }
    rule->guest.inflight_bytes = inflight < most ? inflight : most;
    rule->guest.best = mfs_exchange_believe(&rule->word, best, done, LEASE_NS, now_ns);
    rule->guest.done_bytes = done;
}

/* --- an owner --- */

struct owner *owner_new(void)
{
    struct owner *owner = zeroed(1, sizeof(*owner));

    mfs_owner_init(&owner->of);
    return owner;
}

bool owner_judge(struct owner *owner, const struct rule_claim *claims, uint32_t count,
                 uint64_t rate_Bps, int64_t way_ns, int64_t wait_ns, int64_t now_ns,
                 uint32_t *level, int64_t *span_ns)
{
    struct mfs_owner_member members[MFS_OWNER_MEMBERS_MAX] = {{0}};
    mfs_rank_t limit;

    for (uint32_t i = 0; i < count; i++) {
        members[i] = (struct mfs_owner_member){
            .who = claims[i].who,
            .rank = rank_of(&claims[i]),
            .inflight_bytes = claims[i].inflight_bytes,
            .done_bytes = claims[i].done_bytes,
            .base_ns = claims[i].who == 0 ? 0 : way_ns,
            .at_ns = claims[i].at_ns,
        };
    }
    limit = mfs_owner_judge(&owner->of, members, count, rate_Bps, 0, wait_ns, now_ns);
    span_of(limit, now_ns, level, span_ns);
    return limit != MFS_RANK_NONE;
}
