/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a port share by weight what has no deadline, and nothing else. */
#include "host/sender.h"

#include <sched.h>

#include "host.h"
#include "host/config.h"
#include "host/attach.h"
#include "rival.h"

#define MB (UINT64_C(1) << 20)
#define KB64 UINT64_C(65536)
#define MUCH (UINT64_C(1) << 40)

static struct mfs_host *host;
static struct rival one, two;
static int64_t start_ns;

static const struct mfs_policy weighing = {.name = "rival",
                                           .defers = true,
                                           .shares_from = MFS_LEVELS_MAX,
                                           .weighs = true,
                                           .place = rival_place};

static mfs_rank_t undated(int64_t key)
{
    return mfs_rank_make(7, key);
}

static void join(struct rival *rival, const struct mfs_policy *policy)
{
    struct mfs_params params;

    mfs_params_init(&params);
    rival_join(rival, host, "nic");
    CHECK_EQ(mfs_sender_set_policy(rival->sender, policy, &params, 0), 0);
}

/* one and two, of two members if `apart`. */
static bool set_up(const struct mfs_policy *policy, bool apart)
{
    setenv("MFS_WINDOW", "1g", 1);
    setenv("MFS_UNTAGGED_SHARE", "0", 0);
    host = host_private();
    join(&one, policy);
    if (apart && unshare(CLONE_NEWIPC) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWIPC) != 0) {
        printf("no namespaces here\n");
        return false;
    }
    join(&two, policy);
    start_ns = mfs_now_ns();
    return true;
}

static void tear_down(void)
{
    rival_leave(&one);
    rival_leave(&two);
    mfs_host_close(host);
}

/* Each asks in turn; how much each has sent. */
static void run(uint64_t bytes, uint64_t *first, uint64_t *second)
{
    *first = *second = 0;
    while (*first + *second < bytes) {
        const uint64_t before = *first + *second;

        if (rival_next(&one, KB64, start_ns) == 0) {
            *first += one.chunk.length;
            rival_done(&one, one.chunk.length, start_ns);
        }
        if (rival_next(&two, KB64, start_ns) == 0) {
            *second += two.chunk.length;
            rival_done(&two, two.chunk.length, start_ns);
        }
        CHECK(*first + *second > before); /* somebody always may */
    }
}

static bool about(uint64_t bytes, uint64_t expected)
{
    return bytes + 3 * MB >= expected && bytes <= expected + 3 * MB;
}

static void members__share_by_weight(void)
{
    static const uint32_t weights[][2] = {{100, 100}, {100, 300}, {500, 100}};
    uint64_t first, second;

    if (!set_up(&weighing, true))
        return;
    rival_waits(&one, undated(5), MUCH,
                start_ns); /* it came first, and is not done before the end */
    rival_waits(&two, undated(9), MUCH, start_ns);
    for (size_t i = 0; i < COUNT(weights); i++) {
        const uint64_t all = weights[i][0] + weights[i][1];

        one.sender->weigher.weight = weights[i][0];
        two.sender->weigher.weight = weights[i][1];
        run(240 * MB, &first, &second);
        CHECK(about(first, 240 * MB * weights[i][0] / all));
        CHECK(about(second, 240 * MB * weights[i][1] / all));
    }
    rival_rest(&one, start_ns); /* what nobody else wants is the other's */
    run(50 * MB, &first, &second);
    CHECK_EQ(first, 0);
    tear_down();
}

/* Also where it has no request: it has the same level. */
static void members__share_untagged_traffic(void)
{
    uint64_t first, second;

    if (!set_up(&weighing, true))
        return;
    rival_waits_of(&one, MFS_UNTAGGED, undated(5), MUCH, start_ns);
    rival_waits_of(&two, MFS_UNTAGGED, undated(9), MUCH, start_ns);
    run(200 * MB, &first, &second);
    CHECK(about(first, 100 * MB) && about(second, 100 * MB));
    tear_down();
}

/* And so is the share that it keeps beside what is urgent. */
static void members__share_what_untagged_traffic_keeps(void)
{
    uint64_t first = 0, second = 0, urgent = 0;
    struct rival three;

    setenv("MFS_UNTAGGED_SHARE", "500", 1);
    if (!set_up(&weighing, true))
        return;
    join(&three, &weighing);
    rival_waits(&three, mfs_rank_make(0, 5), MUCH, start_ns);
    rival_waits_of(&one, MFS_UNTAGGED, undated(5), MUCH, start_ns);
    rival_waits_of(&two, MFS_UNTAGGED, undated(9), MUCH, start_ns);
    while (first + second + urgent < 400 * MB) {
        struct rival *const all[] = {&three, &one, &two};
        uint64_t *const sent[] = {&urgent, &first, &second};

        for (size_t i = 0; i < COUNT(all); i++) {
            if (rival_next(all[i], KB64, start_ns) != 0)
                continue;
            *sent[i] += all[i]->chunk.length;
            rival_done(all[i], all[i]->chunk.length, start_ns);
        }
    }
    CHECK(about(urgent, 200 * MB) && about(first, 100 * MB) && about(second, 100 * MB));
    rival_leave(&three);
    tear_down();
}

static void members__what_is_urgent_goes_first(void)
{
    uint64_t first, second;

    if (!set_up(&weighing, true))
        return;
    two.sender->weigher.weight = MFS_WEIGHT_MAX;
    rival_waits(&one, mfs_rank_make(2, 9), MUCH, start_ns);
    rival_waits(&two, mfs_rank_make(2, 10), MUCH, start_ns); /* deadlines: no weights */
    run(20 * MB, &first, &second);
    CHECK_EQ(second, 0);
    rival_waits(&two, undated(1), MUCH, start_ns);
    run(20 * MB, &first, &second);
    CHECK_EQ(second, 0);
    tear_down();
}

