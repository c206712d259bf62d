/* SPDX-License-Identifier: Apache-2.0 */
#include "core/heap.h"

#include "allocations.h"
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

/* Moved with the sequence it had, it is among equals where it was; with another, where that says.
 */
static void set__moving_takes_the_sequence_given(void)
{
    struct mfs_heap heap;

    CHECK_EQ(mfs_heap_init(&heap, 3), 0);
    for (uint32_t i = 0; i < 3; i++)
        mfs_heap_set(&heap, i, 10, i);
    mfs_heap_set(&heap, 0, 20, 0);
    mfs_heap_set(&heap, 0, 10, 0);
    CHECK_EQ(mfs_heap_item(&heap.entries[0]), 0);
    mfs_heap_set(&heap, 0, 10, 5); /* the rank alone has not changed */
    CHECK_EQ(mfs_heap_sequence(&heap.entries[heap.where[0]]), 5);
    CHECK_EQ(pop(&heap), 1);
    CHECK_EQ(pop(&heap), 2);
    mfs_heap_set(&heap, 1, 10, 4);
    CHECK_EQ(pop(&heap), 1);
    CHECK_EQ(pop(&heap), 0);
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

/* It grows with what is in it, and each step to a place where entries[1] begins a cache line. */
static void reserve__keeps_what_is_there(void)
{
    struct mfs_heap heap;
    uint32_t count = 0;

    CHECK_EQ(mfs_heap_init(&heap, 1), 0);
    for (uint32_t capacity = 1; capacity <= ITEMS; capacity += 7) {
        CHECK_EQ(mfs_heap_reserve(&heap, capacity), 0);
        CHECK_EQ(heap.capacity, capacity);
        CHECK_EQ((uintptr_t)&heap.entries[1] % 64, 0);
        while (count < capacity) {
            CHECK_EQ_AT(heap.where[count], MFS_HEAP_NOWHERE, count);
            mfs_heap_set(&heap, count, ITEMS - count, count);
            count++;
        }
    }
    CHECK_EQ(mfs_heap_reserve(&heap, 1), 0); /* never smaller */
    CHECK(heap.capacity >= count);
    CHECK_EQ(heap.count, count);
    while (count > 0)
        CHECK_EQ(pop(&heap), --count);
    mfs_heap_free(&heap);
}

/* Two heaps of the same items: an item is in one of them at a time, and its place says where. */
static void sharing__one_table_of_places(void)
{
    struct mfs_heap heaps[2];
    uint32_t where[ITEMS];
    uint64_t state = 7;

    memset(where, 0xff, sizeof(where));
    for (int i = 0; i < 2; i++) {
        mfs_heap_init_sharing(&heaps[i], where);
        CHECK(heaps[i].count == 0 && heaps[i].capacity == 0);
        mfs_heap_remove(&heaps[i], 5); /* not in it, empty as it is */
        CHECK_EQ(mfs_heap_reserve(&heaps[i], ITEMS / 2), 0);
    }
    for (uint32_t i = 0; i < ITEMS; i++)
        mfs_heap_set(&heaps[i % 2], i, test_random(&state) % 50, i);
    for (uint32_t i = 0; i < ITEMS; i++)
        CHECK_EQ_AT(mfs_heap_item(&heaps[i % 2].entries[where[i]]), i, i);
    for (int i = 0; i < 2; i++) {
        uint64_t last = 0;

        for (uint32_t left = ITEMS / 2; left > 0; left--) {
            const uint64_t rank = heaps[i].entries[0].rank;
            const uint32_t item = pop(&heaps[i]);

            CHECK(item % 2 == (uint32_t)i && rank >= last && where[item] == MFS_HEAP_NOWHERE);
            last = rank;
        }
        mfs_heap_free(&heaps[i]); /* not the table, which is the owner's */
    }
    CHECK_EQ(where[0], MFS_HEAP_NOWHERE);
}

static void reserve__without_memory(void)
{
    struct mfs_heap heap;

    for (unsigned long failing = 1; failing <= 2; failing++) {
        CHECK_EQ(mfs_heap_init(&heap, 2), 0);
        mfs_heap_set(&heap, 1, 3, 0);
        allocations = 0;
        allocations_fail_at = failing;
        CHECK_EQ_AT(mfs_heap_reserve(&heap, 100), -ENOMEM, failing);
        allocations_fail_at = 0;
        CHECK(heap.capacity == 2 && heap.count == 1);
        mfs_heap_set(&heap, 0, 2, 1);
        CHECK_EQ(pop(&heap), 0);
        CHECK_EQ(pop(&heap), 1);
        mfs_heap_free(&heap);
    }
    allocations = 0;
    allocations_fail_at = 1;
    CHECK_EQ(mfs_heap_init(&heap, 2), -ENOMEM);
    allocations_fail_at = 0;
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
            if (!model[item].in || test_random(&state) % 4 == 0)
                model[item].sequence = sequence++;
            mfs_heap_set(&heap, item, rank, model[item].sequence);
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
    TEST(set__least_rank_first),
    TEST(set__ties_by_sequence),
    TEST(set__moving_takes_the_sequence_given),
    TEST(remove__what_is_not_there),
    TEST(reserve__keeps_what_is_there),
    TEST(reserve__without_memory),
    TEST(sharing__one_table_of_places),
    TEST(set__as_an_array_would),
};

TEST_MAIN(tests)
