/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of operations, as the input says, through senders of one port and over a transport that
 * copies bytes. The first byte says whether it is three senders of a private segment
 * (host/sender.h), or one of the core alone with settings of the input's choice.
 *
 *   every byte arrives at its place once, or was taken out in time
 *   chunks of an operation ascend; operations of one tag to one destination leave as they came
 *   what senders say of themselves is what the transport has counted
 *   in the end, when all that is in flight arrives, everything that waits is sent
 */
#include <errno.h>

#include "host/attach.h"
#include "host/event.h"
#include "host/sender.h"
#include "input.h"

#define SENDERS 3u
#define DESTINATIONS 4u
#define OPERATIONS 24u
#define CHUNKS 256u
#define LONGEST 20000u
#define END_ROUNDS 5000u

struct operation {
    struct mfs_op op;
    struct mfs_tag tag;
    unsigned sender, destination;
    uint64_t number; /* of its push */
    uint64_t length, sent, arrived;
    bool used, queued;
    uint8_t to[LONGEST];
};

/* A chunk under way; operation NULL: it went without the queue. */
struct flying {
    struct operation *operation;
    uint64_t offset, bytes;
};

struct line {
    struct mfs_destination destination;
    struct flying flying[CHUNKS];
    unsigned first, count;
    uint64_t bytes;
};

static struct mfs_host *host;
static struct mfs_sender *senders[SENDERS];
static struct line lines[SENDERS][DESTINATIONS];
static struct operation operations[OPERATIONS];
static uint8_t source[LONGEST + 256];
static uint64_t pushes, done_bytes[SENDERS];
static unsigned senders_count;
/* There are as many as operations, so that no tag is made coarser; and it was always so: while
 * policy off is set all are one flow. */
static bool tags_are_flows;

/* --- set up --- */

static int64_t now_of(void *ctx, bool exact)
{
    (void)ctx;
    (void)exact;
    return mfs_now_ns();
}

static void lines_open(unsigned at)
{
    for (unsigned i = 0; i < DESTINATIONS; i++) {
        memset(&lines[at][i], 0, sizeof(lines[at][i]));
        NEED(mfs_sender_open(senders[at], &lines[at][i].destination, NULL) == 0);
    }
}

static void join(unsigned at)
{
    NEED(mfs_sender_join(host, "nic", MFS_EGRESS, NULL, &senders[at]) == 0);
    done_bytes[at] = senders[at]->told.done_bytes;
    lines_open(at);
}

static void core_alone(struct input *input)
{
    struct mfs_sender_config config;

    mfs_sender_config_init(&config);
    config.queue.policy = mfs_policy_at(input_below(input, 10));
    config.queue.params.rate_Bps = input_number(input, 4);
    config.queue.params.levels =
        MFS_LEVELS_MIN + (uint32_t)input_below(input, MFS_LEVELS_MAX - MFS_LEVELS_MIN);
    config.queue.max_flows = 1 + (uint32_t)input_below(input, 64);
    tags_are_flows = config.queue.max_flows >= OPERATIONS;
    config.window.window_bytes = input_number(input, 2);
    config.window.chunk_min_bytes = 128 + input_number(input, 1) * 64;
    config.untagged_permille = input_below(input, 1001);
    config.pace_Bps = input_below(input, 4) ? 0 : 1000000 + input_number(input, 4);
    config.lease_ns = 1000000 * (1 + (int64_t)input_below(input, 100));
    config.rate_known = input_below(input, 2);
    config.others.now = now_of;
    NEED(mfs_sender_create(&config, &senders[0]) == 0);
    lines_open(0);
}

static void begin(struct input *input)
{
    fuzz_clock_ns = INT64_C(1000000000000);
    pushes = 0;
    for (unsigned i = 0; i < OPERATIONS; i++) /* all but `to` */
        memset(&operations[i], 0, offsetof(struct operation, to));
    memset(done_bytes, 0, sizeof(done_bytes));
    senders_count = input_below(input, 2) ? SENDERS : 1;
    tags_are_flows = true;
    NEED(mfs_host_open_private(&host) == 0);
    if (senders_count == 1)
        core_alone(input);
    for (unsigned i = 0; senders_count > 1 && i < senders_count; i++)
        join(i);
}

