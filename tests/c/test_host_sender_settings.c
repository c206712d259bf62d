/* SPDX-License-Identifier: Apache-2.0 */
/* What a sender takes over from the host and from the configuration of its process. */
#include "core/rmlq_inside.h"
#include "host.h"
#include "host/event.h"
#include "host/sender.h"

#define MS INT64_C(1000000)
#define MB UINT64_C(1000000)

static struct mfs_host *host;

static void follow__another_policy(void)
{
    const struct mfs_tag collective = {MFS_REQUEST_NONE, 0, MFS_STAGE_COLLECTIVE};
    const struct mfs_tag untagged = {MFS_REQUEST_NONE, 0, MFS_STAGE_NONE};
    struct mfs_op first = {.length = 1 << 20}, second = {.length = 1 << 20};
    struct mfs_destination to = {0};
    struct mfs_sender *sender;
    struct mfs_chunk chunk;

    setenv("MFS_WINDOW", "1g", 1);
    setenv("MFS_HOLD_MAX", "0", 1); /* these were posted long ago, by the clock */
    host = host_private();
    CHECK_EQ(mfs_sender_join(host, "eth7", MFS_EGRESS, NULL, &sender), 0);
    CHECK_EQ(mfs_sender_open(sender, &to, host), 0);
    CHECK_EQ(mfs_sender_push(sender, &first, &to, &untagged, 1), 0);
    CHECK_EQ(mfs_sender_push(sender, &second, &to, &collective, 2), 0);
    CHECK_EQ(mfs_host_set_policy(host, "fifo"), 0);
    mfs_sender_follow(sender);
    CHECK_EQ(mfs_sender_next(sender, 1 << 16, 3, &chunk), 0);
    CHECK(chunk.op == &first);
    CHECK_EQ(mfs_host_set_policy(host, "mfs"), 0);
    mfs_sender_follow(sender);
    CHECK_EQ(mfs_sender_next(sender, 1 << 16, 4, &chunk), 0);
    CHECK(chunk.op == &second);
    CHECK_EQ(mfs_sender_remove(sender, &first, 5), 0);
    CHECK_EQ(mfs_sender_remove(sender, &second, 5), 0);
    mfs_sender_close(sender, &to);
    mfs_sender_leave(sender);
    mfs_host_close(host);
}

/* The sender's settings are those of the process, from the start and when they are followed. */
static void join__as_configured(void)
{
    static const struct {
        const char *name, *value;
    } settings[] = {
        {"MFS_PATIENCE", "3"},        {"MFS_PORT_RATE", "8mbit"}, {"MFS_LEASE", "33ms"},
        {"MFS_UNTAGGED_SHARE", "77"}, {"MFS_PACE", "4mbit"},      {"MFS_WINDOW", "4321"},
    };
    struct mfs_sender *sender;

    for (size_t i = 0; i < COUNT(settings); i++)
        setenv(settings[i].name, settings[i].value, 1);
    host = host_private();
    CHECK_EQ(mfs_sender_join(host, "eth7", MFS_EGRESS, NULL, &sender), 0);
    for (int i = 0; i < 2; i++) {
        const struct mfs_params *params = &sender->queue->params;

        CHECK_EQ_AT(params->levels, 8, i); /* fixed, as what follows */
        CHECK_EQ_AT(params->patience, 3, i);
        CHECK_EQ_AT(params->rate_Bps, MB, i);
        CHECK_EQ_AT(params->rate_margin * 10, 10, i); /* it is known */
        mfs_sender_follow(sender);
    }
    CHECK_EQ(sender->patience.lease_ns, 33 * MS);
    CHECK_EQ(sender->untagged_permille, 77);
    CHECK_EQ(sender->pace_Bps, MB / 2);
    CHECK(sender->known_Bps == MB && !sender->learns);
    CHECK_EQ(mfs_sender_chunk(sender), 65536);
    CHECK_EQ(sender->window.window_bytes, 4321);
    mfs_sender_leave(sender);
    mfs_host_close(host);
}

