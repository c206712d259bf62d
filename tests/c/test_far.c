/* SPDX-License-Identifier: Apache-2.0 */
/* The tables between senders and the agent: what is told, what is believed, and how it ends. */
#include "host/far_tables.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/exchange.h"
#include "host/config.h"
#include "host/far_address.h"

#include "host.h"

#define MS INT64_C(1000000)
#define LEASE (20 * MS)

static struct mfs_far_tables *tables(struct mfs_host *host)
{
    return &host->segment->far;
}

static uint32_t port_of(struct mfs_host *host, uint64_t key)
{
    uint32_t port = MFS_FAR_NONE;

    CHECK_EQ(mfs_far_port(host, key, "b/eth0 in", &port), 0);
    return port;
}

/* --- the agent --- */

static void attend__one_at_a_time(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);

    CHECK(!mfs_far_wanted(one));
    CHECK(!mfs_far_attended(tables(one), mfs_now_ns()));
    CHECK_EQ(mfs_far_attend(one, 1000 * MS), 0);
    CHECK_EQ(mfs_far_attend(one, 1000 * MS), 0);
    CHECK(mfs_far_attended(tables(two), mfs_now_ns()));
    CHECK(mfs_far_wanted(two));
    CHECK_EQ(mfs_far_attend(two, 1000 * MS), -EBUSY);
    mfs_far_depart(two); /* it is none */
    CHECK(mfs_far_attended(tables(two), mfs_now_ns()));
    mfs_far_depart(one);
    CHECK(!mfs_far_attended(tables(two), mfs_now_ns()));
    CHECK_EQ(mfs_far_attend(two, 1000 * MS), 0);
    mfs_host_close(one);
    mfs_host_close(two);
}

static void attend__ends_by_itself(void)
{
    struct mfs_host *host = host_private();

    CHECK_EQ(mfs_far_attend(host, 5 * MS), 0);
    CHECK(!mfs_far_attended(tables(host), mfs_now_ns() + 6 * MS));
    CHECK_EQ(mfs_far_attend(host, INT64_MAX), 0);
    CHECK(!mfs_far_attended(tables(host), mfs_now_ns() + MFS_FAR_ATTEND_MAX_NS));
    CHECK_EQ(mfs_far_attend(host, -1), 0);
    CHECK(!mfs_far_attended(tables(host), mfs_now_ns() + 1));
    mfs_host_close(host);
}

static void attend__the_next_one_begins_with_nothing(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);
    char name[MFS_FAR_NAME_MAX + 1];
    uint32_t port;

    CHECK_EQ(mfs_far_attend(one, 1000 * MS), 0);
    port = port_of(one, 7);
    CHECK_EQ(mfs_far_worker(one, 99, port, MFS_FAR_NONE), 0);
    mfs_far_limit(one, port, 1, 0, LEASE);
    CHECK(mfs_far_name(tables(two), port, name));
    mfs_host_close(one); /* without a word */
    CHECK_EQ(mfs_far_attend(two, 1000 * MS), 0);
    CHECK(!mfs_far_name(tables(two), port, name));
    CHECK_EQ(mfs_far_find(tables(two), 99, MFS_EGRESS), MFS_FAR_NONE);
    CHECK(mfs_far_limit_now(tables(two), port, LEASE, mfs_now_ns()) == MFS_RANK_NONE);
    mfs_host_close(two);
}

static void an_agent(const char *path)
{
    child_host = host_open(path);
    CHECK_EQ(mfs_far_attend(child_host, 10000 * MS), 0);
    mfs_far_limit(child_host, port_of(child_host, 7), 1, 0, 1000 * MS);
}

static void attend__one_that_was_killed_is_replaced(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const pid_t child = child_start(an_agent, path);

    CHECK_EQ(mfs_far_attend(host, 1000 * MS), -EBUSY);
    child_kill(child);
    CHECK_EQ(mfs_far_attend(host, 1000 * MS), 0);
    CHECK_EQ(mfs_get(&tables(host)->agent), host->process + 1);
    mfs_host_close(host);
}

static void reap__an_agent_that_was_killed(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const pid_t child = child_start(an_agent, path);

    CHECK(mfs_far_attended(tables(host), mfs_now_ns()));
    child_kill(child);
    mfs_process_reap(host);
    CHECK(!mfs_far_attended(tables(host), mfs_now_ns()));
    CHECK_EQ(mfs_get(&tables(host)->agent), 0);
    mfs_host_close(host);
}

