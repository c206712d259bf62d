/* SPDX-License-Identifier: Apache-2.0 */
/* A sender that tells an agent what it wants of far ports, and keeps to the limits that it is told.
 */
#include "host/claims.h"

#include "core/exchange.h"
#include "core/rmlq_inside.h"

#include "host.h"

#define MS INT64_C(1000000)
#define LEASE (20 * MS)
#define PEER 42u
#define URGENT mfs_rank_make(0, 5)
#define LATER mfs_rank_make(2, 5)

/* A sender on a port with a window of 100,000 bytes; PEER's port is known to the agent. */
static struct mfs_host *host;
static struct rival one;
static struct mfs_destination other; /* whose port nobody knows */
static uint32_t port;
static int64_t now_ns;

static void set_up(void)
{
    setenv("MFS_WINDOW", "100000", 0);
    setenv("MFS_LEASE", "20ms", 0);
    host = host_private();
    rival_join(&one, host, "nic");
    CHECK_EQ(mfs_sender_open(one.sender, &other, NULL), 0);
    one.to.end.peer = PEER;
    CHECK_EQ(mfs_far_attend(host, 10000 * MS), 0);
    CHECK_EQ(mfs_far_port(host, 1, "b/eth0 in", &port), 0);
    CHECK_EQ(mfs_far_worker(host, PEER, port, MFS_FAR_NONE), 0);
    now_ns = mfs_now_ns();
}

static void tear_down(void)
{
    mfs_sender_close(one.sender, &other);
    rival_leave(&one);
    for (uint32_t i = 0; i < MFS_CLAIMS_MAX; i++)
        CHECK_EQ_AT(mfs_get(&host->segment->far.claims[i].owner), 0, i);
    for (uint32_t i = 0; i < MFS_CLAIMED_WORDS; i++)
        CHECK_EQ_AT(mfs_get(&host->segment->far.claimed[i]), 0, i);
    mfs_host_close(host);
}

/* The next chunk, so much later. */
static int next_in(int64_t span_ns)
{
    now_ns += span_ns;
    return rival_next(&one, UINT64_MAX, now_ns);
}

/* As an agent does it: from now on, for so long. */
static void limit_to(uint32_t level, int64_t for_ns)
{
    struct mfs_far_port_cell *cell = &host->segment->far.ports[port];

    mfs_set(&cell->limit, mfs_exchange_rank(level, 0, now_ns));
    mfs_publish(&cell->until_ns, now_ns + for_ns);
}

/* --- claims --- */

static void tell__what_waits_and_is_in_flight(void)
{
    struct mfs_claim claims[2];

    set_up();
    CHECK_EQ(rival_take(&one, URGENT, 60000, now_ns), 0);
    rival_waits(&one, LATER, 50000, now_ns);
    CHECK_EQ(next_in(MS), -ENOBUFS);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    CHECK_EQ(claims[0].far, port);
    CHECK_EQ(claims[0].level, 2);
    CHECK_EQ(claims[0].span_ns, 5 - now_ns);
    CHECK_EQ(claims[0].waiting_bytes, 50000);
    CHECK_EQ(claims[0].inflight_bytes, 60000);
    rival_done(&one, 60000, now_ns);
    rival_rest(&one, now_ns);
    CHECK_EQ(next_in(MS), -EAGAIN);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    CHECK_EQ(claims[0].level, MFS_FAR_NO_LEVEL);
    CHECK_EQ(claims[0].inflight_bytes, 0);
    CHECK_EQ(claims[0].done_bytes, 60000);
    /* one that does not look any more has no claim */
    CHECK_EQ(mfs_far_claims(host, now_ns + LEASE + 1, claims, COUNT(claims)), 0);
    tear_down();
}

/* It told that something waits, and sent it a moment later: nobody waits for it until it tells
 * again. */