/* A rate that is learned may be half of what the port can do. */
static void join__a_rate_that_is_learned(void)
{
    struct mfs_sender *sender;

    host = host_private();
    CHECK_EQ(mfs_sender_join(host, "eth7", MFS_EGRESS, NULL, &sender), 0);
    CHECK(sender->known_Bps == 0 && sender->learns);
    CHECK_EQ(sender->queue->params.rate_margin * 10, 20);
    mfs_sender_follow(sender);
    CHECK_EQ(sender->queue->params.rate_margin * 10, 20);
    mfs_sender_leave(sender);
    mfs_host_close(host);
}

/* The policy is told what the host knows of a request. */
static void join__facts_are_the_hosts(void)
{
    const struct mfs_tag tag = {mfs_request_key("cmpl-1"), 3, MFS_STAGE_P2D};
    struct mfs_op op = {.length = 1000};
    struct mfs_destination to = {0};
    struct mfs_sender *sender;
    struct mfs_facts facts;

    host = host_private();
    mfs_facts_init(&facts);
    CHECK_EQ(mfs_sender_join(host, "eth7", MFS_EGRESS, NULL, &sender), 0);
    CHECK_EQ(mfs_sender_open(sender, &to, host), 0);
    CHECK_EQ(mfs_sender_push(sender, &op, &to, &tag, 1), 0);
    mfs_sender_publish(sender, 1);
    CHECK(mfs_rank_level(sender->told.rank) < sender->queue->params.levels);
    facts.flags = MFS_REQUEST_SHED;
    facts.deadline_ns = INT64_C(1000000000000);
    CHECK_EQ(mfs_request_put(host, tag.request, "cmpl-1", &facts), 0);
    mfs_sender_publish(sender, 2);
    CHECK_EQ(mfs_rank_level(sender->told.rank), sender->queue->params.levels);
    CHECK_EQ(mfs_sender_remove(sender, &op, 2), 0);
    mfs_sender_close(sender, &to);
    mfs_sender_leave(sender);
    mfs_host_close(host);
}

/* The flows of a sender are told with its port, and the facts are the host's. */
static void join__flows_are_recorded(void)
{
    const struct mfs_tag tag = {mfs_request_key("cmpl-1"), 3, MFS_STAGE_P2D};
    struct mfs_op op = {.length = 1000};
    struct mfs_destination to = {0};
    struct mfs_sender *sender;
    struct mfs_facts facts;
    struct mfs_event events[4];
    char name[MFS_PORT_NAME_MAX + 1];
    uint64_t next = 0;

    host = host_private();
    mfs_facts_init(&facts);
    facts.deadline_ns = 12345;
    CHECK_EQ(mfs_request_put(host, tag.request, "cmpl-1", &facts), 0);
    mfs_event_trace(host, true);
    CHECK_EQ(mfs_sender_join(host, "eth7", MFS_INGRESS, NULL, &sender), 0);
    CHECK_EQ(mfs_sender_open(sender, &to, host), 0);
    CHECK_EQ(mfs_sender_push(sender, &op, &to, &tag, 1), 0);
    mfs_sender_publish(sender, 1);
    CHECK_EQ(mfs_event_read(host, &next, events, COUNT(events), NULL), 1);
    CHECK(events[0].kind == MFS_FLOW_QUEUED && events[0].request == tag.request);
    CHECK(events[0].deadline_ns == 12345 && events[0].direction == MFS_INGRESS);
    CHECK_EQ(mfs_port_name_at(host, events[0].port, name), 0);
    CHECK(strcmp(name, "eth7") == 0);
    CHECK_EQ(mfs_sender_remove(sender, &op, 2), 0);
    mfs_sender_close(sender, &to);
    mfs_sender_leave(sender);
    mfs_host_close(host);
}

static const struct test tests[] = {
    TEST(follow__another_policy),       TEST(join__as_configured),
    TEST(join__a_rate_that_is_learned), TEST(join__facts_are_the_hosts),
    TEST(join__flows_are_recorded),
};

TEST_MAIN(tests)
