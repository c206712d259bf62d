/* SPDX-License-Identifier: Apache-2.0 */
/* The share of untagged traffic, as several senders of a port keep it together. */
#include "core/sender.h"

#include "sender_port.h"

#define MUCH (UINT64_C(1) << 40)

/* One floods, two has untagged traffic only; both look in turn. */
static void untagged__keeps_its_share_of_the_port(void)
{
    static const struct {
        uint64_t share, tagged, untagged; /* bytes of a chunk */
    } rows[] = {
        {50, 9984, 9984},  {50, 128, 65536}, {50, 65536, 128},  {500, 4096, 4096},
        {999, 1024, 1024}, {1, 65536, 1024}, {250, 3072, 6912}, {1000, 1024, 1024},
    };

    for (size_t row = 0; row < COUNT(rows); row++) {
        const uint64_t share = rows[row].share;
        uint64_t sent = 0, untagged = 0;

        set_up(2, share);
        rival_waits_of(two, MFS_UNTAGGED, 1000, MUCH, now_ns);
        (void)rival_next(two, rows[row].untagged, now_ns); /* it is known how much it wants */
        rival_done(two, MUCH, now_ns);
        rival_waits(one, 5, MUCH, now_ns);
        for (int i = 0; i < 200000 && untagged < 50 * rows[row].untagged; i++) {
            int error = rival_next(one, rows[row].tagged, now_ns);

            CHECK(error == 0 || error == -EBUSY);
            if (!error) {
                sent += one->chunk.length;
                rival_done(one, one->chunk.length, now_ns);
            }
            error = rival_next(two, rows[row].untagged, now_ns);
            CHECK(error == 0 || error == -EBUSY);
            if (!error) {
                sent += two->chunk.length;
                untagged += two->chunk.length;
                rival_done(two, two->chunk.length, now_ns);
            }
            /* the bound as stated, of the bytes that have left and of the chunk that is next */
            CHECK(sent * share <= (untagged + rows[row].untagged) * 1000 +
                                      (rows[row].tagged + rows[row].untagged) * share);
            /* and no more than the share, to within a chunk */
            if (share < 1000)
                CHECK(untagged * 1000 <= sent * share + rows[row].untagged * 1000);
        }
        CHECK(untagged > 0);
        tear_down();
    }
}

/* Both have both kinds, and one's tagged are always better: two's untagged leave all the same. */
static void untagged__behind_own_tagged_traffic(void)
{
    uint64_t untagged[2] = {0, 0}, tagged[2] = {0, 0};

    set_up(2, 100);
    for (unsigned i = 0; i < 2; i++) {
        rival_waits(&all.of[i], 5 + i, MUCH, now_ns);
        rival_waits_of(&all.of[i], MFS_UNTAGGED, 1000 + i, CHUNK, now_ns);
    }
    for (uint64_t i = 0; i < 20000; i++) {
        for (unsigned j = 0; j < 2; j++) { /* untagged by age */
            struct rival *at = &all.of[j];

            if (rival_next(at, CHUNK, now_ns) != 0)
                continue;
            rival_done(at, CHUNK, now_ns);
            if (at->chunk.op == &at->waits[MFS_TAGGED]) {
                tagged[j] += CHUNK;
                continue;
            }
            untagged[j] += CHUNK;
            rival_waits_of(at, MFS_UNTAGGED, 1000 + untagged[j] / CHUNK * 2 + j, CHUNK, now_ns);
        }
    }
    CHECK(tagged[0] > 10000 * CHUNK && tagged[1] == 0);
    CHECK((untagged[0] + untagged[1]) * 10 <= tagged[0] + untagged[0] + untagged[1] + 10 * CHUNK);
    CHECK((untagged[0] + untagged[1]) * 10 + 20 * CHUNK >= tagged[0]);
    CHECK(untagged[0] <= untagged[1] + CHUNK && untagged[1] <= untagged[0] + CHUNK);
    tear_down();
}

static void untagged__nothing_changes_when_none_waits(void)
{
    uint64_t state = 1;

    set_up(2, 500);
    for (int i = 0; i < 1000; i++) {
        const mfs_rank_t ranks[2] = {test_random(&state) % 8, test_random(&state) % 8};
        const unsigned turn = test_random(&state) % 2;

        for (int j = 0; j < 2; j++)
            rival_waits(&all.of[j], ranks[j], CHUNK, now_ns);
        CHECK_EQ_AT(rival_next(&all.of[turn], CHUNK, now_ns),
                    ranks[!turn] < ranks[turn] ? -EBUSY : 0, i);
        rival_done(&all.of[turn], CHUNK, now_ns);
    }
    CHECK_EQ(all.port.untagged_credit, 0);
    tear_down();
}

/* What was earned while it waited is there when it waits again, however long after. */
static void untagged__what_it_is_owed_is_kept(void)
{
    set_up(2, 500);
    rival_waits(one, 5, MUCH, now_ns);
    rival_waits_of(two, MFS_UNTAGGED, 9, CHUNK, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), 0);
    rival_done(one, CHUNK, now_ns);
    rival_rest(two, now_ns);
    for (int i = 0; i < 100; i++) {
        now_ns += SECOND;
        CHECK_EQ(rival_next(one, CHUNK, now_ns), 0);
        rival_done(one, CHUNK, now_ns);
    }
    CHECK_EQ(all.port.untagged_credit, CHUNK * 1000);
    rival_waits_of(two, MFS_UNTAGGED, 9, MUCH, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), -EBUSY);
    CHECK_EQ(rival_next(two, CHUNK, now_ns), 0);
    CHECK_EQ(rival_next(two, CHUNK, now_ns), -EBUSY);
    tear_down();
}

/* What it gets by its rank alone is taken off, too. */
static void untagged__spends_by_rank(void)
{
    set_up(1, 500);
    rival_waits(one, 5, MUCH, now_ns);
    rival_waits_of(one, MFS_UNTAGGED, 9, MUCH, now_ns);
    CHECK_EQ(rival_next(one, CHUNK / 2, now_ns), 0);
    CHECK_EQ(one->chunk.rank, 5);
    CHECK_EQ(all.port.untagged_credit, CHUNK / 2 * 1000);
    rival_waits_of(one, MFS_UNTAGGED, 3, MUCH, now_ns);
    CHECK_EQ(rival_next(one, CHUNK, now_ns), 0); /* not due: half of a chunk */
    CHECK(one->chunk.rank == 3 && one->chunk.tag.request == MFS_REQUEST_NONE);
    CHECK_EQ(all.port.untagged_credit, 0);
    tear_down();
}

static const struct test tests[] = {
    TEST(untagged__keeps_its_share_of_the_port),
    TEST(untagged__behind_own_tagged_traffic),
    TEST(untagged__nothing_changes_when_none_waits),
    TEST(untagged__what_it_is_owed_is_kept),
    TEST(untagged__spends_by_rank),
};

TEST_MAIN(tests)
