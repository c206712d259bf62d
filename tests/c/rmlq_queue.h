/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of core/rmlq.h: a queue with one destination, what is known of its requests, and calls
 * on whichever kind has the better rank. */
#ifndef MFS_TESTS_RMLQ_QUEUE_H
#define MFS_TESTS_RMLQ_QUEUE_H

#include "core/rmlq.h"
#include "test.h"

#define MS INT64_C(1000000)
#define REQUESTS 64

/* What is known of requests 1..REQUESTS-1, as a source. */
static struct {
    struct mfs_facts facts[REQUESTS];
    uint64_t version;
} known;

static struct mfs_voq voq;

static inline uint64_t known_version(void *ctx)
{
    (void)ctx;
    return known.version;
}

static inline bool known_read(void *ctx, uint64_t request, struct mfs_facts *facts)
{
    (void)ctx;
    if (request >= REQUESTS)
        return false;
    *facts = known.facts[request];
    return true;
}

static inline struct mfs_rmlq *queue_make(const char *policy, uint32_t max_flows)
{
    struct mfs_rmlq_config config;
    struct mfs_rmlq *queue;

    for (int i = 0; i < REQUESTS; i++)
        mfs_facts_init(&known.facts[i]);
    mfs_rmlq_config_init(&config);
    config.policy = mfs_policy_find(policy);
    config.facts = (struct mfs_facts_source){NULL, known_version, known_read};
    config.max_flows = max_flows;
    CHECK_EQ(mfs_rmlq_create(&config, &queue), 0);
    CHECK_EQ(mfs_voq_open(queue, &voq), 0);
    return queue;
}

static inline void queue_end(struct mfs_rmlq *queue)
{
    mfs_voq_close(queue, &voq);
    mfs_rmlq_destroy(queue);
}

/* Whichever of both kinds has the better rank. */
static inline enum mfs_kind best(struct mfs_rmlq *queue, uint64_t max_bytes, int64_t now_ns,
                                 struct mfs_head *head)
{
    struct mfs_head tagged;

    mfs_rmlq_place_due(queue, now_ns);
    mfs_rmlq_head(queue, MFS_VOQ_OPEN, MFS_TAGGED, max_bytes, &tagged);
    mfs_rmlq_head(queue, MFS_VOQ_OPEN, MFS_UNTAGGED, max_bytes, head);
    if (head->rank < tagged.rank)
        return MFS_UNTAGGED;
    *head = tagged;
    return MFS_TAGGED;
}

static inline mfs_rank_t peek(struct mfs_rmlq *queue, int64_t now_ns)
{
    struct mfs_head head;

    (void)best(queue, 128, now_ns, &head);
    return head.rank;
}

static inline int take(struct mfs_rmlq *queue, uint64_t max_bytes, int64_t now_ns,
                       struct mfs_chunk *chunk)
{
    struct mfs_head head;
    const enum mfs_kind kind = best(queue, max_bytes, now_ns, &head);

    if (!head.voq)
        return -EAGAIN;
    mfs_rmlq_take(queue, head.voq, kind, max_bytes, chunk);
    CHECK_EQ(chunk->length, head.bytes);
    return 0;
}

static struct mfs_tag p2d(uint64_t request, uint32_t layer)
{
    return (struct mfs_tag){request, layer, MFS_STAGE_P2D};
}

static inline void push(struct mfs_rmlq *queue, struct mfs_op *op, uint64_t length,
                        struct mfs_tag tag, int64_t now_ns)
{
    *op = (struct mfs_op){.length = length};
    CHECK_EQ(mfs_rmlq_push(queue, op, &voq, &tag, now_ns), 0);
}

#endif
