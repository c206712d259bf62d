/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "core/rmlq.h"
#include "host.h"
#include "host/event.h"

static struct mfs_event events[MFS_EVENTS_MAX];

static struct mfs_port *port_open(struct mfs_host *host)
{
    struct mfs_port *port;

    CHECK_EQ(mfs_port_open(host, "eth7", MFS_EGRESS, &port), 0);
    return port;
}

static struct mfs_rmlq *queue_on(struct mfs_host *host, struct mfs_port *port)
{
    struct mfs_rmlq_config config;
    struct mfs_rmlq *queue;

    mfs_rmlq_config_init(&config);
    config.params.rate_Bps = 1000000000;
    config.facts = mfs_request_source(host);
    config.watch = mfs_event_watch(port);
    CHECK_EQ(mfs_rmlq_create(&config, &queue), 0);
    return queue;
}

static uint64_t request_put(struct mfs_host *host, const char *name, int64_t deadline_ns)
{
    const uint64_t key = mfs_request_key(name);
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.deadline_ns = deadline_ns;
    facts.p2d_left_bytes = 1000;
    CHECK_EQ(mfs_request_put(host, key, name, &facts), 0);
    return key;
}

/* Tell of a flow without a queue, as a queue does. */
static void tell_of(struct mfs_port *port, const struct mfs_flow_info *flow,
                    const struct mfs_why *why)
{
    const struct mfs_flow_watch watch = mfs_event_watch(port);
    struct mfs_flow_told told = {.event = MFS_FLOW_QUEUED, .flow = flow, .now_ns = 5};
    struct mfs_facts facts;

    if (!watch.wanted(watch.ctx))
        return;
    mfs_facts_init(&facts);
    (void)mfs_request_get(port->host, flow->tag.request, &facts);
    told.facts = &facts;
    told.level_before = flow->level;
    if (why)
        told.why = *why;
    watch.told(watch.ctx, &told);
}

static void tell(struct mfs_port *port, uint64_t bytes_left)
{
    const struct mfs_flow_info flow = {.bytes_left = bytes_left, .level = 1};

    tell_of(port, &flow, NULL);
}

static void watch__a_flow_from_queued_to_left(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host);
    struct mfs_rmlq *queue = queue_on(host, port);
    const int64_t second = 1000000000;
    const struct mfs_tag tag = {request_put(host, "cmpl-1", 10 * second), 3, MFS_STAGE_P2D};
    struct mfs_op op = {.length = 1000};
    char name[MFS_PORT_NAME_MAX + 1];
    struct mfs_chunk chunk;
    struct mfs_voq voq;
    uint64_t next = 0, lost = 0;
    size_t count;
    uint32_t level;

    mfs_event_trace(host, true);
    CHECK_EQ(mfs_voq_open(queue, &voq), 0);
    CHECK_EQ(mfs_rmlq_push(queue, &op, &voq, &tag, second), 0);
    mfs_rmlq_place_due(queue, second);
    mfs_rmlq_place_due(queue, 10 * second - 15000000); /* soon */
    mfs_rmlq_place_due(queue, 10 * second - 10000); /* all are due */
    mfs_rmlq_take(queue, &voq, MFS_TAGGED, 4096, &chunk);

    count = mfs_event_read(host, &next, events, MFS_EVENTS_MAX, &lost);
    CHECK(count >= 4 && lost == 0 && next == count);
    CHECK_EQ(events[0].kind, MFS_FLOW_QUEUED);
    CHECK(strcmp(events[0].name, "cmpl-1") == 0 && events[0].request == tag.request);
    CHECK(events[0].stage == MFS_STAGE_P2D && events[0].layer == 3);
    CHECK(events[0].deadline_ns == 10 * second && events[0].time_ns == second);
    CHECK(events[0].bytes_left == 1000 && events[0].pid == getpid());
    CHECK_EQ(mfs_port_name_at(host, events[0].port, name), 0);
    CHECK(strcmp(name, "eth7") == 0);
    CHECK(events[0].direction == MFS_EGRESS);
    level = events[0].level;
    CHECK(level > 0);
    for (size_t i = 1; i + 1 < count; i++) {
        CHECK_EQ(events[i].kind, MFS_FLOW_MOVED);
        CHECK(events[i].level_before == level && events[i].level < level);
        level = events[i].level;
    }
    CHECK_EQ(level, 0);
    CHECK_EQ(events[count - 1].kind, MFS_FLOW_LEFT);
    CHECK(events[count - 1].bytes_left == 0 && events[count - 1].bytes_sent == 1000);
    mfs_voq_close(queue, &voq);
    mfs_rmlq_destroy(queue);
    mfs_port_close(port);
    mfs_host_close(host);
}