static void tell__what_has_been_sent_since(void)
{
    struct mfs_claim claims[2];

    set_up();
    rival_waits(&one, LATER, 90000, now_ns);
    CHECK_EQ(rival_next(&one, 40000, now_ns), 0);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    CHECK_EQ(claims[0].level, 2);
    CHECK_EQ(rival_next(&one, 50000, now_ns), 0); /* 128 bytes are left: chunks are cut evenly */
    CHECK_EQ(rival_next(&one, 50000, now_ns), 0);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    CHECK_EQ(claims[0].level, MFS_FAR_NO_LEVEL);
    CHECK_EQ(claims[0].waiting_bytes, 0);
    CHECK_EQ(claims[0].inflight_bytes, 90000);
    CHECK_EQ(claims[0].under_way, 3); /* level 2 */
    rival_done(&one, 90000, now_ns);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    CHECK_EQ(claims[0].inflight_bytes, 0);
    CHECK_EQ(claims[0].under_way, 0);
    tear_down();
}

/* Which rows are read is said by words that anybody may have written over. */
static void tell__rows_that_rubbish_has_hidden_come_back(void)
{
    struct mfs_far_tables *far;
    struct mfs_claim claims[2];

    set_up();
    far = &host->segment->far;
    CHECK_EQ(rival_take(&one, URGENT, 60000, now_ns), 0);
    rival_waits(&one, LATER, 50000, now_ns);
    CHECK_EQ(next_in(MS), -ENOBUFS);
    for (uint32_t i = 0; i < MFS_CLAIMED_WORDS; i++)
        mfs_set(&far->claimed[i], 0);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 0);
    CHECK_EQ(next_in(MS), -ENOBUFS);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    for (uint32_t i = 0; i < MFS_CLAIMED_WORDS; i++)
        mfs_set(&far->claimed[i], UINT64_MAX);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    CHECK_EQ(claims[0].waiting_bytes, 50000);
    CHECK_EQ(claims[0].inflight_bytes, 60000);
    for (uint32_t i = 0; i < MFS_CLAIMED_WORDS; i++)
        mfs_set(&far->claimed[i], 0);
    CHECK_EQ(next_in(MS), -ENOBUFS);
    rival_rest(&one, now_ns);
    tear_down();
}

static void tell__nothing_without_an_agent(void)
{
    struct mfs_claim claims[2];

    set_up();
    mfs_far_depart(host);
    rival_waits(&one, LATER, 150000, now_ns);
    CHECK_EQ(next_in(MS), 0);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 0);
    tear_down();
}

/* It looks each millisecond, for so many. */
static void looks(struct rival *rival, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        now_ns += MS;
        CHECK(rival_next(rival, 50000, now_ns) != 0);
    }
}

/* A sender's row ends when it has had nothing to say for a lease, and comes back with the next
 * bytes: what it has sent before has not left again. Of the far port, and of the own one. */
static void tell__what_has_left_never_leaves_again(void)
{
    struct mfs_claim claims[2], own_claim;
    struct mfs_port *own;
    struct rival two;

    set_up();
    rival_join(&two, host, "nic");
    two.to.end.peer = PEER;
    CHECK_EQ(mfs_port_open(host, "nic", MFS_EGRESS, &own), 0);
    CHECK_EQ(rival_take(&one, URGENT, 60000, now_ns), 0);
    rival_waits(&one, LATER, 50000, now_ns);
    CHECK_EQ(next_in(MS), -ENOBUFS);
    rival_done(&one, 60000, now_ns);
    rival_rest(&one, now_ns);
    CHECK_EQ(next_in(MS), -EAGAIN);
    now_ns += 2 * LEASE;
    for (int round = 0; round < 3; round++) { /* one is silent, back, and silent again */
        rival_waits(&two, LATER, 5000, now_ns);
        if (round == 1)
            rival_waits(&one, LATER, 5000, now_ns);
        now_ns += MS;
        mfs_sender_watch(two.sender, now_ns);
        if (round == 1)
            mfs_sender_watch(one.sender, now_ns);
        CHECK_EQ_AT(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1, round);
        CHECK_EQ_AT(claims[0].waiting_bytes, round == 1 ? 10000 : 5000, round);
        CHECK_EQ_AT(claims[0].done_bytes, 60000, round);
        CHECK(mfs_port_claim(own, NULL, now_ns, &own_claim));
        CHECK_EQ_AT(own_claim.done_bytes, 60000, round);
        rival_rest(&one, now_ns);
        now_ns += 2 * LEASE;
    }
    mfs_port_close(own);
    rival_leave(&two);
    tear_down();
}

