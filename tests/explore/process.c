/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process: it posts operations, sends, and hears what has left. And what must hold:
 *
 *   an operation's bytes are posted in order and once, and each is told to have left once
 *   window: open bytes of those that move <= window + more + a chunk a sender
 *   order:  nobody posts while another that moves has told, all along, that it has a better one
 *   stall:  a destination whose bytes do not move is sent no more
 *   share:  n untagged bytes leave before n * 1000 / share + a chunk a sender
 *   who has looked at its queue has told the truth
 */
#include "world.h"

#include <errno.h>
#include <string.h>

#include "core/atomic.h"
#include "core/trust.h"

#include "../c/rival.h"

#define CHUNK_MAX machine.window.chunk_max_bytes

static struct process *self(void)
{
    return &world.processes[machine.current - machine.processes];
}

/* Without being a point where others run: it is the test that looks. */
#define peek(word) atomic_load_explicit((word), memory_order_relaxed)

static bool counts(const struct process *at, int64_t now_ns)
{
    return at->joined && mfs_stamp_fresh(peek(&at->cell->stamp_ns), now_ns, machine.config.lease);
}

static uint64_t open_bytes(void)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < world.count; i++) {
        const struct process *at = &world.processes[i];

        if (counts(at, machine.now_ns))
            bytes += at->sender->destinations.in[MFS_DESTINATION_OPEN].bytes;
    }
    return bytes;
}

static void window_grown(void)
{
    const uint64_t bytes = open_bytes();

    if (world.window_base < bytes)
        world.window_base = bytes;
}

/* --- what it tells --- */

static void untagged_starts(void)
{
    bool waits = false;

    for (unsigned i = 0; i < world.count; i++) {
        const struct process *at = &world.processes[i];

        waits |= at->joined && at->sender->told.untagged_rank != MFS_RANK_NONE;
    }
    if (!waits)
        world.sent = world.untagged = 0;
}

static void publish(void *ctx, const struct mfs_told *told, int64_t now_ns)
{
    struct process *at = self();
    const bool was_counted = now_ns - peek(&at->cell->stamp_ns) < machine.config.lease / 2;

    untagged_starts();
    if (told->rank > at->told)
        at->told = told->rank;
    for (unsigned i = 0; i < world.count; i++) {
        struct process *other = &world.processes[i];

        if (told->rank > other->seen[at->index])
            other->seen[at->index] = told->rank;
    }
    at->publish(ctx, told, now_ns);
    at->told = told->rank;
    if (!was_counted)
        window_grown();
    if (!at->looking)
        return;
    at->looking = false;
    at->looked_ns = now_ns;
    for (unsigned i = 0; i < world.count; i++) {
        const struct process *other = &world.processes[i];

        at->seen[i] = other != at && counts(other, now_ns) ? other->told : MFS_RANK_NONE;
    }
}

static bool ready(void *ctx)
{
    ((struct process *)ctx)->looking = true;
    return world.flights_count + PROCESSES < FLIGHTS;
}

/* --- what it sends --- */

static void check_window(const struct process *at)
{
    const uint64_t bytes = open_bytes();
    uint64_t window = world.window_base, chunks = 0;

    for (unsigned i = 0; i < world.count; i++) {
        const struct mfs_sender *sender = world.processes[i].sender;

        if (!world.processes[i].joined)
            continue;
        chunks += CHUNK_MAX;
        if (window < sender->window.window_bytes + sender->window.more_bytes)
            window = sender->window.window_bytes + sender->window.more_bytes;
    }
    if (bytes > window + chunks)
        FAIL("process %u posts: %llu bytes are open in a window of %llu", at->index,
             (unsigned long long)bytes, (unsigned long long)window);
}

static void check_order(const struct process *at, const struct mfs_chunk *chunk)
{
    for (unsigned i = 0; i < world.count; i++) {
        const struct process *other = &world.processes[i];

        if (other != at && at->seen[i] < chunk->rank && counts(other, at->looked_ns))
            FAIL("process %u posts rank %llx, and process %u has told %llx", at->index,
                 (unsigned long long)chunk->rank, i, (unsigned long long)at->seen[i]);
    }
}

static void check_share(const struct process *at, bool untagged, uint64_t bytes)
{
    const uint64_t share = machine.config.untagged_share;

    world.sent += bytes;
    world.untagged += untagged ? bytes : 0;
    if (share == 0 || world.faults != 0)
        return;
    if (world.sent * share >
        (world.untagged + CHUNK_MAX) * 1000 + (world.count + 1) * CHUNK_MAX * share)
        FAIL("process %u posts: of %llu bytes %llu were untagged", at->index,
             (unsigned long long)world.sent, (unsigned long long)world.untagged);
}

static void check_stall(const struct to *to)
{
    CHECK(to->at.state != MFS_DESTINATION_STALLED);
    if (!(world.faults & (FAULT_STOPPED | FAULT_SLOW | FAULT_LATE)) && to->under_way > 0 &&
        machine.now_ns - to->moved_ns > 2 * machine.config.lease)
        FAIL("process %u posts to one that does not move", to->of->index);
}

static void post(void *ctx, const struct mfs_chunk *chunk)
{
    struct process *at = ctx;
    struct operation *operation = (struct operation *)(void *)chunk->op;
    const bool garbage = world.faults & FAULT_GARBAGE;

    CHECK(chunk->offset == operation->covered);
    CHECK(chunk->length > 0 && chunk->length <= operation->op.length - operation->covered);
    operation->covered += chunk->length;
    CHECK(chunk->last == (operation->covered == operation->op.length));
    if (!garbage) {
        check_stall(operation->to);
        if (operation->to->at.state == MFS_DESTINATION_OPEN)
            check_window(at);
        if (!operation->untagged || machine.config.untagged_share == 0)
            check_order(at, chunk);
        check_share(at, operation->untagged, chunk->length);
    }
    if (operation->to->under_way == 0)
        operation->to->moved_ns = machine.now_ns;
    operation->to->under_way += chunk->length;
    world.chunks++;
    world.bytes += chunk->length;
    wire_post(operation->to, operation, chunk->length);
}

