/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words of a segment come from the input, then everything that reads it runs: requests, ports,
 * senders, counters, events, who lives. Three forms, by the first byte: a private segment; a file
 * to which a second user attaches after the change; and a file that holds the input before
 * anybody opens it.
 *
 * Nothing that is read leads outside, an answer is one that the header names, and a sender of
 * ours sends what waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/contact.h"
#include "host/event.h"
#include "host/sender.h"
#include "input.h"

#define LEASE_NS INT64_C(20000000)

static char path[128];

/* --- what is changed --- */

#define SPAN(field) {offsetof(struct mfs_segment, field), sizeof(((struct mfs_segment *)0)->field)}

static void change(struct input *input, struct mfs_segment *segment)
{
    static const struct {
        size_t at, size;
    } spans[] = {
        {0, offsetof(struct mfs_segment, processes)},
        SPAN(processes[0]),
        SPAN(processes[1]),
        SPAN(port_users),
        {offsetof(struct mfs_segment, ports[0]), 1024},
        {offsetof(struct mfs_segment, ports[0].state), sizeof(struct mfs_port_state)},
        {offsetof(struct mfs_segment, ports[1]), 256},
        SPAN(tracing),
        SPAN(events_count),
        SPAN(events[0]),
        SPAN(requests[0]),
        SPAN(ports),
        SPAN(requests),
        SPAN(events),
        {offsetof(struct mfs_segment, contacts), 256},
        SPAN(contacts),
    };
    const size_t which = input_below(input, COUNT(spans));
    const size_t at =
        (spans[which].at + input_number(input, 2) * 8 % spans[which].size) & ~(size_t)7;
    _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)((char *)segment + at);
    uint64_t value = input_limit(input);

    if (input_below(input, 4) == 0) /* about now */
        value = (uint64_t)fuzz_clock_ns + input_number(input, 4) - UINT32_MAX / 2;
    mfs_set(word, value);
}

/* The cell of the one request, the same in all segments: few inputs would hit it by chance. */
static uint32_t request_cell;

static void change_request(struct input *input, struct mfs_segment *segment)
{
    struct mfs_request_cell *cell = &segment->requests[request_cell];
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)cell;

    mfs_set(&words[input_below(input, sizeof(*cell) / sizeof(*words))], input_limit(input));
}

/* --- who reads it --- */

static void read_requests(struct mfs_host *host, uint64_t key)
{
    char name[MFS_REQUEST_NAME_MAX + 1];
    struct mfs_facts facts;
    int error;

    mfs_facts_init(&facts);
    error = mfs_request_put(host, key, "name", &facts);
    NEED(error == 0 || error == -ENOSPC || error == -EAGAIN);
    error = mfs_request_get(host, key, &facts);
    NEED(error == 0 || error == -ENOENT);
    NEED(mfs_request_progress(host, &key, 1, 3, 1, 1, 1) <= 1);
    mfs_request_name(host, key, name);
    NEED(memchr(name, '\0', sizeof(name)));
    NEED(mfs_request_count(host) <= MFS_REQUESTS_MAX);
    error = mfs_request_drop(host, key);
    NEED(error == 0 || error == -ENOENT || error == -EAGAIN);
}

static void read_ports(struct mfs_host *host)
{
    char name[MFS_PORT_NAME_MAX + 1];
    struct mfs_port *port;

    for (uint32_t i = 0; i <= MFS_PORTS_MAX; i++) {
        if (mfs_port_name_at(host, i, name) == 0)
            NEED(memchr(name, '\0', sizeof(name)));
    }
    if (mfs_port_find(host, "nic", MFS_EGRESS, &port) == 0) {
        (void)mfs_port_rate_Bps(port);
        NEED(mfs_port_window(port) >= mfs_port_chunk(port) &&
             mfs_port_chunk(port) >= MFS_CHUNK_ALIGN);
        (void)mfs_port_inflight(port, fuzz_clock_ns);
        (void)mfs_port_stalled(port);
        mfs_port_close(port);
    }
}

static void read_events(struct mfs_host *host)
{
    struct mfs_event events[64];
    uint64_t next = 0, lost = 0;
    size_t count;

    (void)mfs_event_tracing(host);
    for (int rounds = 0; rounds < 3; rounds++) {
        count = mfs_event_read(host, &next, events, COUNT(events), &lost);
        NEED(count <= COUNT(events));
        for (size_t i = 0; i < count; i++) {
            NEED(events[i].kind <= MFS_FLOW_COMPLETED && mfs_stage_name(events[i].stage));
            NEED(memchr(events[i].name, '\0', sizeof(events[i].name)));
        }
    }
}

static void read_contacts(struct mfs_host *host)
{
    const struct mfs_contact told[] = {{{1}, 0}, {{2}, 0}};
    static struct mfs_contact contacts[MFS_CONTACTS_MAX];
    int error;

    (void)mfs_contacts_wanted(host);
    NEED(mfs_contacts(host, contacts, MFS_CONTACTS_MAX) <= MFS_CONTACTS_MAX);
    error = mfs_contacts_tell(host, MFS_CONTACT_UCX, told, COUNT(told));
    NEED(error == 0 || error == -EAGAIN || error == -ENOSPC);
    mfs_contacts_want(host, true);
    (void)mfs_contacts_version(host);
}

