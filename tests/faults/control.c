/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane and a sender under faults by table: open and close a segment, requests, policy,
 * ports, senders, events, counters, a look from outside; as the shim and Python call them.
 *
 *     faults_control FOLDER [all]    all: and all calls behind the one that fails
 *
 * Each call answers 0 or one of the errors that its header names; what was opened can be closed,
 * and every operation that was pushed comes out of its sender once.
 */
#include "faults.h"
#include "host/event.h"
#include "host/look.h"
#include "host/sender.h"

#define OPERATIONS 8u
#define BYTES UINT64_C(100000)

static char path[256], stats[256];

/* 0, or an error that only a fault may bring. */
static bool answers(int error, bool faulty, int line)
{
    if (error && !(faulty && fault_met() && error < 0 && error > -4096))
        FAIL("the call in line %d answers %d%s", line, error, faulty ? "" : ", later");
    return error == 0;
}

#define good(error) answers(error, faulty, __LINE__)

static void requests(struct mfs_host *host, bool faulty)
{
    const uint64_t keys[] = {mfs_request_key("one"), mfs_request_key("two")};
    const char *const names[] = {"one", "two"};
    char name[MFS_REQUEST_NAME_MAX + 1];
    struct mfs_facts facts[COUNT(keys)], read;

    for (size_t i = 0; i < COUNT(facts); i++) {
        mfs_facts_init(&facts[i]);
        facts[i].deadline_ns = (int64_t)(i + 1) * 1000000;
    }
    if (!good(mfs_request_put(host, keys[0], names[0], &facts[0])) ||
        !good(mfs_request_put_all(host, keys, names, facts, COUNT(keys))))
        return;
    CHECK_EQ(mfs_request_get(host, keys[1], &read), 0);
    CHECK_EQ(read.deadline_ns, facts[1].deadline_ns);
    mfs_request_name(host, keys[0], name);
    CHECK(strcmp(name, "one") == 0);
    for (size_t i = 0; i < COUNT(keys); i++)
        (void)good(mfs_request_drop(host, keys[i]));
}

/* All that is pushed comes out, whatever fails. */
static void send_all(struct mfs_sender *sender, bool faulty)
{
    struct mfs_destination destination = {0};
    struct mfs_op operations[OPERATIONS] = {0};
    uint64_t pushed = 0, out = 0;
    struct mfs_chunk chunk;

    if (!good(mfs_sender_open(sender, &destination, NULL)))
        return;
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        const struct mfs_tag tag = {i % 3, i, MFS_STAGE_P2D};

        operations[i].length = BYTES;
        if (good(mfs_sender_push(sender, &operations[i], &destination, &tag, mfs_now_ns())))
            pushed += BYTES;
    }
    for (unsigned round = 0; out < pushed; round++) {
        CHECK(round < 10000);
        if (mfs_sender_next(sender, 0, mfs_now_ns(), &chunk) < 0)
            continue;
        out += chunk.length;
        mfs_sender_done(sender, &destination, chunk.length, mfs_now_ns());
    }
    CHECK_EQ(out, pushed);
    CHECK_EQ(mfs_sender_operations(sender), 0);
    mfs_sender_close(sender, &destination);
}

static void ports(struct mfs_host *host, bool faulty)
{
    struct mfs_port *port = NULL, *found = NULL;
    struct mfs_sender *sender = NULL;
    char name[MFS_PORT_NAME_MAX + 1];

    if (good(mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &sender))) {
        if (good(mfs_port_open(host, "nic", MFS_EGRESS, &port)))
            CHECK(mfs_port_window(port) > 0);
        if (good(mfs_port_find(host, "nic", MFS_EGRESS, &found)))
            (void)good(mfs_port_name_at(host, 0, name));
        send_all(sender, faulty);
    }
    mfs_sender_leave(sender);
    if (found)
        mfs_port_close(found);
    if (port)
        mfs_port_close(port);
}

static void watch(struct mfs_host *host, bool faulty)
{
    static struct mfs_look look;
    static struct mfs_event events[64];
    uint64_t next = 0, lost = 0;

    mfs_event_trace(host, true);
    ports(host, faulty);
    (void)mfs_event_read(host, &next, events, COUNT(events), &lost);
    mfs_event_trace(host, false);
    if (*mfs_host_path(host) && good(mfs_look_take(path, &look)))
        CHECK(look.process_count >= 1);
}

static void run(bool faulty)
{
    struct mfs_host *host = NULL, *own = NULL;

    if (good(mfs_host_open(path, &host))) {
        requests(host, faulty);
        (void)good(mfs_host_set_policy(host, "edf"));
        (void)good(mfs_host_set_policy(host, "mfs"));
        watch(host, faulty);
        mfs_count(host, MFS_COUNT_CALLS, 1);
        mfs_stats_write(host);
        mfs_host_close(host);
    } else
        CHECK(host == NULL);
    if (good(mfs_host_open_private(&own))) {
        requests(own, faulty);
        ports(own, faulty);
        mfs_host_close(own);
    }
    host = mfs_host_get(); /* whatever happens, there is one, or none for want of memory */
    if (host) {
        requests(host, faulty);
        ports(host, faulty);
    } else
        CHECK(faulty && fault_met());
}

static void set_up(void)
{
    run(false);
}

int main(int argc, char **argv)
{
    static const struct scenario scenarios[] = {
        {"first", NULL, run},
        {"later", set_up, run},
    };
    unsigned bad = 0;

    if (argc < 2)
        return 2;
    snprintf(path, sizeof(path), "%s/segment", argv[1]);
    snprintf(stats, sizeof(stats), "%s/stats", argv[1]);
    setenv("MFS_SEGMENT", path, 1);
    setenv("MFS_STATS", stats, 1);
    setenv("MFS_LOG", "0", 1);
    for (size_t i = 0; i < COUNT(scenarios); i++)
        bad += faults_run(&scenarios[i], argc > 2);
    return bad > 0;
}