static void tell__own_senders_of_a_port(void)
{
    const char *path = segment_path();
    struct mfs_host *agent, *theirs;
    struct mfs_claim claims[4];
    struct mfs_port *own;
    struct rival two;

    setenv("MFS_WINDOW", "100000", 1);
    setenv("MFS_LEASE", "20ms", 1);
    agent = host_open(path);
    theirs = host_open(path);
    rival_join(&two, theirs, "nic");
    now_ns = mfs_now_ns();
    CHECK_EQ(mfs_port_open(agent, "nic", MFS_EGRESS, &own), 0);
    CHECK_EQ(mfs_far_attend(agent, 5000 * MS), 0);
    CHECK_EQ(rival_take(&two, URGENT, 80000, now_ns), 0);
    rival_waits(&two, LATER, 50000, now_ns);
    now_ns += MS;
    CHECK(rival_next(&two, 50000, now_ns) == -ENOBUFS);
    CHECK(mfs_port_claim(own, NULL, now_ns, &claims[0]));
    CHECK_EQ(claims[0].far, MFS_FAR_NONE);
    CHECK_EQ(claims[0].level, 2);
    CHECK_EQ(claims[0].waiting_bytes, 50000);
    CHECK_EQ(claims[0].inflight_bytes, 80000);
    looks(&two, 12); /* its destination is slow then, and the claim stands */
    CHECK_EQ(two.to.state, MFS_DESTINATION_SLOW);
    CHECK(mfs_port_claim(own, NULL, now_ns, &claims[0]));
    CHECK_EQ(claims[0].level, 2);
    looks(&two, 30); /* it takes no bytes at all */
    CHECK_EQ(two.to.state, MFS_DESTINATION_STALLED);
    CHECK(mfs_port_claim(own, NULL, now_ns, &claims[0]));
    CHECK_EQ(claims[0].level, MFS_FAR_NO_LEVEL);
    mfs_port_close(own);
    rival_leave(&two);
    mfs_host_close(theirs);
    mfs_host_close(agent);
}

/* --- limits --- */

static void limit__holds_back_what_is_worse(void)
{
    struct mfs_claim claims[2];

    set_up();
    limit_to(1, 3 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 1);
    CHECK_EQ(claims[0].level, 2); /* it is wanted all the same */
    CHECK_EQ(claims[0].waiting_bytes, 4000);
    CHECK_EQ(one.sender->told.rank, MFS_RANK_NONE); /* nobody of the host yields to it */
    CHECK(mfs_sender_restless(one.sender));
    rival_waits(&one, URGENT, 4000, now_ns);
    CHECK_EQ(next_in(MS), 0);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    CHECK_EQ(next_in(3 * MS), 0); /* it is over */
    tear_down();
}

