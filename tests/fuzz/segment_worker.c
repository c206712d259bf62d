/* SPDX-License-Identifier: Apache-2.0 */
/* A process under the fuzzer: one thread sends, the other registers, looks, traces and attaches. */
#include <pthread.h>
#include <sched.h>

#include "core/atomic.h"
#include "host/event.h"
#include "segment.h"

struct worker {
    struct mfs_host *host;
    const char *path;
    struct fuzz_board *board;
    uint64_t random, sender_random; /* of each thread its own */
    uint64_t next_event;
    struct mfs_count_row *row;
};

static void *send_all(void *ctx)
{
    struct worker *worker = ctx;
    struct fuzz_traffic *traffic = fuzz_traffic_make(worker->host);
    uint32_t calm = 0;

    while (calm < FUZZ_CALM_OPERATIONS) {
        const uint32_t finished = fuzz_traffic_step(traffic, &worker->sender_random);

        calm += mfs_get(&worker->board->calm) ? finished : 0;
        sched_yield();
    }
    fuzz_traffic_end(traffic);
    return NULL;
}

static void name_of(uint64_t number, char *name, size_t size)
{
    snprintf(name, size, "name-%" PRIu64, number);
}

static void request_step(struct worker *worker, uint64_t key)
{
    char name[MFS_REQUEST_NAME_MAX + 1];
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.arrival_ns = mfs_now_ns();
    facts.deadline_ns = facts.arrival_ns + (int64_t)(test_random(&worker->random) % 1000000000);
    facts.layers = 32;
    facts.layer_ns = 1000000;
    facts.p2d_layer_ns = 100000;
    facts.p2d_left_bytes = test_random(&worker->random) % 1000000000;
    switch (test_random(&worker->random) % 5) {
    case 0:
        name_of(key, name, sizeof(name));
        (void)mfs_request_put(worker->host, key, name, &facts);
        break;
    case 1:
        (void)mfs_request_progress(worker->host, &key, 1, (uint32_t)key, mfs_now_ns(), 1000, 100);
        break;
    case 2:
        (void)mfs_request_drop(worker->host, key);
        break;
    case 3:
        (void)mfs_request_get(worker->host, key, &facts);
        break;
    default:
        mfs_request_name(worker->host, key, name);
        CHECK(strlen(name) <= MFS_REQUEST_NAME_MAX);
    }
    CHECK(mfs_request_count(worker->host) <= MFS_REQUESTS_MAX);
    (void)mfs_request_version(worker->host);
}

static void port_step(struct worker *worker)
{
    char name[MFS_REQUEST_NAME_MAX + 1];
    struct mfs_port *port;

    name_of(test_random(&worker->random) % 30, name, sizeof(name));
    if (mfs_port_open(worker->host, name, test_random(&worker->random) % 2, &port) == 0) {
        (void)mfs_port_inflight(port, mfs_now_ns());
        mfs_port_close(port);
    }
    if (mfs_port_find(worker->host, name, MFS_EGRESS, &port) == 0) {
        (void)mfs_port_rate_Bps(port);
        (void)mfs_port_window(port);
        (void)mfs_port_chunk(port);
        mfs_port_close(port);
    }
    for (uint32_t i = 0; i <= MFS_PORTS_MAX; i++) {
        if (mfs_port_name_at(worker->host, i, name) == 0)
            CHECK(strlen(name) <= MFS_PORT_NAME_MAX);
    }
}

static void trace_step(struct worker *worker)
{
    struct mfs_event events[64];
    uint64_t lost = 0;
    size_t count;

    mfs_event_trace(worker->host, test_random(&worker->random) % 4 != 0);
    count = mfs_event_read(worker->host, &worker->next_event, events, COUNT(events), &lost);
    for (size_t i = 0; i < count; i++) {
        CHECK(events[i].kind <= MFS_FLOW_COMPLETED && mfs_stage_name(events[i].stage) != NULL);
        CHECK(strnlen(events[i].name, sizeof(events[i].name)) < sizeof(events[i].name));
    }
}

static void look_step(struct worker *worker)
{
    uint64_t total = 0;

    for (int i = 0; i < MFS_COUNT_LAST; i++)
        total += mfs_count_total(worker->host, (enum mfs_counter)i);
    mfs_count(worker->host, MFS_COUNT_CALLS, total & 1);
    if (!worker->row)
        worker->row = mfs_count_row_get(worker->host);
    mfs_count_by(worker->host, worker->row, MFS_COUNT_BYTES, 7);
    CHECK(mfs_host_policy(worker->host)->name != NULL);
    (void)mfs_host_settings_version(worker->host);
}

static void contact_step(struct worker *worker)
{
    static struct mfs_contact found[MFS_CONTACTS_MAX];
    struct mfs_contact told[8] = {0};
    const uint32_t count = (uint32_t)(test_random(&worker->random) % COUNT(told));
    int error;

    for (uint32_t i = 0; i < count; i++)
        told[i].ip[15] = (uint8_t)(test_random(&worker->random) % 4);
    error = mfs_contacts_tell(worker->host, 1 + (uint32_t)(test_random(&worker->random) % 2), told,
                              count);
    CHECK(error == 0 || error == -EAGAIN || error == -ENOSPC);
    CHECK(mfs_contacts(worker->host, found, MFS_CONTACTS_MAX) <= MFS_CONTACTS_MAX);
    mfs_contacts_want(worker->host, test_random(&worker->random) % 2);
    (void)mfs_contacts_wanted(worker->host);
}

/* Another user of the library in this process; what it finds may be refused. */
static void attach_step(struct worker *worker)
{
    struct mfs_host *host;

    if (mfs_host_open(worker->path, &host) == 0)
        mfs_host_close(host);
}

static void control_step(struct worker *worker)
{
    static const char *const policies[] = {"mfs", "mfs_paper", "edf", "fifo", "fair", "off"};

    switch (test_random(&worker->random) % 16) {
    case 0:
        port_step(worker);
        break;
    case 1:
        trace_step(worker);
        break;
    case 2:
        look_step(worker);
        break;
    case 3:
        mfs_process_reap(worker->host);
        break;
    case 4:
        (void)mfs_host_set_policy(worker->host,
                                  policies[test_random(&worker->random) % COUNT(policies)]);
        break;
    case 5:
        if (test_random(&worker->random) % 8 == 0)
            attach_step(worker);
        break;
    case 6:
        contact_step(worker);
        break;
    default:
        request_step(worker, 1 + test_random(&worker->random) % 20);
    }
}

int fuzz_worker(const char *path, struct fuzz_board *board, uint64_t seed)
{
    struct worker worker = {
        .path = path, .board = board, .random = seed, .sender_random = 3 * seed + 1};
    pthread_t sender;
    uint32_t calm = 0;

    CHECK_EQ(mfs_host_open(path, &worker.host), 0);
    CHECK_EQ(pthread_create(&sender, NULL, send_all, &worker), 0);
    mfs_add(&board->attached, 1);
    while (calm < FUZZ_CALM_OPERATIONS) {
        control_step(&worker);
        calm += mfs_get(&board->calm);
        sched_yield();
    }
    CHECK_EQ(pthread_join(sender, NULL), 0);
    mfs_count_row_put(worker.row);
    mfs_host_close(worker.host);
    return 0;
}
