/* SPDX-License-Identifier: Apache-2.0 */
#include "core/owner.h"

#include "core/exchange.h"
#include "test.h"

#define MS INT64_C(1000000)
#define RATE 1e9 /* a byte a nanosecond */

static struct mfs_owner owner;
static int64_t now_ns = 1000 * MS;

static struct mfs_owner_member member(uint32_t who, unsigned level, int64_t key_ms, uint64_t bytes)
{
    return (struct mfs_owner_member){.who = who,
                                     .rank = mfs_rank_make(level, key_ms * MS),
                                     .inflight_bytes = bytes,
                                     .at_ns = now_ns};
}

/* A millisecond later, with what is known of it for the first time. */
static mfs_rank_t judge(struct mfs_owner_member *members, uint32_t count, double rate_Bps)
{
    now_ns += MS;
    for (uint32_t i = 0; i < count; i++)
        members[i].at_ns = now_ns;
    return mfs_owner_judge(&owner, members, count, rate_Bps, 0, MS / 2, now_ns);
}

static void judge__one_alone_has_no_limit(void)
{
    struct mfs_owner_member one = member(1, 2, 5000, 1 << 30);
    struct mfs_owner_member idle[] = {one, {.who = 2, .rank = MFS_RANK_NONE}};

    mfs_owner_init(&owner);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(judge(&one, 1, RATE), MFS_RANK_NONE);
        CHECK_EQ(judge(idle, 2, RATE), MFS_RANK_NONE);
    }
    CHECK_EQ(mfs_owner_judge(&owner, NULL, 0, RATE, 0, MS, now_ns), MFS_RANK_NONE);
}

static void judge__a_full_port_is_for_the_best(void)
{
    struct mfs_owner_member members[3];
    mfs_rank_t limit = 0;

    mfs_owner_init(&owner);
    for (int i = 0; i < 10; i++) {
        members[0] = member(1, 2, 5000, 4 << 20);
        members[1] = member(0, 2, 4000, 4 << 20);
        members[2] = member(2, 2, 6000, 4 << 20);
        limit = judge(members, 3, RATE);
    }
    CHECK_EQ(owner.allowed, 1);
    CHECK_EQ(limit, mfs_rank_make(2, 4000 * MS));
    for (int i = 0; i < 10; i++) { /* it runs dry */
        for (int k = 0; k < 3; k++)
            members[k] = member((uint32_t)k, 2, 4000 + k, 0);
        limit = judge(members, 3, RATE);
    }
    CHECK_EQ(limit, MFS_RANK_NONE);
}

static void judge__without_a_rate_nobody_waits(void)
{
    struct mfs_owner_member members[] = {member(1, 2, 5000, 1 << 30), member(2, 0, 4000, 1 << 30)};

    mfs_owner_init(&owner);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(judge(members, 2, 0), MFS_RANK_NONE);
}

static void judge__bytes_in_flight_are_believed_for_8_ms(void)
{
    struct mfs_owner_member members[] = {member(1, 2, 5000, UINT64_C(1) << 50),
                                         member(2, 2, 4000, 100)};

    mfs_owner_init(&owner);
    judge(members, 2, RATE);
    CHECK_EQ(members[0].inflight_bytes, 8 * MS);
    CHECK_EQ(members[1].inflight_bytes, 100);
}

static void judge__more_urgent_ones_cut_those_that_go(void)
{
    struct mfs_owner_member members[4];

    mfs_owner_init(&owner);
    for (uint32_t i = 0; i < 4; i++)
        members[i] = member(i, 2, 4000 + i, 0);
    for (int i = 0; i < 6; i++)
        judge(members, 4, RATE);
    CHECK_EQ(owner.allowed, 4);
    members[2] = member(2, 0, 4000, 4 << 20);
    CHECK_EQ(judge(members, 4, RATE), mfs_rank_make(0, 4000 * MS));
}

static void rate__is_the_most_that_came_in_while_several_wanted(void)
{
    struct mfs_owner_member members[2];

    mfs_owner_init(&owner);
    for (int i = 0; i < 200; i++) {
        members[0] = member(1, 2, 5000, 1000);
        members[1] = member(2, 2, 5000, 1000);
        members[0].done_bytes = (uint64_t)i * 100000;
        members[1].done_bytes = (uint64_t)i * 25000;
        judge(members, 2, 0);
    }
    CHECK(mfs_owner_rate_Bps(&owner) > 124e6 && mfs_owner_rate_Bps(&owner) < 126e6);
    /* counters that begin anew are no bytes */
    members[0].done_bytes = members[1].done_bytes = 0;
    for (int i = 0; i < 100; i++)
        judge(members, 2, 0);
    CHECK(mfs_owner_rate_Bps(&owner) < 126e6);
}