/* --- the transport --- */

static void fly(struct line *line, struct operation *operation, uint64_t offset, uint64_t bytes)
{
    NEED(line->count < CHUNKS);
    line->flying[(line->first + line->count++) % CHUNKS] =
        (struct flying){operation, offset, bytes};
    line->bytes += bytes;
}

static void finish_if_over(struct operation *operation)
{
    if (!operation->queued && operation->arrived == operation->sent) {
        NEED(memcmp(operation->to, source + operation->number % 256, operation->sent) == 0);
        operation->used = false;
    }
}

/* The oldest chunk on the way to a destination is there. */
static void arrive(unsigned at, unsigned to, bool cheap, bool keep)
{
    struct line *line = &lines[at][to];
    struct flying flying;

    if (line->count == 0)
        return;
    flying = line->flying[line->first];
    line->first = (line->first + 1) % CHUNKS;
    line->count--;
    line->bytes -= flying.bytes;
    done_bytes[at] += flying.bytes;
    if (flying.operation) {
        memcpy(flying.operation->to + flying.offset,
               source + flying.operation->number % 256 + flying.offset, flying.bytes);
        flying.operation->arrived += flying.bytes;
        finish_if_over(flying.operation);
    }
    if (cheap)
        mfs_sender_done_now(senders[at], &line->destination, flying.bytes, keep);
    else
        mfs_sender_done(senders[at], &line->destination, flying.bytes, mfs_now_ns());
}

/* --- the steps --- */

static struct operation *operation_free(void)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        if (!operations[i].used)
            return &operations[i];
    }
    return NULL;
}

static void push(struct input *input, unsigned at)
{
    struct operation *operation = operation_free();
    int error;

    if (!operation)
        return;
    operation->op = (struct mfs_op){.length = input_number(input, 2) % (LONGEST + 1)};
    operation->tag = (struct mfs_tag){input_below(input, 8), (uint32_t)input_below(input, 4),
                                      (uint32_t)input_below(input, 5)};
    operation->sender = at;
    operation->destination = (unsigned)input_below(input, DESTINATIONS);
    operation->length = operation->op.length;
    operation->sent = operation->arrived = 0;
    operation->number = pushes++;
    error =
        mfs_sender_push(senders[at], &operation->op, &lines[at][operation->destination].destination,
                        &operation->tag, mfs_now_ns());
    if (operation->length == 0) {
        NEED(error == -EINVAL);
        return;
    }
    NEED(error == 0 || (error == -ENOSPC && senders_count == 1));
    if (error)
        return;
    NEED(mfs_sender_push(senders[at], &operation->op,
                         &lines[at][operation->destination].destination, &operation->tag,
                         mfs_now_ns()) == -EINVAL);
    operation->used = operation->queued = true;
}

/* Nothing that was pushed before it, with its tag and to where it goes, still waits. */
static void check_turn(const struct operation *chosen)
{
    for (unsigned i = 0; tags_are_flows && i < OPERATIONS; i++) {
        const struct operation *other = &operations[i];

        NEED(!other->queued || other->number >= chosen->number || other->sender != chosen->sender ||
             other->destination != chosen->destination ||
             memcmp(&other->tag, &chosen->tag, sizeof(chosen->tag)) != 0);
    }
}

static int next(unsigned at, uint64_t most)
{
    struct operation *operation;
    struct mfs_chunk chunk;
    struct line *line;
    int error;

    for (unsigned to = 0; to < DESTINATIONS; to++) {
        if (lines[at][to].count >= CHUNKS / 2)
            return -EBUSY; /* the transport has no room */
    }
    error = mfs_sender_next(senders[at], most, mfs_now_ns(), &chunk);
    NEED((error == -EINVAL) == (most > 0 && most < MFS_CHUNK_ALIGN));
    if (error)
        return error;
    operation = (struct operation *)(void *)chunk.op; /* its first field */
    NEED(operation >= operations && operation < operations + OPERATIONS && operation->queued);
    NEED(operation->sender == at && chunk.offset == operation->sent && chunk.length > 0);
    NEED(chunk.length <= operation->length - operation->sent &&
         (most == 0 || chunk.length <= most));
    line = (struct line *)(void *)chunk.voq; /* first of its destination, first of the line */
    NEED(line == &lines[at][operation->destination]);
    NEED(line->destination.state != MFS_DESTINATION_STALLED);
    check_turn(operation);
    operation->sent += chunk.length;
    operation->queued = operation->sent < operation->length;
    NEED(chunk.last == !operation->queued);
    fly(line, operation, chunk.offset, chunk.length);
    return 0;
}