/* --- own workers --- */

static void own__comes_and_goes(void)
{
    struct mfs_host *host = host_private();
    const uint64_t before = mfs_far_own_version(host);
    struct mfs_far_own own[3];
    uint32_t first, second;

    CHECK_EQ(mfs_far_own(host, own, COUNT(own)), 0);
    CHECK_EQ(mfs_far_own_enter(host, 0, "eth0", &first), -EINVAL);
    CHECK_EQ(mfs_far_own_enter(host, 11, "", &first), -EINVAL);
    CHECK_EQ(mfs_far_own_enter(host, 11, "eth0", &first), 0);
    CHECK_EQ(mfs_far_own_enter(host, 12, "a name that is longer than any port's may be", &second),
             0);
    CHECK(mfs_far_own_version(host) != before);
    CHECK_EQ(mfs_far_own(host, own, 1), 1);
    CHECK_EQ(mfs_far_own(host, own, COUNT(own)), 2);
    CHECK_EQ(own[0].uid, 11);
    CHECK(strcmp(own[0].port, "eth0") == 0);
    CHECK_EQ(strlen(own[1].port), MFS_PORT_NAME_MAX);
    mfs_far_own_leave(host, first);
    mfs_far_own_leave(host, first); /* once is enough */
    mfs_far_own_leave(host, MFS_FAR_NONE);
    CHECK_EQ(mfs_far_own(host, own, COUNT(own)), 1);
    CHECK_EQ(own[0].uid, 12);
    mfs_host_close(host);
}

static void a_stranger(const char *path)
{
    uint32_t place;

    child_host = host_open(path);
    CHECK_EQ(mfs_far_own_enter(child_host, 77, "eth5", &place), 0);
}

/* All of one process are of another port now, and nobody else's. */
static void own__moves(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const pid_t child = child_start(a_stranger, path);
    struct mfs_far_own own[4];
    uint64_t version;
    uint32_t place;

    CHECK_EQ(mfs_far_own_enter(host, 11, "default", &place), 0);
    CHECK_EQ(mfs_far_own_enter(host, 12, "default", &place), 0);
    version = mfs_far_own_version(host);
    CHECK_EQ(mfs_far_own_move(host, ""), -EINVAL);
    CHECK_EQ(mfs_far_own_version(host), version);
    CHECK_EQ(mfs_far_own_move(host, "eth1"), 0);
    CHECK(mfs_far_own_version(host) != version);
    CHECK_EQ(mfs_far_own(host, own, COUNT(own)), 3);
    for (size_t i = 0; i < 3; i++)
        CHECK(strcmp(own[i].port, own[i].uid == 77 ? "eth5" : "eth1") == 0);
    child_kill(child);
    mfs_host_close(host);
}

static void a_worker(const char *path)
{
    uint32_t place;

    child_host = host_open(path);
    CHECK_EQ(mfs_far_own_enter(child_host, 77, "eth0", &place), 0);
}

static void own__the_deads_are_reaped(void)
{
    const char *path = segment_path();
    struct mfs_host *host = host_open(path);
    const pid_t child = child_start(a_worker, path);
    struct mfs_far_own own[2];
    uint64_t version;
    uint32_t place;

    CHECK_EQ(mfs_far_own(host, own, COUNT(own)), 1);
    child_kill(child);
    version = mfs_far_own_version(host);
    mfs_process_reap(host);
    CHECK_EQ(mfs_far_own(host, own, COUNT(own)), 0);
    CHECK(mfs_far_own_version(host) != version);
    for (uint32_t i = 0; i < MFS_FAR_OWN_MAX; i++)
        CHECK_EQ_AT(mfs_far_own_enter(host, 1 + i, "eth0", &place), 0, i);
    CHECK_EQ(mfs_far_own_enter(host, 9999, "eth0", &place), -ENOSPC);
    mfs_host_close(host);
}

/* --- far ports and workers --- */

