/* SPDX-License-Identifier: Apache-2.0 */
#include "host/remember.h"

#include "host.h"

static struct mfs_remember remember;

static void read__what_was_known_before_it_was_overwritten(void)
{
    const char *path = segment_path();
    struct mfs_host *one = host_open(path), *two = host_open(path);
    struct mfs_facts facts = some_facts(), found;

    mfs_remember_init(&remember);
    facts.deadline_ns = 4711;
    CHECK_EQ(mfs_request_put(one, 1, "read", &facts), 0);
    CHECK_EQ(mfs_request_put(one, 2, "not read", &facts), 0);
    CHECK(mfs_remember_read(&remember, two, 1, &found));
    /* one that is dropped is no longer known */
    CHECK(!mfs_process_overwritten(two));
    CHECK_EQ(mfs_request_drop(one, 1), 0);
    CHECK(!mfs_remember_read(&remember, two, 1, &found));
    CHECK_EQ(mfs_request_put(one, 1, "read", &facts), 0);
    CHECK(mfs_remember_read(&remember, two, 1, &found));

    memset(two->segment->requests, 0xa5, sizeof(two->segment->requests));
    CHECK(!mfs_remember_read(&remember, two, 1, &found)); /* nothing says that it was damage */
    memset(two->segment->processes, 0xa5, sizeof(two->segment->processes));
    mfs_facts_init(&found);
    CHECK(mfs_remember_read(&remember, two, 1, &found));
    CHECK_EQ(found.deadline_ns, 4711);
    CHECK(!mfs_remember_read(&remember, two, 2, &found));
    /* what is ours in the segment is right again */
    CHECK_EQ(two->segment->processes[1].used, 1);
    CHECK_EQ(two->segment->processes[1].pid, getpid());
    CHECK(mfs_process_overwritten(two));
    /* and who is registered anew is known */
    facts.deadline_ns = 1147;
    CHECK_EQ(mfs_request_put(one, 1, "read", &facts), 0);
    CHECK(mfs_remember_read(&remember, two, 1, &found));
    CHECK_EQ(found.deadline_ns, 1147);
    mfs_host_close(two);
    mfs_host_close(one);
    unlink(path);
}

static const struct test tests[] = {
    TEST(read__what_was_known_before_it_was_overwritten),
};

TEST_MAIN(tests)