static void express(struct input *input, unsigned at)
{
    struct line *line = &lines[at][input_below(input, DESTINATIONS)];
    const uint64_t bytes = 1 + input_number(input, 2) % 8192;

    if (line->count >= CHUNKS / 2 ||
        mfs_sender_express(senders[at], &line->destination, bytes, input_number(input, 2)) != 0)
        return;
    for (unsigned i = 0; i < OPERATIONS; i++)
        NEED(!operations[i].queued || operations[i].sender != at ||
             lines[at][operations[i].destination].destination.state != MFS_DESTINATION_OPEN);
    fly(line, NULL, 0, bytes);
    if (input_below(input, 8) == 0) {
        mfs_sender_overdraw(senders[at], &line->destination, 100);
        fly(line, NULL, 0, 100);
    }
}

static void take_out(struct operation *operation)
{
    const int error = mfs_sender_remove(senders[operation->sender], &operation->op, mfs_now_ns());

    NEED(error == (operation->queued ? 0 : -ENOENT));
    operation->queued = false;
    finish_if_over(operation);
}

static void line_close(unsigned at, unsigned to)
{
    struct line *line = &lines[at][to];

    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct operation *operation = &operations[i];

        if (!operation->used || operation->sender != at || operation->destination != to)
            continue;
        if (operation->queued)
            NEED(mfs_sender_remove(senders[at], &operation->op, mfs_now_ns()) == 0);
        operation->used = operation->queued = false; /* what is under way is forgotten */
    }
    mfs_sender_close(senders[at], &line->destination);
    memset(line, 0, sizeof(*line));
}

static void leave(unsigned at)
{
    for (unsigned i = 0; i < DESTINATIONS; i++)
        line_close(at, i);
    if (senders_count > 1)
        mfs_sender_leave(senders[at]);
    else
        mfs_sender_destroy(senders[at]);
}

static void request(struct input *input)
{
    const uint64_t key = input_below(input, 8);
    const int64_t now_ns = mfs_now_ns();
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    switch (input_below(input, 4)) {
    case 0:
        (void)mfs_request_drop(host, key);
        return;
    case 1:
        NEED(mfs_request_progress(host, &key, 1, (uint32_t)input_below(input, 40), now_ns,
                                  (int64_t)input_number(input, 4), 0) >= 0);
        return;
    case 2: /* anything */
        facts.deadline_ns = (int64_t)input_limit(input);
        facts.next_start_ns = (int64_t)input_limit(input);
        facts.layer_ns = (int64_t)input_limit(input);
        facts.p2d_layer_ns = (int64_t)input_limit(input);
        facts.p2d_left_bytes = input_limit(input);
        facts.flags = (uint32_t)input_limit(input);
        facts.layer_now = (uint32_t)input_limit(input);
        break;
    default: /* what can be */
        facts.deadline_ns = now_ns + (int64_t)input_number(input, 4);
        facts.start_ns = now_ns;
        facts.layer_ns = (int64_t)input_number(input, 3);
    }
    facts.arrival_ns = now_ns;
    facts.layers = (uint32_t)input_below(input, 64);
    NEED(mfs_request_put(host, key, "request", &facts) == (key ? 0 : -EINVAL));
}

static void set_policy(struct input *input)
{
    const struct mfs_policy *policy = mfs_policy_at(input_below(input, 10));

    if (!policy || senders_count == 1)
        return;
    tags_are_flows &= !policy->ignores_tags;
    NEED(mfs_host_set_policy(host, policy->name) == 0);
    for (unsigned i = 0; i < senders_count; i++)
        mfs_sender_follow(senders[i]);
}