static void watch__records_nothing_unless_asked(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host);

    CHECK(!mfs_event_tracing(host));
    tell(port, 1);
    CHECK_EQ(mfs_event_count(host), 0);
    mfs_event_trace(host, true);
    tell(port, 1);
    mfs_event_trace(host, false);
    tell(port, 1);
    CHECK_EQ(mfs_event_count(host), 1);
    mfs_port_close(port);
    mfs_host_close(host);
}

static void trace__from_the_configuration(void)
{
    struct mfs_host *host;

    setenv("MFS_TRACE", "1", 1);
    host = host_private();
    CHECK(mfs_event_tracing(host));
    mfs_host_close(host);
}

static void watch__a_request_given_up_and_one_unknown(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host);
    const struct mfs_why why = {MFS_WHY_SHED, -7, 1000};
    struct mfs_flow_info flow = {.tag = {mfs_request_key("late"), 0, MFS_STAGE_P2D}};
    struct mfs_facts facts;
    uint64_t next = 0;

    mfs_facts_init(&facts);
    facts.flags = MFS_REQUEST_SHED;
    facts.shed_for = 17;
    CHECK_EQ(mfs_request_put(host, flow.tag.request, "late", &facts), 0);
    mfs_event_trace(host, true);
    tell_of(port, &flow, &why);
    flow.tag.request = 99;
    tell_of(port, &flow, NULL);
    CHECK_EQ(mfs_event_read(host, &next, events, 2, NULL), 2);
    CHECK(events[0].given_up == 1 && strcmp(events[0].name, "late") == 0);
    CHECK(events[0].why == MFS_WHY_SHED && events[0].shed_for == 17);
    CHECK(events[0].slack_ns == -7 && events[0].rate_Bps == 1000);
    CHECK(events[1].why == MFS_WHY_ORDER && events[1].shed_for == MFS_REQUEST_NONE);
    CHECK(events[1].given_up == 0 && events[1].name[0] == '\0');
    CHECK_EQ(events[1].deadline_ns, MFS_TIME_NEVER);
    mfs_port_close(port);
    mfs_host_close(host);
}

static void read__in_pieces_and_behind_the_ring(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host);
    uint64_t next = 0, lost = 0;

    mfs_event_trace(host, true);
    for (uint64_t i = 0; i < 10; i++)
        tell(port, i);
    CHECK_EQ(mfs_event_read(host, &next, events, 4, &lost), 4);
    CHECK(next == 4 && events[3].bytes_left == 3);
    CHECK_EQ(mfs_event_read(host, &next, events, 100, &lost), 6);
    CHECK(next == 10 && events[0].bytes_left == 4);
    CHECK_EQ(mfs_event_read(host, &next, events, 100, &lost), 0);
    CHECK_EQ(lost, 0);
    for (uint64_t i = 10; i < 20 + MFS_EVENTS_MAX; i++)
        tell(port, i);
    CHECK_EQ(mfs_event_read(host, &next, events, MFS_EVENTS_MAX, &lost), MFS_EVENTS_MAX);
    CHECK(lost == 10 && events[0].bytes_left == 20);
    mfs_port_close(port);
    mfs_host_close(host);
}

/* A writer that died between drawing its number and writing: passed by, but not at once. */
static void read__passes_by_what_never_comes(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host);
    uint64_t next = 0, lost = 0;

    mfs_event_trace(host, true);
    atomic_fetch_add(&host->segment->events_count, 1);
    tell(port, 1);
    CHECK_EQ(mfs_event_read(host, &next, events, 100, &lost), 0);
    CHECK_EQ(next, 0);
    for (int i = 0; i < 300; i++)
        tell(port, 2);
    CHECK_EQ(mfs_event_read(host, &next, events, 1000, &lost), 301);
    CHECK_EQ(lost, 1);
    mfs_port_close(port);
    mfs_host_close(host);
}