/* The port is there for whoever may go: here another destination. */
static void limit__is_another_destinations_chance(void)
{
    const struct mfs_tag tag = rival_tag(mfs_rank_make(3, 1), MFS_TAGGED);
    struct mfs_op op = {.length = 3000};

    set_up();
    limit_to(1, 5 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(mfs_sender_push(one.sender, &op, &other, &tag, now_ns), 0);
    CHECK_EQ(next_in(0), 0);
    CHECK(one.chunk.op == &op);
    CHECK_EQ(next_in(0), -EAGAIN);
    tear_down();
}

static void limit__ends_with_the_agent(void)
{
    set_up();
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    mfs_far_depart(host);
    CHECK_EQ(next_in(MS), 0);
    CHECK_EQ(one.sender->queue->voqs_limited, 0);
    tear_down();
}

static void limit__ends_when_the_port_is_forgotten(void)
{
    set_up();
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    mfs_far_forget(host, port);
    CHECK_EQ(next_in(MS), 0);
    tear_down();
}

/* Told anew each millisecond, it holds nothing for longer than ten leases. */
static void limit__holds_nothing_for_ever(void)
{
    int64_t since_ns;

    set_up();
    since_ns = now_ns;
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    while (next_in(MS) == -EAGAIN) {
        CHECK(now_ns - since_ns < 11 * LEASE);
        limit_to(1, 20 * MS);
    }
    CHECK(now_ns - since_ns >= 10 * LEASE);
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(MS), -EAGAIN); /* and then again */
    tear_down();
}

/* What a host has held for as long as it may goes, whatever another says. */
static void limit__not_of_what_is_in_front_of_all(void)
{
    set_up();
    mfs_far_limit(host, port, 0, INT64_MIN, LEASE);
    now_ns = mfs_now_ns();
    rival_waits(&one, mfs_rank_make(0, 2), 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    rival_waits(&one, 0, 4000, now_ns);
    CHECK_EQ(next_in(0), 0);
    tear_down();
}

static void limit__is_named_as_what_is_waited_for(void)
{
    struct mfs_wait waits[2];

    set_up();
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    CHECK_EQ(mfs_sender_waits(one.sender, NULL, waits, COUNT(waits)), 1);
    CHECK_EQ(waits[0].why, MFS_WAIT_LIMIT);
    mfs_far_depart(host);
    rival_waits(&one, LATER, 200000, now_ns);
    now_ns += MS;
    CHECK_EQ(rival_next(&one, 50000, now_ns), 0);
    CHECK_EQ(mfs_sender_waits(one.sender, NULL, waits, COUNT(waits)), 1);
    CHECK(waits[0].why != MFS_WAIT_LIMIT);
    tear_down();
}

static void limit__leaves_untagged_traffic_its_share(void)
{
    const struct mfs_tag tag = rival_tag(URGENT, MFS_TAGGED);
    struct mfs_op tagged = {.length = 4000000};
    uint64_t sent = 0, untagged = 0;

    setenv("MFS_UNTAGGED_SHARE", "100", 1);
    set_up();
    limit_to(1, 20 * MS);
    rival_waits_of(&one, MFS_UNTAGGED, LATER, 4000000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    CHECK_EQ(mfs_sender_push(one.sender, &tagged, &other, &tag, now_ns), 0);
    for (int i = 0; i < 200; i++) {
        struct mfs_destination *to;

        limit_to(1, 20 * MS);
        now_ns += MS / 10;
        CHECK_EQ_AT(rival_next(&one, 10000, now_ns), 0, i);
        to = one.chunk.op == &tagged ? &other : &one.to;
        sent += one.chunk.length;
        untagged += to == &one.to ? one.chunk.length : 0;
        mfs_sender_done(one.sender, to, one.chunk.length, now_ns);
    }
    CHECK(untagged * 10 <= sent + 200000);
    CHECK(untagged * 10 + 200000 >= sent);
    CHECK_EQ(mfs_sender_remove(one.sender, &tagged, now_ns), 0);
    CHECK_EQ(next_in(0), -EAGAIN); /* the port is idle, and the limit holds */
    tear_down();
}

static void limit__also_of_what_would_go_at_once(void)
{
    set_up();
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    rival_rest(&one, now_ns);
    CHECK_EQ(mfs_sender_express(one.sender, &one.to, 100, 0), -EBUSY);
    CHECK_EQ(mfs_sender_express(one.sender, &other, 100, 0), 0);
    mfs_far_depart(host);
    now_ns = mfs_now_ns(); /* as the last look was */
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(MS), 0);
    CHECK_EQ(mfs_sender_express(one.sender, &one.to, 100, 0), 0);
    tear_down();
}

static void limit__is_none_where_keys_are_sizes(void)
{
    struct mfs_policy sizes = rival_policy;
    struct mfs_params params;
    struct mfs_claim claims[2];

    sizes.sizes = true;
    set_up();
    mfs_params_init(&params);
    CHECK_EQ(mfs_sender_set_policy(one.sender, &sizes, &params, now_ns), 0);
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), 0);
    CHECK_EQ(mfs_far_claims(host, now_ns, claims, COUNT(claims)), 0);
    tear_down();
}