static void port__keeps_its_index(void)
{
    struct mfs_host *host = host_private();
    char name[MFS_FAR_NAME_MAX + 1];
    uint32_t port;

    CHECK_EQ(mfs_far_port(host, 0, "x", &port), -EINVAL);
    CHECK_EQ(mfs_far_port(host, 5, NULL, &port), -EINVAL);
    for (uint64_t i = 0; i < MFS_FAR_PORTS_MAX; i++)
        CHECK_EQ_AT(port_of(host, 100 + i), i, i);
    CHECK_EQ(mfs_far_port(host, 99, "x", &port), -ENOSPC);
    CHECK_EQ(port_of(host, 150), 50);
    mfs_far_forget(host, 50);
    CHECK(!mfs_far_name(tables(host), 50, name));
    CHECK_EQ(mfs_far_port(host, 99, "\033[31mc/eth1 out", &port), 0);
    CHECK_EQ(port, 50);
    CHECK(mfs_far_name(tables(host), 50, name));
    CHECK(strcmp(name, "?[31mc/eth1 out") == 0);
    mfs_far_forget(host, MFS_FAR_NONE);
    mfs_host_close(host);
}

static void worker__leads_to_a_port_each_way(void)
{
    struct mfs_host *host = host_private();
    const uint32_t in = port_of(host, 1), out = port_of(host, 2);
    const uint64_t version = mfs_get(&tables(host)->version);

    CHECK_EQ(mfs_far_find(tables(host), 42, MFS_EGRESS), MFS_FAR_NONE);
    CHECK_EQ(mfs_far_worker(host, 42, in, out), 0);
    CHECK(mfs_get(&tables(host)->version) != version);
    CHECK_EQ(mfs_far_find(tables(host), 42, MFS_EGRESS), in);
    CHECK_EQ(mfs_far_find(tables(host), 42, MFS_INGRESS), out);
    CHECK_EQ(mfs_far_worker(host, 0, in, out), -EINVAL);
    CHECK_EQ(mfs_far_worker(host, 43, 77, out), -EINVAL); /* no such port */
    CHECK_EQ(mfs_far_worker(host, 43, in, MFS_FAR_PORTS_MAX), -EINVAL);
    mfs_far_forget(host, in);
    CHECK_EQ(mfs_far_find(tables(host), 42, MFS_EGRESS), MFS_FAR_NONE);
    CHECK_EQ(mfs_far_find(tables(host), 42, MFS_INGRESS), out);
    CHECK_EQ(mfs_far_worker(host, 42, MFS_FAR_NONE, MFS_FAR_NONE), 0); /* it has gone */
    CHECK_EQ(mfs_far_find(tables(host), 42, MFS_INGRESS), MFS_FAR_NONE);
    mfs_host_close(host);
}

/* Workers come and go for longer than the table is: those that are there are found. */
static void worker__places_of_the_gone_are_used_again(void)
{
    struct mfs_host *host = host_private();
    const uint32_t port = port_of(host, 1);
    uint64_t random = 3, uids[500] = {0};

    for (uint32_t i = 0; i < 40 * COUNT(uids); i++) {
        uint64_t *uid = &uids[i % COUNT(uids)];

        if (*uid)
            CHECK_EQ(mfs_far_worker(host, *uid, MFS_FAR_NONE, MFS_FAR_NONE), 0);
        *uid = test_random(&random);
        CHECK_EQ_AT(mfs_far_worker(host, *uid, port, port), 0, i);
    }
    for (size_t i = 0; i < COUNT(uids); i++)
        CHECK_EQ_AT(mfs_far_find(tables(host), uids[i], MFS_EGRESS), port, i);
    mfs_host_close(host);
}

static void address__as_text_and_as_a_sockets(void)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(7)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(8)};
    struct sockaddr other = {.sa_family = AF_UNIX};

    CHECK_EQ(inet_pton(AF_INET, "10.0.0.2", &four.sin_addr), 1);
    CHECK_EQ(inet_pton(AF_INET6, "fd00::2", &six.sin6_addr), 1);
    CHECK(mfs_far_address("10.0.0.2") == mfs_far_sockaddr((const void *)&four));
    CHECK(mfs_far_address("::ffff:10.0.0.2") == mfs_far_address("10.0.0.2"));
    CHECK(mfs_far_address("fd00::2") == mfs_far_sockaddr((const void *)&six));
    CHECK(mfs_far_address("10.0.0.3") != mfs_far_address("10.0.0.2"));
    CHECK_EQ(mfs_far_address("host-b"), 0);
    CHECK_EQ(mfs_far_sockaddr(&other), 0);
}