static void read_counters(struct mfs_host *host)
{
    struct mfs_count_row *row = mfs_count_row_get(host);

    for (int i = 0; i < MFS_COUNT_LAST; i++) {
        (void)mfs_count_total(host, (enum mfs_counter)i);
        (void)mfs_count_process(host, (enum mfs_counter)i);
    }
    mfs_count_by(host, row, MFS_COUNT_CALLS, 1);
    mfs_count_row_put(row);
    NEED(mfs_host_policy(host)->name);
    (void)mfs_host_settings_version(host);
    mfs_process_reap(host);
}

/* Until all of an operation is sent, while the clock goes on. */
static void send_one(struct mfs_sender *sender, struct mfs_destination *destination, uint64_t key)
{
    const struct mfs_tag tag = {key, 1, MFS_STAGE_P2D};
    struct mfs_op op = {.length = 3000};
    struct mfs_chunk chunk;
    uint64_t sent = 0;

    NEED(mfs_sender_push(sender, &op, destination, &tag, mfs_now_ns()) == 0);
    for (int rounds = 0; sent < op.length; rounds++) {
        NEED(rounds < 5000);
        if (mfs_sender_next(sender, 0, mfs_now_ns(), &chunk) == 0) {
            NEED(chunk.offset == sent && chunk.length > 0 && chunk.length <= op.length - sent);
            sent += chunk.length;
            mfs_sender_done(sender, destination, chunk.length, mfs_now_ns());
        }
        fuzz_clock_ns += LEASE_NS;
    }
    if (mfs_sender_express(sender, destination, 100, 0) == 0)
        mfs_sender_done_now(sender, destination, 100, false);
    mfs_sender_follow(sender);
}

/* A sender that has joined before; NULL: now, if it can. */
static void send_and_read(struct mfs_host *host, struct mfs_sender *sender,
                          struct mfs_destination *destination, uint64_t key)
{
    struct mfs_destination own = {.user = NULL};
    struct mfs_sender *joined = NULL;

    if (sender)
        send_one(sender, destination, key);
    if (mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &joined) == 0) {
        NEED(mfs_sender_open(joined, &own, NULL) == 0);
        send_one(joined, &own, key);
        mfs_sender_close(joined, &own);
        mfs_sender_leave(joined);
    }
    read_requests(host, key);
    read_ports(host);
    read_events(host);
    read_contacts(host);
    read_counters(host);
}

/* --- the three forms --- */

/* In the middle of work: a sender has joined, requests are there, and flows were recorded. */
static void changed(struct input *input, struct mfs_host *host, const char *attach_to)
{
    struct mfs_destination destination = {.user = NULL};
    struct mfs_sender *sender;
    struct mfs_facts facts;
    struct mfs_host *second = NULL;
    const uint64_t key = 7;

    mfs_facts_init(&facts);
    mfs_event_trace(host, true);
    NEED(mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &sender) == 0);
    NEED(mfs_sender_open(sender, &destination, NULL) == 0);
    NEED(mfs_request_put(host, key, "seven", &facts) == 0);
    while (mfs_get(&host->segment->requests[request_cell].key) != key)
        request_cell++;
    send_one(sender, &destination, key);
    while (input->left > 0) {
        for (uint64_t words = 1 + input_below(input, 8); words > 0; words--) {
            if (input_below(input, 4) == 0)
                change_request(input, host->segment);
            else
                change(input, host->segment);
        }
        if (attach_to && !second && mfs_host_open(attach_to, &second) != 0)
            second = NULL;
        send_and_read(second ? second : host, sender, &destination,
                      input_below(input, 2) ? key : 8);
    }
    mfs_sender_close(sender, &destination);
    mfs_sender_leave(sender);
    mfs_host_close(second);
    mfs_host_close(host);
}

/* What lies there first: the input, and zeros up to some size. */
static void found(struct input *input)
{
    struct mfs_host *host;
    const uint64_t form = input_below(input, 4);
    const off_t size = form == 0   ? (off_t)input->left
                       : form == 1 ? (off_t)sizeof(struct mfs_segment)
                                   : (off_t)input_number(input, 3);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int error;

    NEED(fd >= 0 && write(fd, input->at, input->left) == (ssize_t)input->left);
    NEED(ftruncate(fd, size) == 0);
    close(fd);
    error = mfs_host_open(path, &host);
    NEED(error == 0 || error == -EPROTO);
    if (!error) {
        send_and_read(host, NULL, NULL, 7);
        mfs_host_close(host);
    }
    unlink(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    setenv("MFS_LOG", "0", 1);
    setenv("MFS_TEST_CHUNK", "1k", 1);
    setenv("MFS_WINDOW", "4k", 1);
    snprintf(path, sizeof(path), "/dev/shm/mfs-fuzz-%d", (int)getpid());
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct mfs_host *host;

    fuzz_clock_ns = INT64_C(1000000000000);
    switch (input_below(&input, 16)) {
    case 0:
        found(&input);
        break;
    case 1:
        NEED(mfs_host_open(path, &host) == 0);
        changed(&input, host, path);
        unlink(path);
        break;
    default:
        NEED(mfs_host_open_private(&host) == 0);
        changed(&input, host, NULL);
    }
    return 0;
}
