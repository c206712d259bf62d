/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that follow another host's: whose verdict the queues read, and how it ends. */
#include "host/verdict.h"

#include "host.h"

#define OWNER 77u
#define HIS 88u /* the request's key there */
#define HOLD MFS_VERDICT_HOLD_NS
#define KNOWN (uint32_t)MFS_VERDICT_KNOWN
#define SHED (uint32_t)(MFS_VERDICT_KNOWN | MFS_VERDICT_SHED)
#define HOPELESS (uint32_t)(MFS_VERDICT_KNOWN | MFS_VERDICT_HOPELESS)

/* A host with an agent, and request 1. */
static struct mfs_host *attended(void)
{
    struct mfs_host *host = host_private();
    struct mfs_facts facts = some_facts();

    CHECK_EQ(mfs_request_put(host, 1, "one", &facts), 0);
    CHECK_EQ(mfs_far_attend(host, INT64_C(10000000000)), 0);
    mfs_verdict_attend(host, 5);
    return host;
}

static uint32_t flags_of(struct mfs_host *host, uint64_t key)
{
    struct mfs_facts facts;

    CHECK_EQ(mfs_request_get(host, key, &facts), 0);
    return facts.flags;
}

static struct mfs_follow row_of(struct mfs_host *host)
{
    struct mfs_follow rows[2];

    CHECK_EQ(mfs_verdict_follows(host, rows, 2), 1);
    return rows[0];
}

static void follow__the_owners_verdict_in_place_of_our_own(void)
{
    struct mfs_host *host = attended();
    struct mfs_facts facts = some_facts();
    struct mfs_follow row;

    facts.flags = MFS_REQUEST_SHED | MFS_REQUEST_COMPUTED;
    facts.shed_for = 3;
    CHECK_EQ(mfs_request_put(host, 1, NULL, &facts), 0);
    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, 0), 0);
    row = row_of(host);
    CHECK(row.owner == OWNER && row.key == HIS);
    CHECK_EQ(flags_of(host, 1), MFS_REQUEST_SHED | MFS_REQUEST_COMPUTED);
    mfs_verdict_tell(host, &row, KNOWN, HOLD);
    CHECK_EQ(flags_of(host, 1), MFS_REQUEST_COMPUTED);
    CHECK_EQ(mfs_request_get(host, 1, &facts), 0);
    CHECK_EQ(facts.shed_for, MFS_REQUEST_NONE);
    mfs_verdict_tell(host, &row, HOPELESS, HOLD);
    CHECK_EQ(flags_of(host, 1), MFS_REQUEST_HOPELESS | MFS_REQUEST_COMPUTED);
    facts.flags = 0; /* whatever our own control plane says meanwhile */
    CHECK_EQ(mfs_request_put(host, 1, NULL, &facts), 0);
    CHECK_EQ(flags_of(host, 1), MFS_REQUEST_HOPELESS);
    mfs_verdict_tell(host, &row, 0, HOLD); /* the owner knows it no more */
    CHECK_EQ(flags_of(host, 1), 0);
    mfs_host_close(host);
}

static void follow__what_has_come_with_the_request_holds_at_once(void)
{
    struct mfs_host *host = attended();

    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, SHED), 0);
    CHECK_EQ(flags_of(host, 1), MFS_REQUEST_SHED);
    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS + 1, 0), 0); /* another one */
    CHECK_EQ(flags_of(host, 1), 0);
    CHECK_EQ(row_of(host).key, HIS + 1);
    mfs_host_close(host);
}

static void follow__needs_an_agent_and_a_request(void)
{
    struct mfs_host *host = attended();

    CHECK_EQ(mfs_verdict_owner(host), 5);
    CHECK_EQ(mfs_verdict_follow(host, 2, OWNER, HIS, 0), -ENOENT);
    CHECK_EQ(mfs_verdict_follow(host, 0, OWNER, HIS, 0), -EINVAL);
    CHECK_EQ(mfs_verdict_follow(host, 1, 0, HIS, 0), -EINVAL);
    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, 0, 0), -EINVAL);
    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, 8), -EINVAL);
    mfs_far_depart(host);
    CHECK_EQ(mfs_verdict_owner(host), 0);
    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, 0), -ENOTCONN);
    mfs_host_close(host);
}