/* --- limits --- */

static void limit__ends_a_lease_later_at_most(void)
{
    struct mfs_host *host = host_private();
    const uint32_t port = port_of(host, 1);
    const int64_t now_ns = mfs_now_ns();
    mfs_rank_t limit;

    mfs_far_limit(host, port, 1, 5 * MS, 3 * MS);
    limit = mfs_far_limit_now(tables(host), port, LEASE, now_ns);
    CHECK_EQ(mfs_rank_level(limit), 1);
    CHECK(mfs_rank_key(limit) >= now_ns + 5 * MS && mfs_rank_key(limit) <= mfs_now_ns() + 5 * MS);
    CHECK(mfs_far_limit_now(tables(host), port, LEASE, mfs_now_ns() + 3 * MS) == MFS_RANK_NONE);
    mfs_far_limit(host, port, 1, 5 * MS, INT64_MAX);
    CHECK(mfs_far_limit_now(tables(host), port, LEASE, mfs_now_ns() + LEASE) == MFS_RANK_NONE);
    mfs_far_limit(host, port, MFS_FAR_NO_LEVEL, 0, LEASE);
    CHECK(mfs_far_limit_now(tables(host), port, LEASE, now_ns) == MFS_RANK_NONE);
    mfs_far_limit(host, 77, 1, 0, LEASE); /* not known */
    mfs_far_limit(host, MFS_FAR_NONE, 1, 0, LEASE);
    mfs_host_close(host);
}

/* --- answers --- */

static void answers__end_a_lease_later_at_most(void)
{
    struct mfs_host *host;
    uint32_t port;

    setenv("MFS_LEASE", "1000s", 1);
    host = host_private();
    port = port_of(host, 1);

    CHECK_EQ(mfs_far_answers_now(tables(host), port, mfs_now_ns()), MFS_FAR_NO_LEVEL);
    mfs_far_answers(host, port, 3, INT64_MAX);
    CHECK_EQ(mfs_far_answers_now(tables(host), port, mfs_now_ns()), 3);
    CHECK_EQ(mfs_far_answers_now(tables(host), port, mfs_now_ns() + mfs_config_get()->lease),
             MFS_FAR_NO_LEVEL);
    mfs_far_answers(host, port, MFS_FAR_NO_LEVEL, INT64_MAX);
    CHECK_EQ(mfs_far_answers_now(tables(host), port, mfs_now_ns()), MFS_FAR_NO_LEVEL);
    mfs_far_answers(host, port, 0, INT64_MAX);
    mfs_far_forget(host, port); /* and another host has its place */
    CHECK_EQ(port_of(host, 2), port);
    CHECK_EQ(mfs_far_answers_now(tables(host), port, mfs_now_ns()), MFS_FAR_NO_LEVEL);
    mfs_far_answers(host, 77, 0, INT64_MAX); /* not known */
    mfs_far_answers(host, MFS_FAR_NONE, 0, INT64_MAX);
    CHECK_EQ(mfs_far_answers_now(tables(host), MFS_FAR_NONE, mfs_now_ns()), MFS_FAR_NO_LEVEL);
    mfs_host_close(host);
}

static void share__ends_by_itself(void)
{
    struct mfs_host *host = host_private();
    const uint32_t port = port_of(host, 1);
    const int64_t now_ns = mfs_now_ns();

    CHECK_EQ(mfs_far_sharers_now(tables(host), port, now_ns), 0);
    mfs_far_share(host, port, 3, 30 * MS);
    CHECK_EQ(mfs_far_sharers_now(tables(host), port, mfs_now_ns()), 3);
    CHECK_EQ(mfs_far_sharers_now(tables(host), port, mfs_now_ns() + 30 * MS), 0);
    mfs_far_share(host, port, UINT32_MAX, INT64_MAX);
    CHECK_EQ(mfs_far_sharers_now(tables(host), port, now_ns), MFS_FAR_SHARERS_MAX);
    CHECK_EQ(mfs_far_sharers_now(tables(host), port, mfs_now_ns() + MFS_FAR_SHARED_MAX_NS), 0);
    mfs_far_share(host, port, 0, 30 * MS);
    CHECK_EQ(mfs_far_sharers_now(tables(host), port, now_ns), 0);
    mfs_far_share(host, 77, 3, 30 * MS); /* not known */
    CHECK_EQ(mfs_far_sharers_now(tables(host), 77, now_ns), 0);
    CHECK_EQ(mfs_far_sharers_now(tables(host), MFS_FAR_NONE, now_ns), 0);
    mfs_host_close(host);
}