/* One pod's processes are in order of arrival, and so are all under a policy that does not weigh.
 */
static void one_member__in_order_of_arrival(void)
{
    uint64_t first, second;

    CHECK(set_up(&weighing, false));
    two.sender->weigher.weight = MFS_WEIGHT_MAX;
    rival_waits(&one, undated(5), MUCH, start_ns);
    rival_waits(&two, undated(9), MUCH, start_ns);
    run(20 * MB, &first, &second);
    CHECK_EQ(second, 0);
    tear_down();
}

static void policy__that_does_not_weigh(void)
{
    uint64_t first, second;

    if (!set_up(&rival_policy, true))
        return;
    rival_waits(&one, undated(5), MUCH, start_ns);
    rival_waits(&two, undated(9), MUCH, start_ns);
    run(20 * MB, &first, &second);
    CHECK_EQ(second, 0);
    tear_down();
}

/* Rubbish in the words that say who is who: some order, and never none. */
static void rubbish__somebody_always_goes(void)
{
    uint64_t random = 1, first, second;
    struct mfs_port_cell *port;

    if (!set_up(&weighing, true))
        return;
    port = &host->segment->ports[0];
    rival_waits(&one, undated(5), MUCH, start_ns);
    rival_waits(&two, undated(9), MUCH, start_ns);
    for (int i = 0; i < 2000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        port->member_of[random >> 60 & 3] = (uint8_t)(random >> 20);
        port->members[random >> 58 & 3].mark = random >> (i % 64);
        port->weigh_clock = random << (i % 64);
        run(4 * KB64, &first, &second);
    }
    tear_down();
}

/* One bit of a mark, which then says that the member has had 256 MiB: it goes on by itself. */
static void rubbish__in_a_mark_costs_some_chunks(void)
{
    uint64_t first, second;

    if (!set_up(&weighing, true))
        return;
    rival_waits(&one, undated(5), MUCH, start_ns);
    rival_waits(&two, undated(9), MUCH, start_ns);
    run(20 * MB, &first, &second);
    *one.sender->weigher.mark ^= UINT64_C(1) << 28;
    run(40 * MB, &first, &second);
    CHECK(about(first, 20 * MB) && about(second, 20 * MB));
    tear_down();
}

/* All over a sender's place: it says at its next look who it is. */
static void rubbish__over_a_place_is_put_right_at_a_look(void)
{
    struct mfs_port_cell *port;
    uint64_t first, second;
    uint8_t members[2];

    if (!set_up(&weighing, true))
        return;
    port = &host->segment->ports[0];
    rival_waits(&one, undated(5), MUCH, start_ns);
    rival_waits(&two, undated(9), MUCH, start_ns);
    run(20 * MB, &first, &second);
    for (int i = 0; i < 2; i++) {
        members[i] = port->member_of[i];
        port->member_of[i] = 77;
        port->senders[i].owner = 123456;
    }
    (void)rival_next(&one, KB64, start_ns); /* for that look neither may go */
    (void)rival_next(&two, KB64, start_ns);
    for (int i = 0; i < 2; i++)
        CHECK_EQ_AT(port->member_of[i], members[i], i);
    tear_down();
}

static uint64_t take_all(struct rival *rival, int64_t now_ns)
{
    uint64_t taken = 0;

    while (taken < 20 * MB && rival_next(rival, KB64, now_ns) == 0) {
        taken += rival->chunk.length;
        rival_done(rival, rival->chunk.length, now_ns);
    }
    return taken;
}

/* It is waited for as long as it may only be late, and its share is the others' by their weights.
 * When it goes on, it has saved nothing up. */
static void stopped__costs_the_others_a_lease(void)
{
    uint64_t first, second, third = 0, taken;
    struct rival three;

    setenv("MFS_LEASE", "20ms", 1);
    if (!set_up(&weighing, true) || unshare(CLONE_NEWIPC) != 0)
        return;
    join(&three, &weighing);
    two.sender->weigher.weight = 300;
    three.sender->weigher.weight = 200;
    rival_waits(&one, undated(5), MUCH, start_ns);
    rival_waits(&two, undated(9), MUCH, start_ns);
    rival_waits(&three, undated(7), MUCH, start_ns);
    /* now it does not look any more: the others stop where it is its turn, soon */
    for (first = 0; (taken = take_all(&one, start_ns) + take_all(&two, start_ns)) > 0;)
        CHECK((first += taken) < 20 * MB);
    start_ns += mfs_config_get()->lease;
    CHECK_EQ(take_all(&one, start_ns) + take_all(&two, start_ns), 0);
    start_ns += 1;
    run(120 * MB, &first, &second);
    CHECK(about(first, 30 * MB) && about(second, 90 * MB));
    for (first = second = 0; first + second + third < 120 * MB;) {
        first += take_all(&one, start_ns);
        second += take_all(&two, start_ns);
        third += take_all(&three, start_ns);
    }
    CHECK(about(first, 20 * MB) && about(second, 60 * MB) && about(third, 40 * MB));
    rival_leave(&three);
    tear_down();
}

static const struct test tests[] = {
    TEST(members__share_by_weight),
    TEST(members__share_untagged_traffic),
    TEST(members__share_what_untagged_traffic_keeps),
    TEST(members__what_is_urgent_goes_first),
    TEST(one_member__in_order_of_arrival),
    TEST(policy__that_does_not_weigh),
    TEST(rubbish__somebody_always_goes),
    TEST(rubbish__in_a_mark_costs_some_chunks),
    TEST(rubbish__over_a_place_is_put_right_at_a_look),
    TEST(stopped__costs_the_others_a_lease),
};

TEST_MAIN(tests)
