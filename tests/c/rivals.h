/* SPDX-License-Identifier: Apache-2.0 */
/* Several rivals (rival.h) of one port that the test keeps, without a host: what they tell lies in
 * an array, and the clock is a word. Nobody's lease runs out. */
#ifndef MFS_TESTS_RIVALS_H
#define MFS_TESTS_RIVALS_H

#include "rival.h"

#define RIVALS_MAX 8

struct rivals {
    struct mfs_port_state port;
    int64_t now_ns;    /* what the clock says */
    int64_t tick_ns;   /* with which the cheap one moves; 0: as the exact one */
    unsigned exactly;  /* how often it was asked for the exact time */
    unsigned looks;    /* how often one has looked at the others */
    unsigned count;
    struct seat {
        struct rivals *all;
        struct mfs_told told;
    } seats[RIVALS_MAX];
    struct rival of[RIVALS_MAX];
};

static inline void rivals_look(void *ctx, int64_t now_ns, struct mfs_others *others)
{
    const struct seat *self = ctx;

    (void)now_ns;
    self->all->looks++;
    for (unsigned i = 0; i < self->all->count; i++) {
        const struct seat *seat = &self->all->seats[i];

        if (seat == self)
            continue;
        others->inflight_bytes += seat->told.inflight_bytes;
        others->slow_bytes += seat->told.slow_bytes;
        others->done_bytes += seat->told.done_bytes;
        if (seat->told.rank < others->best)
            others->best = seat->told.rank;
        if (seat->told.untagged_rank < others->untagged_best) {
            others->untagged_best = seat->told.untagged_rank;
            others->untagged_bytes = seat->told.untagged_bytes;
        }
    }
}

static inline void rivals_publish(void *ctx, const struct mfs_told *told, int64_t now_ns)
{
    (void)now_ns;
    ((struct seat *)ctx)->told = *told;
}

static inline int64_t rivals_now(void *ctx, bool exact)
{
    const struct seat *self = ctx;

    self->all->exactly += exact;
    if (!exact && self->all->tick_ns > 0)
        return self->all->now_ns - self->all->now_ns % self->all->tick_ns;
    return self->all->now_ns;
}

/* So many on one port; config is theirs, but for the port and the others. */
static inline void rivals_create_ticking(struct rivals *all, unsigned count,
                                         const struct mfs_sender_config *config, int64_t tick_ns)
{
    struct mfs_sender_config mine = *config;

    memset(all, 0, sizeof(*all));
    CHECK(count <= RIVALS_MAX);
    all->count = count;
    all->now_ns = 1;
    all->tick_ns = tick_ns;
    all->port.rate_Bps = config->queue.params.rate_Bps;
    mine.port = &all->port;
    for (unsigned i = 0; i < count; i++)
        all->seats[i] = (struct seat){all, {.rank = MFS_RANK_NONE, .untagged_rank = MFS_RANK_NONE}};
    for (unsigned i = 0; i < count; i++) {
        mine.others =
            (struct mfs_port_ops){rivals_look, rivals_publish, rivals_now, &all->seats[i], tick_ns};
        rival_create(&all->of[i], &mine);
    }
}

static inline void rivals_create(struct rivals *all, unsigned count,
                                 const struct mfs_sender_config *config)
{
    rivals_create_ticking(all, count, config, 0);
}

static inline void rivals_destroy(struct rivals *all)
{
    for (unsigned i = 0; i < all->count; i++)
        rival_destroy(&all->of[i]);
}

#endif
