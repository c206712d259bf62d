/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot loop of bench/core.py: OPERATIONS are queued over FLOWS all the time; a pair is
 * the next chunk of a sender (a whole operation), its end, and a push of it under another tag,
 * picked at random beforehand: what a transport does for each operation that waits. Prints: ns per
 * pair, bytes of an operation, allocations in the loop.
 *
 *     core POLICY OPERATIONS FLOWS PAIRS
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/sender.h"

#define TAGS 65536u /* a power of two */

static unsigned long allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
double pairs_run(struct mfs_sender *sender, uint64_t pairs);

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    allocations++;
    return __real_aligned_alloc(alignment, size);
}

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

static struct mfs_tag tags[TAGS];
static uint64_t state = 1;

static uint64_t random_next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(2685821657736338717);
}

/* Deadlines over ten seconds; the loop's clock passes half a second of them. */
static bool facts_read(void *ctx, uint64_t request, struct mfs_facts *facts)
{
    (void)ctx;
    facts->deadline_ns = (int64_t)(request * UINT64_C(2654435761) % 10000000000u) + 500000000;
    return true;
}

static uint64_t facts_version(void *ctx)
{
    (void)ctx;
    return 0;
}

static struct mfs_destination destination;

double pairs_run(struct mfs_sender *sender, uint64_t pairs)
{
    struct timespec begin, end;
    struct mfs_chunk chunk;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (uint64_t i = 0; i < pairs; i++) {
        const int64_t now_ns = (int64_t)(i * 100);

        if (mfs_sender_next(sender, 0, now_ns, &chunk) != 0 || !chunk.last)
            exit(1);
        mfs_sender_done(sender, &destination, chunk.length, now_ns);
        if (mfs_sender_push(sender, chunk.op, &destination, &tags[i % TAGS], now_ns) != 0)
            exit(1);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) /
           (double)pairs;
}

int main(int argc, char **argv)
{
    struct mfs_sender_config config;
    struct mfs_sender *sender;
    uint64_t operations, flows, pairs;
    unsigned long before;
    struct mfs_op *ops;
    double ns;

    mfs_sender_config_init(&config);
    if (argc != 5 || !(config.queue.policy = mfs_policy_find(argv[1])))
        return 2;
    operations = strtoull(argv[2], NULL, 10);
    flows = strtoull(argv[3], NULL, 10);
    pairs = strtoull(argv[4], NULL, 10);
    config.queue.max_flows = (uint32_t)flows;
    config.queue.params.rate_Bps = UINT64_C(25000000000);
    config.queue.facts = (struct mfs_facts_source){NULL, facts_version, facts_read};
    config.rate_known = true;
    ops = calloc(operations, sizeof(*ops));
    if (!ops || mfs_sender_create(&config, &sender) != 0 ||
        mfs_sender_open(sender, &destination, NULL) != 0)
        return 1;
    for (uint32_t i = 0; i < TAGS; i++)
        tags[i] = (struct mfs_tag){1 + random_next() % flows, 0, MFS_STAGE_P2D};
    for (uint64_t i = 0; i < operations; i++) {
        struct mfs_tag tag = {1 + i % flows, 0, MFS_STAGE_P2D};

        ops[i].length = 46080;
        if (mfs_sender_push(sender, &ops[i], &destination, &tag, 0) != 0)
            return 1;
    }
    mfs_sender_publish(sender, 0);
    if (sender->told.rank == MFS_RANK_NONE)
        return 1;
    before = allocations;
    ns = pairs_run(sender, pairs);
    printf("%.2f %zu %lu\n", ns, sizeof(*ops), allocations - before);
    mfs_sender_close(sender, &destination);
    mfs_sender_destroy(sender);
    free(ops);
    return 0;
}