/* --- rubbish --- */

static void fill(void *at, size_t size, uint64_t *random)
{
    for (size_t i = 0; i + 8 <= size; i += 8) {
        const uint64_t values[] = {0,
                                   UINT64_MAX,
                                   test_random(random),
                                   test_random(random) % 300,
                                   (uint64_t)mfs_now_ns(),
                                   UINT64_C(1) << 63};

        memcpy((char *)at + i, &values[test_random(random) % COUNT(values)], 8);
    }
}

static void rubbish__in_every_word(void)
{
    struct mfs_host *host = host_private();
    static struct mfs_far_own own[MFS_FAR_OWN_MAX];
    static struct mfs_claim claims[MFS_FAR_PORTS_MAX];
    uint64_t random = 5;

    for (int round = 0; round < 300; round++) {
        const int64_t now_ns = mfs_now_ns();
        struct mfs_living living = {{test_random(&random), test_random(&random)}};
        uint32_t count, place, port;

        fill(tables(host), sizeof(*tables(host)), &random);
        (void)mfs_far_attend(host, 10 * MS);
        fill(tables(host), sizeof(*tables(host)), &random);
        (void)mfs_far_attended(tables(host), now_ns);
        count = mfs_far_own(host, own, COUNT(own));
        for (uint32_t i = 0; i < count; i++)
            CHECK(strlen(own[i].port) <= MFS_PORT_NAME_MAX);
        count = mfs_far_claims(host, now_ns, claims, COUNT(claims));
        for (uint32_t i = 0; i < count; i++) {
            CHECK(claims[i].far < MFS_FAR_PORTS_MAX);
            CHECK(claims[i].level <= MFS_LEVELS_MAX || claims[i].level == MFS_FAR_NO_LEVEL);
            CHECK(claims[i].span_ns <= MFS_EXCHANGE_SPAN_MAX_NS);
            CHECK(claims[i].span_ns >= -MFS_EXCHANGE_SPAN_MAX_NS);
            CHECK(claims[i].waiting_bytes <= UINT64_C(1) << 62);
        }
        for (uint32_t i = 0; i < 300; i++) {
            (void)mfs_far_limit_now(tables(host), i, LEASE, now_ns);
            CHECK(mfs_far_sharers_now(tables(host), i, now_ns) <= MFS_FAR_SHARERS_MAX);
            port = mfs_far_find(tables(host), i, i % 2 ? MFS_EGRESS : MFS_INGRESS);
            CHECK(port < MFS_FAR_PORTS_MAX || port == MFS_FAR_NONE);
        }
        (void)mfs_far_worker(host, test_random(&random), 3, MFS_FAR_NONE);
        (void)mfs_far_own_enter(host, 5, "eth0", &place);
        (void)mfs_far_port(host, test_random(&random), "x", &port);
        mfs_far_limit(host, 3, 1, INT64_MIN, LEASE);
        mfs_far_forget(host, 3);
        mfs_far_reap(tables(host), &living);
        mfs_far_depart(host);
    }
    mfs_host_close(host);
}

static const struct test tests[] = {
    TEST(attend__one_at_a_time),
    TEST(attend__ends_by_itself),
    TEST(attend__the_next_one_begins_with_nothing),
    TEST(attend__one_that_was_killed_is_replaced),
    TEST(reap__an_agent_that_was_killed),
    TEST(own__comes_and_goes),
    TEST(own__moves),
    TEST(own__the_deads_are_reaped),
    TEST(port__keeps_its_index),
    TEST(worker__leads_to_a_port_each_way),
    TEST(worker__places_of_the_gone_are_used_again),
    TEST(address__as_text_and_as_a_sockets),
    TEST(limit__ends_a_lease_later_at_most),
    TEST(answers__end_a_lease_later_at_most),
    TEST(share__ends_by_itself),
    TEST(rubbish__in_every_word),
};
TEST_MAIN(tests)
