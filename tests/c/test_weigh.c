/* SPDX-License-Identifier: Apache-2.0 */
#include "core/weigh.h"

#include <string.h>

#include "core/atomic.h"
#include "test.h"

#define KB UINT64_C(1024)
#define MB (KB * KB)

struct world {
    _Atomic uint64_t clock, marks[4];
    uint64_t sent[4];
};

/* The member among those of the mask whose turn it is; the first of equals. */
static uint32_t best_of(const struct world *world, uint32_t mask, const uint32_t *weights)
{
    const uint64_t clock = mfs_get(&world->clock);
    uint64_t least = UINT64_MAX;
    uint32_t best = 0;

    for (uint32_t i = 0; i < 4; i++) {
        const uint64_t turn = mfs_weigh_turn(clock, mfs_get(&world->marks[i]), weights[i]);

        if ((mask >> i & 1) && turn < least) {
            least = turn;
            best = i;
        }
    }
    return best;
}

/* So many bytes leave, in chunks, of those that have something to send. */
static void send(struct world *world, uint32_t mask, const uint32_t *weights, uint64_t chunk,
                 uint64_t bytes)
{
    memset(world->sent, 0, sizeof(world->sent));
    for (uint64_t sent = 0; sent < bytes; sent += chunk) {
        const uint32_t i = best_of(world, mask, weights);

        mfs_weigh_sent(&world->clock, &world->marks[i], weights[i], chunk);
        world->sent[i] += chunk;
    }
}

/* Bytes in the ratio of the weights, to within a quantum and a chunk of each. */
static void shares__by_weight(void)
{
    static const uint32_t rows[][4] = {
        {100, 100, 100, 100}, {100, 200, 300, 400}, {1, 100, 1, 100}, {10000, 100, 50, 1}};
    static const uint64_t chunks[] = {64 * KB, 1000 * KB, 4 * MB};

    for (size_t row = 0; row < COUNT(rows); row++) {
        for (size_t at = 0; at < COUNT(chunks); at++) {
            const uint64_t bytes = 4000 * MB;
            struct world world = {0};
            uint64_t all = 0;

            for (int i = 0; i < 4; i++)
                all += rows[row][i];
            send(&world, 15, rows[row], chunks[at], bytes);
            for (int i = 0; i < 4; i++) {
                const double due = (double)bytes * rows[row][i] / (double)all;
                const double slack = 2.0 * (double)MB * rows[row][i] / 100.0 +
                                     2.0 * (double)chunks[at] * (rows[row][i] > 100 ? 2 : 1);

                CHECK((double)world.sent[i] <= due + slack);
                CHECK(rows[row][i] < 100 || (double)world.sent[i] >= due - 4 * slack);
            }
        }
    }
}

/* Who had nothing to send has saved nothing up, and who was alone owes nothing. */
static void idle__saves_nothing_up(void)
{
    static const uint32_t weights[4] = {100, 100, 100, 100};
    struct world world = {0};

    send(&world, 1, weights, 64 * KB, 5000 * MB);
    send(&world, 3, weights, 64 * KB, 100 * MB);
    CHECK(world.sent[0] >= 48 * MB && world.sent[0] <= 52 * MB);
    send(&world, 2, weights, 64 * KB, 5000 * MB);
    send(&world, 3, weights, 64 * KB, 100 * MB);
    CHECK(world.sent[0] >= 48 * MB && world.sent[0] <= 52 * MB);
}

/* The order has no circles, whatever stands in the words: a turn is a number. And rubbish in its
 * own mark costs a member no more than its largest chunk may. */
static void rubbish__costs_a_chunk(void)
{
    static const uint32_t weights[4] = {100, 100, 100, 100};
    static const uint64_t words[] = {
        0,        1,        UINT64_MAX,          UINT64_MAX / 2,
        399 * MB, 401 * MB, UINT64_MAX - 5 * MB, UINT64_MAX - 399 * MB};

    for (size_t clock = 0; clock < COUNT(words); clock++) {
        for (size_t mark = 0; mark < COUNT(words); mark++) {
            struct world world = {.clock = words[clock], .marks = {words[mark], words[clock]}};

            send(&world, 3, weights, 64 * KB, 1000 * MB);
            CHECK(world.sent[0] >= 495 * MB && world.sent[1] >= 495 * MB);
            send(&world, 3, weights, 64 * KB, 1000 * MB);
            CHECK(world.sent[0] >= 498 * MB && world.sent[0] <= 502 * MB);
        }
    }
}

/* The largest chunk is none, also of the least weight and with the clock at the end of a quantum.
 */
static void mark__of_the_largest_chunk_is_believed(void)
{
    static const uint32_t weights[] = {MFS_WEIGHT_LEAST, MFS_WEIGHT_USUAL, MFS_WEIGHT_MAX};

    for (size_t i = 0; i < COUNT(weights); i++) {
        const uint64_t step = 4 * MB * MFS_WEIGHT_USUAL / weights[i];
        _Atomic uint64_t clock = MB - 1, mark = MB - 1;

        mfs_weigh_sent(&clock, &mark, weights[i], 4 * MB);
        CHECK_EQ_AT(mark, MB - 1 + step, i);
        CHECK_EQ_AT(mfs_weigh_turn(clock, mark, weights[i]), (MB - 1 + step) / MB, i);
        mfs_set(&mark, mfs_get(&mark) + 2 * MB);
        CHECK_EQ_AT(mfs_weigh_turn(clock, mark, weights[i]), 0, i);
    }
}

static void rank__among_equals_is_as_it_was(void)
{
    const mfs_rank_t rank = mfs_rank_make(7, 1234);

    CHECK_EQ(mfs_weigh_rank(rank, 3, 3), rank);
    CHECK(mfs_weigh_rank(rank, 2, 3) < mfs_rank_make(7, 1));
    CHECK(mfs_weigh_rank(rank, 4, 3) > mfs_rank_make(7, MFS_KEY_MAX - 1));
    CHECK_EQ(mfs_rank_level(mfs_weigh_rank(rank, 2, 3)), 7);
    CHECK_EQ(mfs_rank_level(mfs_weigh_rank(rank, 4, 3)), 7);
}

static const struct test tests[] = {
    TEST(shares__by_weight),
    TEST(idle__saves_nothing_up),
    TEST(rubbish__costs_a_chunk),
    TEST(mark__of_the_largest_chunk_is_believed),
    TEST(rank__among_equals_is_as_it_was),
};

TEST_MAIN(tests)