static void limit__of_a_destination_that_is_closed(void)
{
    struct mfs_destination more;

    set_up();
    CHECK_EQ(mfs_sender_open(one.sender, &more, NULL), 0);
    more.end.peer = PEER;
    limit_to(1, 20 * MS);
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(0), -EAGAIN);
    CHECK_EQ(one.sender->queue->voqs_limited, 2);
    mfs_sender_close(one.sender, &more);
    CHECK_EQ(one.sender->queue->voqs_limited, 1);
    tear_down();
}

/* By how many it sends, so much later. */
static uint32_t sharers_in(int64_t span_ns)
{
    rival_waits(&one, LATER, 4000, now_ns);
    CHECK_EQ(next_in(span_ns), 0);
    rival_done(&one, 4000, now_ns);
    return one.sender->window.sharers;
}

/* By the port that the fewest share, of those that something is for; as long as it is told. */
static void share__as_large_a_window_as_one_of_the_ports_needs(void)
{
    const struct mfs_tag tag = rival_tag(mfs_rank_make(3, 1), MFS_TAGGED);
    struct mfs_op op = {.length = 3000};

    set_up();
    mfs_far_share(host, port, 3, MFS_FAR_SHARED_MAX_NS);
    CHECK_EQ(sharers_in(0), 3);
    CHECK_EQ(mfs_sender_push(one.sender, &op, &other, &tag, now_ns), 0); /* nobody shares that */
    CHECK_EQ(sharers_in(MS), 0);
    CHECK_EQ(mfs_sender_remove(one.sender, &op, now_ns), 0);
    CHECK_EQ(sharers_in(MS), 3);
    CHECK_EQ(sharers_in(MFS_FAR_SHARED_MAX_NS), 0); /* its owner is silent */
    tear_down();
}

static void share__ends_with_the_agent(void)
{
    set_up();
    mfs_far_share(host, port, 3, MFS_FAR_SHARED_MAX_NS);
    CHECK_EQ(sharers_in(0), 3);
    mfs_far_depart(host);
    CHECK_EQ(sharers_in(MS), 0);
    tear_down();
}

static const struct test tests[] = {
    TEST(tell__what_waits_and_is_in_flight),
    TEST(tell__what_has_been_sent_since),
    TEST(tell__rows_that_rubbish_has_hidden_come_back),
    TEST(tell__nothing_without_an_agent),
    TEST(tell__what_has_left_never_leaves_again),
    TEST(tell__own_senders_of_a_port),
    TEST(limit__holds_back_what_is_worse),
    TEST(limit__is_another_destinations_chance),
    TEST(limit__ends_with_the_agent),
    TEST(limit__ends_when_the_port_is_forgotten),
    TEST(limit__holds_nothing_for_ever),
    TEST(limit__not_of_what_is_in_front_of_all),
    TEST(limit__is_named_as_what_is_waited_for),
    TEST(limit__leaves_untagged_traffic_its_share),
    TEST(limit__also_of_what_would_go_at_once),
    TEST(limit__is_none_where_keys_are_sizes),
    TEST(limit__of_a_destination_that_is_closed),
    TEST(share__as_large_a_window_as_one_of_the_ports_needs),
    TEST(share__ends_with_the_agent),
};
TEST_MAIN(tests)