static void follow__ends_with_the_request(void)
{
    struct mfs_host *host = attended();
    const uint64_t version = mfs_verdict_version(host);
    struct mfs_facts facts = some_facts();
    struct mfs_follow row;

    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, SHED), 0);
    row = row_of(host);
    CHECK(mfs_verdict_version(host) != version);
    CHECK_EQ(mfs_request_drop(host, 1), 0);
    CHECK_EQ(mfs_verdict_follows(host, &row, 1), 0);
    CHECK_EQ(mfs_request_put(host, 1, NULL, &facts), 0); /* the same name again */
    CHECK_EQ(flags_of(host, 1), 0);
    CHECK_EQ(mfs_request_put(host, 2, NULL, &facts), 0);
    CHECK_EQ(mfs_verdict_follow(host, 2, OWNER, HIS + 8, 0), 0);
    mfs_verdict_tell(host, &row, SHED, HOLD); /* it comes late, and the place is another's */
    CHECK_EQ(flags_of(host, 2), 0);
    mfs_host_close(host);
}

static void follow__as_many_as_there_is_room_for(void)
{
    struct mfs_host *host = attended();
    struct mfs_facts facts = some_facts();

    for (uint64_t key = 1; key <= MFS_FOLLOWS_MAX; key++) {
        CHECK_EQ_AT(mfs_request_put(host, key, NULL, &facts), 0, key);
        CHECK_EQ_AT(mfs_verdict_follow(host, key, OWNER, key, 0), 0, key);
    }
    CHECK_EQ(mfs_request_put(host, 9999, NULL, &facts), 0);
    CHECK_EQ(mfs_verdict_follow(host, 9999, OWNER, HIS, 0), -ENOSPC);
    CHECK_EQ(mfs_request_drop(host, 17), 0);
    CHECK_EQ(mfs_verdict_follow(host, 9999, OWNER, HIS, 0), 0);
    /* cells that nothing knows of do not take the room for ever */
    host->segment->follows.cells[3].key = 123456;
    CHECK_EQ(mfs_request_drop(host, 4), 0);
    CHECK_EQ(mfs_request_put(host, 10000, NULL, &facts), 0);
    CHECK_EQ(mfs_verdict_follow(host, 10000, OWNER, HIS, 0), 0);
    mfs_host_close(host);
}

static void tell__ends_by_itself_and_the_queues_are_told(void)
{
    struct mfs_host *host = attended();
    struct mfs_follow row;
    uint64_t version;

    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, 0), 0);
    row = row_of(host);
    version = mfs_request_version(host);
    mfs_verdict_tell(host, &row, SHED, HOLD);
    CHECK_EQ(mfs_request_version(host), version + 1);
    mfs_verdict_tell(host, &row, SHED, HOLD); /* nothing new */
    CHECK_EQ(mfs_request_version(host), version + 1);
    host->segment->follows.cells[row.place].until_ns = mfs_now_ns() - 1;
    CHECK_EQ(flags_of(host, 1), 0);
    mfs_verdict_tell(host, &row, 0, 0); /* the agent says so, once */
    CHECK_EQ(mfs_request_version(host), version + 2);
    mfs_verdict_tell(host, &row, 0, 0);
    CHECK_EQ(mfs_request_version(host), version + 2);
    mfs_verdict_tell(host, &row, SHED, INT64_MAX); /* no longer than that */
    CHECK(host->segment->follows.cells[row.place].until_ns <= mfs_now_ns() + HOLD);
    mfs_host_close(host);
}

static void agent__that_goes_takes_its_verdicts_along(void)
{
    struct mfs_host *host = attended();
    uint64_t version;

    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, SHED), 0);
    version = mfs_request_version(host);
    mfs_far_depart(host);
    CHECK_EQ(flags_of(host, 1), 0);
    CHECK(mfs_request_version(host) != version);
    mfs_host_close(host);
}