/* A host that has completed 10 GB comes, goes for a while, and is there again. */
static void rate__is_not_of_what_was_completed_before(void)
{
    struct mfs_owner_member members[3];

    mfs_owner_init(&owner);
    for (uint64_t i = 0; i < 400; i++) {
        const bool there = i % 50 >= 7;

        members[0] = member(1, 2, 5000, 1000);
        members[1] = member(0, 2, 5000, 1000);
        members[2] = member(2, 2, 5000, 1000);
        members[0].done_bytes = i * 100000;
        members[1].done_bytes = i * 25000;
        members[2].done_bytes = UINT64_C(10000000000);
        judge(members, there ? 3 : 2, 0);
    }
    CHECK(mfs_owner_rate_Bps(&owner) > 124e6 && mfs_owner_rate_Bps(&owner) < 126e6);
    CHECK_EQ(owner.moved_bytes, 399 * 125000);
    CHECK_EQ(owner.others_bytes, 399 * 100000);
    /* the number is another host's now */
    mfs_owner_forget(&owner, 1);
    members[0].done_bytes = UINT64_C(20000000000);
    judge(members, 2, 0);
    CHECK_EQ(owner.others_bytes, 399 * 100000);
}

static void rate__of_one_alone_is_not_learned(void)
{
    struct mfs_owner_member one = member(1, 2, 5000, 1000);

    mfs_owner_init(&owner);
    for (int i = 0; i < 200; i++) {
        one.done_bytes += 1 << 20;
        judge(&one, 1, 0);
    }
    CHECK_EQ(mfs_owner_rate_Bps(&owner), 0);
}

/* How often of `steps` milliseconds a host that always says "urgent" is in front of two others. */
static unsigned in_front(unsigned steps)
{
    unsigned found = 0;

    for (unsigned i = 0; i < steps; i++) {
        struct mfs_owner_member members[] = {member(1, 2, 5000, 0), member(2, 0, 1, 4 << 20),
                                             member(3, 2, 6000, 0)};

        judge(members, 3, RATE);
        found += members[1].rank < members[0].rank;
    }
    return found;
}

static void liar__has_its_share_and_what_was_in_advance(void)
{
    unsigned found;

    mfs_owner_init(&owner);
    found = in_front(30000);
    /* a third of the time, and 4/3 s in advance, which it earns by two thirds */
    CHECK(found > 30000 / 3 && found < 30000 / 3 + 4000 / 3 + 100);
    CHECK(owner.spent_times > 0);
    found = in_front(30000); /* nothing is left of that */
    CHECK(found > 9000 && found < 30000 / 3 + 100);
}

/* It says that nothing waits, but that something urgent is on its way, always. */
static void liar__by_what_has_gone(void)
{
    unsigned found = 0;

    mfs_owner_init(&owner);
    for (unsigned i = 0; i < 30000; i++) {
        struct mfs_owner_member members[] = {member(1, 2, 5000, 0), member(2, 0, 1, 4 << 20),
                                             member(3, 2, 6000, 0)};

        members[1].rank = MFS_RANK_NONE;
        members[1].under_way = 1;
        judge(members, 3, RATE);
        CHECK_EQ(members[1].rank, MFS_RANK_NONE);
        found += members[1].under_way == 1;
        CHECK(members[1].under_way > 0);
    }
    CHECK(found > 30000 / 3 && found < 30000 / 3 + 4000 / 3 + 100);
}

static void liar__this_host_is_none(void)
{
    mfs_owner_init(&owner);
    for (unsigned i = 0; i < 20000; i++) {
        struct mfs_owner_member members[] = {member(1, 2, 5000, 0), member(0, 0, 1, 4 << 20)};

        judge(members, 2, RATE);
        CHECK_EQ(members[1].rank, mfs_rank_make(0, MS));
    }
}

static void forget__whoever_comes_there_has_credit(void)
{
    mfs_owner_init(&owner);
    in_front(20000);
    CHECK(in_front(100) < 100);
    mfs_owner_forget(&owner, 2);
    mfs_owner_forget(&owner, MFS_OWNER_MEMBERS_MAX);
    CHECK_EQ(in_front(100), 100);
}

static void judge__absurd_members_do_no_harm(void)
{
    static struct mfs_owner_member members[MFS_OWNER_MEMBERS_MAX];
    uint64_t seed = 7;

    mfs_owner_init(&owner);
    for (int round = 0; round < 200; round++) {
        const uint32_t count = (uint32_t)(test_random(&seed) % (MFS_OWNER_MEMBERS_MAX + 1));

        for (uint32_t i = 0; i < count; i++) {
            members[i] = member(i, test_random(&seed) % 33, (int64_t)(test_random(&seed) >> 40),
                                test_random(&seed));
            members[i].done_bytes = test_random(&seed);
            members[i].base_ns = (int64_t)(test_random(&seed) >> 30);
        }
        judge(members, count, round % 3 ? RATE : 0);
        CHECK(owner.allowed >= 1);
    }
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(judge__one_alone_has_no_limit),
        TEST(judge__a_full_port_is_for_the_best),
        TEST(judge__without_a_rate_nobody_waits),
        TEST(judge__bytes_in_flight_are_believed_for_8_ms),
        TEST(judge__more_urgent_ones_cut_those_that_go),
        TEST(judge__absurd_members_do_no_harm),
        TEST(rate__is_the_most_that_came_in_while_several_wanted),
        TEST(rate__is_not_of_what_was_completed_before),
        TEST(rate__of_one_alone_is_not_learned),
        TEST(liar__has_its_share_and_what_was_in_advance),
        TEST(liar__by_what_has_gone),
        TEST(liar__this_host_is_none),
        TEST(forget__whoever_comes_there_has_credit),
    };

    return test_main(tests, COUNT(tests), argc, argv);
}