/* --- what it hears --- */

static void hear(struct process *at)
{
    const struct flight flight = at->left[at->left_first++ % FLIGHTS];
    const struct mfs_destinations *all = &at->sender->destinations;
    const uint64_t before = all->in[MFS_DESTINATION_OPEN].bytes;
    uint64_t bytes;

    flight.operation->done += flight.bytes;
    CHECK(flight.operation->done <= flight.operation->covered);
    flight.to->under_way -= flight.bytes;
    flight.to->moved_ns = machine.now_ns;
    mfs_sender_done(at->sender, &flight.to->at, flight.bytes, mfs_now_ns());
    if (all->in[MFS_DESTINATION_OPEN].bytes > before) /* it is not slow any more */
        window_grown();
    bytes = open_bytes();
    if (world.window_base > bytes)
        world.window_base = bytes;
}

/* --- what it posts --- */

static void push(struct process *at)
{
    struct operation *operation = NULL;
    struct mfs_tag tag;

    for (unsigned i = 0; i < OPERATIONS && !operation; i++) {
        if (at->operations[i].done == at->operations[i].op.length)
            operation = &at->operations[i];
    }
    if (!operation)
        return;
    *operation = (struct operation){.to = &at->to[pick(DESTINATIONS)], .untagged = chance(4)};
    operation->rank = mfs_rank_make((unsigned)pick(3), (int64_t)pick(8));
    operation->op.length = 1 + pick(at->first == 0 && chance(3) ? 200000 : 20000);
    tag = rival_tag(operation->rank, operation->untagged ? MFS_UNTAGGED : MFS_TAGGED);
    CHECK(mfs_sender_push(at->sender, &operation->op, &operation->to->at, &tag, mfs_now_ns()) == 0);
}

/* It has looked at its queue: do the others know what waits? */
static void check_told(const struct process *at)
{
    const struct mfs_sender *sender = at->sender;
    mfs_rank_t best = MFS_RANK_NONE;

    for (unsigned i = 0; i < OPERATIONS; i++) {
        const struct operation *operation = &at->operations[i];

        if (operation->covered < operation->op.length && operation->rank < best &&
            operation->to->at.state == MFS_DESTINATION_OPEN)
            best = operation->rank;
    }
    CHECK(peek(&at->cell->inflight_bytes) == sender->destinations.in[MFS_DESTINATION_OPEN].bytes);
    CHECK(peek(&at->cell->done_bytes) == sender->told.done_bytes);
    CHECK(peek(&at->cell->rank) <= best);
    if (mfs_sender_operations(sender) == 0)
        CHECK(peek(&at->cell->rank) == MFS_RANK_NONE);
}

static void join(struct process *at)
{
    const struct mfs_transport_ops transport = {.ready = ready, .post = post, .ctx = at};
    struct mfs_host *host = &machine.processes[at->index].host;
    struct mfs_params params;
    struct mfs_sender *sender;
    int error;

    while ((error = mfs_sender_join(host, "nic", MFS_EGRESS, &transport, &sender)) != 0) {
        /* the lock may be held by one that is stopped */
        CHECK(error == -EAGAIN || (error == -ENOSPC && (world.faults & FAULT_FULL)));
        machine_sleep(machine.now_ns + machine.config.lease / 4);
    }
    mfs_params_init(&params);
    CHECK(mfs_sender_set_policy(sender, &rival_policy, &params, 0) == 0);
    /* its place begins with host, port, cell: see csrc/host/sender.c */
    at->cell = ((struct mfs_sender_cell **)sender->others.ctx)[2];
    at->publish = sender->others.publish;
    sender->others.publish = publish;
    at->sender = sender;
    for (unsigned i = 0; i < DESTINATIONS; i++) {
        at->to[i] = (struct to){.of = at};
        CHECK(mfs_sender_open(sender, &at->to[i].at, at) == 0);
    }
    at->joined = true;
}

void process_run(void *ctx)
{
    struct process *at = ctx;

    join(at);
    for (unsigned i = 0; i < at->first; i++)
        push(at);
    machine_sleep(machine.now_ns);
    for (;;) {
        while (at->left_first != at->left_end)
            hear(at);
        while (!world.calm && pick(100) < at->busy)
            push(at);
        (void)mfs_sender_send(at->sender, mfs_now_ns());
        if (!(world.faults & FAULT_GARBAGE))
            check_told(at);
        machine_sleep(machine.now_ns + (at->late ? machine.config.lease * (int64_t)(1 + pick(4))
                                                 : 1 + (int64_t)pick((uint64_t)at->every_ns)));
    }
}

/* --- what is done to it --- */

void process_kill(struct process *at)
{
    machine_kill(at->index);
    wire_forget(at);
    at->joined = false;
    at->left_first = at->left_end = 0;
    memset(at->operations, 0, sizeof(at->operations));
    for (unsigned i = 0; i < world.count; i++)
        world.processes[i].seen[at->index] = MFS_RANK_NONE;
    at->told = MFS_RANK_NONE;
}

uint64_t process_waits(const struct process *at)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < OPERATIONS; i++) {
        const struct operation *operation = &at->operations[i];

        if (operation->op.length > 0 && operation->to->until_ns <= machine.now_ns)
            bytes += operation->op.length - operation->done;
    }
    return bytes;
}