/* One that was killed: whoever looks after the dead next says it to the queues. */
static void agent__that_dies(void)
{
    struct mfs_host *host = attended();
    uint64_t version;

    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, SHED), 0);
    version = mfs_request_version(host);
    mfs_process_reap(host);
    CHECK_EQ(mfs_request_version(host), version);
    CHECK_EQ(flags_of(host, 1), MFS_REQUEST_SHED);
    host->segment->far.until_ns = mfs_now_ns() - 1;
    mfs_process_reap(host);
    CHECK(mfs_request_version(host) != version);
    CHECK_EQ(flags_of(host, 1), 0);
    CHECK_EQ(mfs_verdict_owner(host), 0);
    mfs_host_close(host);
}

static void own__is_told_of_what_we_decide_alone(void)
{
    struct mfs_host *host = attended();
    struct mfs_facts facts = some_facts();

    CHECK_EQ(mfs_verdict_own(host, 2), 0);
    CHECK_EQ(mfs_verdict_own(host, 1), KNOWN);
    facts.flags = MFS_REQUEST_HOPELESS | MFS_REQUEST_COMPUTED;
    CHECK_EQ(mfs_request_put(host, 1, NULL, &facts), 0);
    CHECK_EQ(mfs_verdict_own(host, 1), HOPELESS);
    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, KNOWN), 0);
    CHECK_EQ(mfs_verdict_own(host, 1), 0); /* another host's: it goes one hop */
    mfs_host_close(host);
}

static void apply__whatever_the_words_are(void)
{
    static const uint64_t words[] = {0, 1, 7, UINT64_MAX, UINT64_C(1) << 63, HIS | 7};
    struct mfs_host *host = attended();
    struct mfs_follow_cell *cell;
    uint64_t random = 1;

    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, 0), 0);
    cell = &host->segment->follows.cells[row_of(host).place];
    for (int i = 0; i < 2000; i++) {
        _Atomic uint64_t *const all[] = {&cell->key, &cell->owner, &cell->owner_key, &cell->verdict,
                                         (_Atomic uint64_t *)&cell->until_ns};
        const uint64_t most = MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED;
        struct mfs_follow rows[MFS_FOLLOWS_MAX];
        struct mfs_request_cell *request;

        *all[test_random(&random) % COUNT(all)] = words[test_random(&random) % COUNT(words)];
        request = mfs_request_cell_find(host->segment, 1);
        if (request && i % 3 == 0)
            request->follows = (uint32_t)test_random(&random);
        CHECK((flags_of(host, 1) & ~most) == 0);
        CHECK(mfs_verdict_follows(host, rows, MFS_FOLLOWS_MAX) <= MFS_FOLLOWS_MAX);
        (void)mfs_verdict_follow(host, 1, OWNER, HIS, 0);
    }
    CHECK_EQ(mfs_verdict_follow(host, 1, OWNER, HIS, SHED), 0);
    CHECK_EQ(flags_of(host, 1), MFS_REQUEST_SHED);
    cell = &host->segment->follows.cells[mfs_request_cell_find(host->segment, 1)->follows - 1];
    cell->until_ns = mfs_now_ns() + 10 * HOLD; /* nobody of this clock has set that: it has come */
    CHECK_EQ(flags_of(host, 1), 0);
    CHECK_EQ(mfs_request_drop(host, 1), 0);
    mfs_host_close(host);
}

static const struct test tests[] = {
    TEST(follow__the_owners_verdict_in_place_of_our_own),
    TEST(follow__what_has_come_with_the_request_holds_at_once),
    TEST(follow__needs_an_agent_and_a_request),
    TEST(follow__ends_with_the_request),
    TEST(follow__as_many_as_there_is_room_for),
    TEST(tell__ends_by_itself_and_the_queues_are_told),
    TEST(agent__that_goes_takes_its_verdicts_along),
    TEST(agent__that_dies),
    TEST(own__is_told_of_what_we_decide_alone),
    TEST(apply__whatever_the_words_are),
};

TEST_MAIN(tests)