/* What no process has written is lost, not told: numbers of no kind, a name without an end. */
static void read__what_nobody_has_told(void)
{
    struct mfs_host *host = host_private();
    struct mfs_port *port = port_open(host);
    uint64_t next = 0, lost = 0;
    struct mfs_event event;

    mfs_event_trace(host, true);
    for (uint64_t i = 0; i < 8; i++)
        tell(port, i);
    CHECK_EQ(mfs_event_read(host, &next, events, 8, NULL), 8);
    for (uint64_t i = 0; i < 8; i++) {
        event = events[i];
        event.kind = i == 0 ? MFS_FLOW_COMPLETED + 1 : event.kind;
        event.stage = i == 1 ? UINT16_MAX : event.stage;
        event.direction = i == 2 ? 2 : event.direction;
        event.level = i == 3 ? MFS_LEVELS_MAX : event.level;
        event.level_before = i == 4 ? UINT16_MAX : event.level_before;
        event.why = i == 7 ? MFS_WHY_LAST : event.why;
        memset(event.name, i == 5 ? '\x1b' : 'n', sizeof(event.name));
        memcpy((void *)host->segment->events[i].words, &event, sizeof(event));
    }
    next = 0;
    CHECK_EQ(mfs_event_read(host, &next, events, 8, &lost), 2);
    CHECK(next == 8 && lost == 6);
    CHECK(strspn(events[0].name, "?") == MFS_REQUEST_NAME_MAX);
    CHECK(strspn(events[1].name, "n") == MFS_REQUEST_NAME_MAX);
    host->segment->events_count = 3; /* it has gone back: from there on */
    CHECK_EQ(mfs_event_read(host, &next, events, 7, &lost), 0);
    CHECK_EQ(next, 3);
    host->segment->events_count = UINT64_MAX;
    CHECK_EQ(mfs_event_read(host, &next, events, 7, &lost), 0);
    mfs_port_close(port);
    mfs_host_close(host);
}

#define WRITERS 3
#define EACH 20000

static struct mfs_host *shared;

static void *write_many(void *number)
{
    struct mfs_port *port = port_open(shared);
    struct mfs_flow_info flow = {.tag = {0, (uint32_t)(uintptr_t)number, MFS_STAGE_P2D}};

    for (uint64_t i = 1; i <= EACH; i++) {
        flow.bytes_left = i;
        flow.bytes_sent = 2 * i; /* a torn event would not have both */
        tell_of(port, &flow, NULL);
    }
    mfs_port_close(port);
    return NULL;
}

/* Read or lost, each once, whole, and each writer's in order. */
static void read__beside_many_writers(void)
{
    pthread_t threads[WRITERS];
    uint64_t next = 0, lost = 0, seen = 0, last[WRITERS] = {0};

    shared = host_private();
    mfs_event_trace(shared, true);
    for (uintptr_t i = 0; i < WRITERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, write_many, (void *)i), 0);
    while (next < WRITERS * EACH) {
        const size_t count = mfs_event_read(shared, &next, events, 512, &lost);

        for (size_t i = 0; i < count; i++) {
            CHECK(events[i].layer < WRITERS);
            CHECK_EQ(events[i].bytes_sent, 2 * events[i].bytes_left);
            CHECK(events[i].bytes_left > last[events[i].layer]);
            last[events[i].layer] = events[i].bytes_left;
        }
        seen += count;
    }
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(seen + lost, WRITERS * EACH);
    mfs_host_close(shared);
}

static const struct test tests[] = {
    TEST(watch__a_flow_from_queued_to_left),   TEST(watch__records_nothing_unless_asked),
    TEST(trace__from_the_configuration),       TEST(watch__a_request_given_up_and_one_unknown),
    TEST(read__in_pieces_and_behind_the_ring), TEST(read__passes_by_what_never_comes),
    TEST(read__what_nobody_has_told),          TEST(read__beside_many_writers),
};

TEST_MAIN(tests)
