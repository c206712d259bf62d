/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sender whose ranks the test chooses: its policy reads level and key from the tag. It has one
 * destination, one tagged and one untagged operation that wait (each for as long as the test
 * likes), and chunks that it takes at once. CHECK is the caller's.
 */
#ifndef MFS_TESTS_RIVAL_H
#define MFS_TESTS_RIVAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/sender.h"
#include "host/sender.h"

struct rival {
    struct mfs_sender *sender;
    struct mfs_destination to;
    struct mfs_op waits[MFS_KINDS]; /* length 0: none */
    struct mfs_op now;              /* what rival_take asks for */
    struct mfs_chunk chunk;         /* the last that it was handed */
};

static inline struct mfs_tag rival_tag(mfs_rank_t rank, enum mfs_kind kind)
{
    return (struct mfs_tag){
        .request = kind == MFS_UNTAGGED ? MFS_REQUEST_NONE : 1,
        .layer = (uint32_t)mfs_rank_key(rank),
        .stage = mfs_rank_level(rank),
    };
}

static inline void rival_place(const struct mfs_params *params, const struct mfs_flow_info *flow,
                               const struct mfs_facts *facts, int64_t now_ns,
                               struct mfs_place *place)
{
    (void)params, (void)facts, (void)now_ns;
    place->level = flow->tag.stage;
    place->key = flow->tag.layer;
}

static const struct mfs_policy rival_policy = {
    .name = "rival", .defers = true, .shares_from = MFS_LEVELS_MAX, .place = rival_place};

/* On a port of the host. */
static inline void rival_join(struct rival *rival, struct mfs_host *host, const char *port)
{
    struct mfs_params params;

    memset(rival, 0, sizeof(*rival));
    mfs_params_init(&params);
    CHECK(mfs_sender_join(host, port, MFS_EGRESS, NULL, &rival->sender) == 0);
    CHECK(mfs_sender_set_policy(rival->sender, &rival_policy, &params, 0) == 0);
    CHECK(mfs_sender_open(rival->sender, &rival->to, rival) == 0);
}

/* On a port that the test keeps itself. */
static inline void rival_create(struct rival *rival, const struct mfs_sender_config *config)
{
    struct mfs_sender_config mine = *config;

    memset(rival, 0, sizeof(*rival));
    mine.queue.policy = &rival_policy;
    CHECK(mfs_sender_create(&mine, &rival->sender) == 0);
    CHECK(mfs_sender_open(rival->sender, &rival->to, rival) == 0);
}

static inline void rival_drop(struct rival *rival, struct mfs_op *op, int64_t now_ns)
{
    if (op->flow)
        CHECK(mfs_sender_remove(rival->sender, op, now_ns) == 0);
    *op = (struct mfs_op){0};
}

/* So much waits at this rank, instead of what did; 0 bytes: nothing. The others are told. */
static inline void rival_waits_of(struct rival *rival, enum mfs_kind kind, mfs_rank_t rank,
                                  uint64_t bytes, int64_t now_ns)
{
    const struct mfs_tag tag = rival_tag(rank, kind);
    struct mfs_op *op = &rival->waits[kind];

    rival_drop(rival, op, now_ns);
    op->length = bytes;
    if (bytes > 0)
        CHECK(mfs_sender_push(rival->sender, op, &rival->to, &tag, now_ns) == 0);
    mfs_sender_publish(rival->sender, now_ns);
}

static inline void rival_waits(struct rival *rival, mfs_rank_t rank, uint64_t bytes, int64_t now_ns)
{
    rival_waits_of(rival, MFS_TAGGED, rank, bytes, now_ns);
}

/* Nothing waits there any more. */
static inline void rival_rest(struct rival *rival, int64_t now_ns)
{
    for (int kind = 0; kind < MFS_KINDS; kind++)
        rival_drop(rival, &rival->waits[kind], now_ns);
    mfs_sender_publish(rival->sender, now_ns);
}

/* The next chunk of what waits, of at most max_bytes: 0 or -errno. What it was: rival->chunk. */
static inline int rival_next(struct rival *rival, uint64_t max_bytes, int64_t now_ns)
{
    return mfs_sender_next(rival->sender, max_bytes, now_ns, &rival->chunk);
}

/* May a chunk of so many bytes at this rank go now? Then they are in flight; else it is forgotten.
 * Nothing better waits here. */
static inline int rival_take(struct rival *rival, mfs_rank_t rank, uint64_t bytes, int64_t now_ns)
{
    const struct mfs_tag tag = rival_tag(rank, MFS_TAGGED);
    int error;

    rival->now = (struct mfs_op){.length = bytes};
    CHECK(mfs_sender_push(rival->sender, &rival->now, &rival->to, &tag, now_ns) == 0);
    error = rival_next(rival, UINT64_MAX, now_ns);
    CHECK(error || (rival->chunk.op == &rival->now && rival->chunk.last));
    if (error)
        rival_drop(rival, &rival->now, now_ns);
    mfs_sender_publish(rival->sender, now_ns);
    return error;
}

static inline void rival_done(struct rival *rival, uint64_t bytes, int64_t now_ns)
{
    mfs_sender_done(rival->sender, &rival->to, bytes, now_ns);
}

/* With what it has waiting and in flight. */
static inline void rival_end(struct rival *rival)
{
    for (int kind = 0; kind < MFS_KINDS; kind++)
        rival_drop(rival, &rival->waits[kind], 0);
    mfs_sender_close(rival->sender, &rival->to);
}

static inline void rival_leave(struct rival *rival)
{
    rival_end(rival);
    mfs_sender_leave(rival->sender);
}

static inline void rival_destroy(struct rival *rival)
{
    rival_end(rival);
    mfs_sender_destroy(rival->sender);
}

#endif