static void trace(struct input *input)
{
    struct mfs_event events[16];
    uint64_t from = 0;

    mfs_event_trace(host, input_below(input, 2));
    for (size_t count; (count = mfs_event_read(host, &from, events, COUNT(events), NULL)) > 0;)
        for (size_t i = 0; i < count; i++)
            NEED(events[i].kind <= MFS_FLOW_COMPLETED && mfs_stage_name(events[i].stage));
}

static void step(struct input *input)
{
    static const int64_t spans_ns[] = {
        1,        1000,      100000,     1000000,  5000000,
        25000000, 100000000, 1000000000, 10000000, INT64_C(100000000000)};
    const uint64_t what = input_below(input, 32);
    const unsigned at = (unsigned)input_below(input, senders_count);

    if (what < 8)
        push(input, at);
    else if (what < 14)
        (void)next(at, 0);
    else if (what < 22)
        arrive(at, (unsigned)input_below(input, DESTINATIONS), what % 2, input_below(input, 2));
    else if (what < 24)
        express(input, at);
    else if (what == 24)
        take_out(&operations[input_below(input, OPERATIONS)]);
    else if (what == 25)
        request(input);
    else if (what < 29)
        fuzz_clock_ns += spans_ns[input_below(input, COUNT(spans_ns))];
    else if (what == 29)
        (void)next(at, input_number(input, 1));
    else if (what == 30)
        set_policy(input);
    else
        switch (input_below(input, 5)) {
        case 0:
            trace(input);
            break;
        case 1:
            line_close(at, 0);
            NEED(mfs_sender_open(senders[at], &lines[at][0].destination, NULL) == 0);
            break;
        case 2:
            if (senders_count > 1) {
                leave(at);
                join(at);
            }
            break;
        case 3:
            (void)mfs_sender_restless(senders[at]);
            (void)mfs_sender_chunk(senders[at]);
            break;
        default:
            mfs_sender_publish(senders[at], mfs_now_ns());
        }
}

/* --- what holds after each step, and in the end --- */

static void check_counts(void)
{
    for (unsigned at = 0; at < senders_count; at++) {
        uint64_t queued = 0, inflight = 0;

        for (unsigned i = 0; i < OPERATIONS; i++)
            queued += operations[i].queued && operations[i].sender == at;
        for (unsigned i = 0; i < DESTINATIONS; i++) {
            inflight += lines[at][i].bytes;
            NEED(lines[at][i].destination.inflight_bytes == lines[at][i].bytes);
        }
        NEED(mfs_sender_operations(senders[at]) == queued);
        NEED(mfs_sender_inflight(senders[at]) == inflight);
        NEED(senders[at]->told.done_bytes == done_bytes[at]);
    }
}

static void send_all(void)
{
    for (unsigned round = 0; round < END_ROUNDS; round++) {
        bool waits = false;

        for (unsigned at = 0; at < senders_count; at++) {
            for (unsigned to = 0; to < DESTINATIONS; to++) {
                while (lines[at][to].count > 0)
                    arrive(at, to, false, false);
            }
            while (next(at, 0) == 0)
                ;
            waits |= mfs_sender_operations(senders[at]) > 0;
        }
        if (!waits)
            break;
        fuzz_clock_ns += 1000000;
    }
    for (unsigned at = 0; at < senders_count; at++) {
        for (unsigned to = 0; to < DESTINATIONS; to++) {
            while (lines[at][to].count > 0)
                arrive(at, to, false, false);
        }
    }
    for (unsigned i = 0; i < OPERATIONS; i++)
        NEED(!operations[i].used); /* all was sent, and arrived */
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    setenv("MFS_LOG", "0", 1);
    setenv("MFS_WINDOW", "32k", 1);
    setenv("MFS_TEST_CHUNK", "4k", 1);
    for (size_t i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i * 31 + i / 251);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    begin(&input);
    while (input.left > 0) {
        step(&input);
        check_counts();
    }
    send_all();
    check_counts();
    for (unsigned at = 0; at < senders_count; at++)
        leave(at);
    mfs_host_close(host);
    return 0;
}
