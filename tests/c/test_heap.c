/* SPDX-License-Identifier: Apache-2.0 */
#include "core/heap.h"

#include "test.h"

#define ITEMS 200

static uint32_t pop(struct mfs_heap *heap)
{
    uint32_t item = mfs_heap_item(&heap->entries[0]);

    mfs_heap_remove(heap, item);
    return item;
}

static void set__least_rank_first(void)
{
    static const uint64_t ranks[] = {5, 3, 9, 1, UINT64_MAX, 0, 7};
    static const uint32_t order[] = {5, 3, 1, 0, 6, 2, 4};
    struct mfs_heap heap;

    CHECK_EQ(mfs_heap_init(&heap, COUNT(ranks)), 0);
    for (uint32_t i = 0; i < COUNT(ranks); i++)
        mfs_heap_set(&heap, i, ranks[i], i);
    for (size_t i = 0; i < COUNT(order); i++)
        CHECK_EQ_AT(pop(&heap), order[i], i);
    CHECK_EQ(heap.count, 0);
    mfs_heap_free(&heap);
}

static void set__ties_by_sequence(void)
{
    struct mfs_heap heap;

    CHECK_EQ(mfs_heap_init(&heap, ITEMS), 0);
    for (uint32_t i = 0; i < ITEMS; i++)
        mfs_heap_set(&heap, i, 7, ITEMS - i); /* the last item came first */
    for (uint32_t i = 0; i < ITEMS; i++)
        CHECK_EQ_AT(pop(&heap), ITEMS - 1 - i, i);
    mfs_heap_free(&heap);
}

static void set__moving_keeps_the_sequence(void)
{
    struct mfs_heap heap;

    CHECK_EQ(mfs_heap_init(&heap, 3), 0);
    for (uint32_t i = 0; i < 3; i++)
        mfs_heap_set(&heap, i, 10, i);
    mfs_heap_set(&heap, 0, 20, 99);
    mfs_heap_set(&heap, 0, 10, 100);
    CHECK_EQ(pop(&heap), 0);
    CHECK_EQ(pop(&heap), 1);
    mfs_heap_free(&heap);
}

static void remove__what_is_not_there(void)
{
    struct mfs_heap heap;

    CHECK_EQ(mfs_heap_init(&heap, 2), 0);
    mfs_heap_set(&heap, 1, 1, 0);
    mfs_heap_remove(&heap, 0);
    CHECK_EQ(heap.count, 1);
    CHECK(heap.where[1] != MFS_HEAP_NOWHERE && heap.where[0] == MFS_HEAP_NOWHERE);
    mfs_heap_free(&heap);
}

/* Against an array that is searched: insert, move, remove, change in place and rebuild. */
static void set__as_an_array_would(void)
{
    struct {
        uint64_t rank, sequence;
        bool in;
    } model[ITEMS] = {0};
    uint64_t state = 42, sequence = 0;
    struct mfs_heap heap;

    CHECK_EQ(mfs_heap_init(&heap, ITEMS), 0);
    for (int step = 0; step < 20000; step++) {
        uint32_t item = (uint32_t)(test_random(&state) % ITEMS), best = UINT32_MAX;
        uint64_t rank = test_random(&state) % 50;

        switch (test_random(&state) % 8) {
        case 0:
            mfs_heap_remove(&heap, item);
            model[item].in = false;
            break;
        case 1:
            for (uint32_t at = 0; at < heap.count; at++) {
                heap.entries[at].rank = test_random(&state) % 50;
                model[mfs_heap_item(&heap.entries[at])].rank = heap.entries[at].rank;
            }
            mfs_heap_rebuild(&heap);
            break;
        default:
            if (!model[item].in)
                model[item].sequence = sequence;
            mfs_heap_set(&heap, item, rank, sequence++);
            model[item].rank = rank;
            model[item].in = true;
        }
        for (uint32_t i = 0; i < ITEMS; i++) {
            if (model[i].in &&
                (best == UINT32_MAX || model[i].rank < model[best].rank ||
                 (model[i].rank == model[best].rank && model[i].sequence < model[best].sequence)))
                best = i;
        }
        CHECK_EQ_AT(heap.count > 0 ? mfs_heap_item(&heap.entries[0]) : UINT32_MAX, best, step);
    }
    mfs_heap_free(&heap);
}

static const struct test tests[] = {
    TEST(set__least_rank_first),          TEST(set__ties_by_sequence),
    TEST(set__moving_keeps_the_sequence), TEST(remove__what_is_not_there),
    TEST(set__as_an_array_would),
};

TEST_MAIN(tests)
