/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process: it takes a slot, joins the port, posts operations, sends, and hears what has left; it
 * may leave and join again. An operation's bytes are posted in order and once, and each is told to
 * have left once; what else must hold is in checks.c.
 */
#include "world.h"

#include <errno.h>
#include <string.h>

#include "../c/rival.h"

/* --- what it sends --- */

static void on_the_wire(struct operation *operation, uint64_t bytes)
{
    struct to *to = operation->to;

    if (to->under_way == 0)
        to->moved_ns = machine.now_ns;
    to->under_way += bytes;
    world.chunks++;
    world.bytes += bytes;
    wire_post(to, operation, bytes);
}

static bool wire_ready(void)
{
    return world.flights_count + PROCESSES < FLIGHTS;
}

static bool ready(void *ctx)
{
    checks_choose(ctx);
    return wire_ready();
}

static void post(void *ctx, const struct mfs_chunk *chunk)
{
    struct operation *operation = (struct operation *)(void *)chunk->op;

    CHECK(chunk->offset == operation->covered);
    CHECK(chunk->length > 0 && chunk->length <= operation->op.length - operation->covered);
    operation->covered += chunk->length;
    CHECK(chunk->last == (operation->covered == operation->op.length));
    check_post(ctx, operation, chunk);
    on_the_wire(operation, chunk->length);
}

/* --- what it hears --- */

static void hear(struct process *at)
{
    const struct flight flight = at->left[at->left_first++ % FLIGHTS];
    struct operation *operation = flight.operation;

    operation->done += flight.bytes;
    CHECK(operation->done <= operation->covered);
    flight.to->under_way -= flight.bytes;
    flight.to->moved_ns = machine.now_ns;
    checks_hear(at);
    if (world.express && (operation->express || chance(4)))
        mfs_sender_done_now(at->sender, &flight.to->at, flight.bytes,
                            operation->express && !chance(4));
    else
        mfs_sender_done(at->sender, &flight.to->at, flight.bytes, mfs_now_ns());
    check_heard(at);
}

/* --- what it posts --- */

static bool at_once(struct process *at, struct operation *operation)
{
    int error;

    operation->op.length = 1 + pick(chance(8) ? 20000 : 1000);
    if (!wire_ready())
        return false;
    checks_express(at);
    error = mfs_sender_express(at->sender, &operation->to->at, operation->op.length, 0);
    CHECK(error == 0 || error == -EBUSY || error == -EMSGSIZE || error == -ENOBUFS ||
          error == -ETIME);
    if (error)
        return false;
    operation->covered = operation->op.length;
    operation->express = true;
    check_express(at, operation);
    on_the_wire(operation, operation->op.length);
    return true;
}

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
    if (world.express && chance(2)) {
        if (at_once(at, operation))
            return;
    } else {
        operation->op.length = 1 + pick(at->first == 0 && chance(4) ? 60000 : 12000);
    }
    tag = rival_tag(operation->rank, operation->untagged ? MFS_UNTAGGED : MFS_TAGGED);
    CHECK(mfs_sender_push(at->sender, &operation->op, &operation->to->at, &tag, mfs_now_ns()) == 0);
}

/* --- its life --- */

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
    at->sender = sender;
    for (unsigned i = 0; i < DESTINATIONS; i++) {
        at->to[i] = (struct to){.of = at};
        CHECK(mfs_sender_open(sender, &at->to[i].at, at) == 0);
        if (world.limits)
            at->to[i].at.end.peer = UID_OF(i);
    }
    checks_join(at);
    at->joined = true;
}

/* With what waits and is under way. */
static void leave(struct process *at)
{
    for (unsigned i = 0; i < OPERATIONS; i++) {
        struct operation *operation = &at->operations[i];

        if (operation->covered < operation->op.length)
            CHECK(mfs_sender_remove(at->sender, &operation->op, mfs_now_ns()) == 0);
    }
    for (unsigned i = 0; i < DESTINATIONS; i++)
        mfs_sender_close(at->sender, &at->to[i].at);
    process_forget(at);
    mfs_sender_leave(at->sender);
    check_left(at);
}

void process_run(void *ctx)
{
    struct process *at = ctx;

    CHECK(mfs_process_claim(&machine.processes[at->index].host) == 0);
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
        check_told(at);
        if (world.leaves && !world.calm && chance(64)) {
            leave(at);
            machine_sleep(machine.now_ns + (int64_t)pick((uint64_t)machine.config.lease / 2));
            join(at);
        }
        machine_sleep(machine.now_ns + (at->late ? machine.config.lease * (int64_t)(1 + pick(4))
                                                 : 1 + (int64_t)pick((uint64_t)at->every_ns)));
    }
}

/* --- what is done to it --- */

void process_forget(struct process *at)
{
    wire_forget(at);
    at->joined = false;
    at->left_first = at->left_end = 0;
    memset(at->operations, 0, sizeof(at->operations));
    for (unsigned i = 0; i < world.count; i++)
        world.processes[i].seen[at->index] = MFS_RANK_NONE;
    at->told = MFS_RANK_NONE;
}

void process_kill(struct process *at)
{
    machine_kill(at->index);
    process_forget(at);
}

uint64_t process_waits(const struct process *at)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < OPERATIONS; i++) {
        const struct operation *operation = &at->operations[i];

        if (operation->op.length != operation->done && operation->to->until_ns <= machine.now_ns)
            bytes += operation->op.length - operation->done;
    }
    return bytes;
}
