/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process of bench/faults.py: a thread that sends and one that registers requests.
 *
 * STALL: the time in which this process had something queued, nobody who is well had
 * anything better, what those who are well have on the wire left room for it, and yet the
 * port said no. It is judged by the board alone, so that a port that is wrong about a
 * process that was hit cannot excuse itself.
 *
 * The wire is one for all: bytes leave one after the other at its rate, whoever sent them
 * and whether or not that process still lives.
 */
#include "faults.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define REQUESTS 12u
#define WIRE_CHUNKS 1024u /* more than FAULTS_OPS operations can be cut into */
#define OPEN_LIMIT_NS (5000 * MS)

struct on_wire {
    uint32_t op;
    uint64_t offset, length;
    uint64_t acquired_bytes; /* of the port */
    int64_t due_ns;
};

static struct {
    struct faults_board *board;
    struct faults_seat *seat;
    struct faults_ledger *ledger;
    struct mfs_host *host;
    struct mfs_port *port;
    struct mfs_sender *sender;
    struct mfs_destination wire_to; /* the other end of the wire */
    struct mfs_op ops[FAULTS_OPS];
    uint32_t chunks[FAULTS_OPS]; /* of the operation, on the wire */
    bool used[FAULTS_OPS];
    struct on_wire wire[WIRE_CHUNKS]; /* oldest at wire_first, modulo WIRE_CHUNKS */
    uint32_t wire_first, wire_next;
    _Atomic uint64_t keys[REQUESTS]; /* registered; MFS_REQUEST_NONE: free */
    uint64_t seed;
    int64_t idle_until_ns;
    uint32_t epoch;
    int64_t stalled_since_ns, looked_ns; /* 0: not stalled; last look at the queue */
} self;

/* --- dying and stopping with the segment's lock in hand --- */

void __real_mfs_segment_unlock(struct mfs_host *host);
void __wrap_mfs_segment_unlock(struct mfs_host *host);

void __wrap_mfs_segment_unlock(struct mfs_host *host)
{
    if (host == self.host) {
        const uint32_t signal = atomic_exchange(&self.seat->at_unlock, 0);

        if (signal) {
            atomic_store(&self.seat->state, FAULTS_HIT);
            kill(getpid(), (int)signal);
        }
    }
    __real_mfs_segment_unlock(host);
}

static void must(int error, const char *what)
{
    if (!error)
        return;
    fprintf(stderr, "faults: process %d: %s: %s\n", (int)getpid(), what, strerror(-error));
    _exit(3);
}

/* --- requests: the thread of the control plane --- */

static void pause_ns(int64_t span_ns)
{
    const struct timespec span = {0, span_ns};

    nanosleep(&span, NULL);
}

static void request_change(uint64_t *seed, uint64_t *count)
{
    _Atomic uint64_t *key = &self.keys[faults_random(seed, 0, REQUESTS - 1)];
    const int64_t now_ns = mfs_now_ns();
    uint64_t old = atomic_load(key);
    struct mfs_facts facts;
    char name[40];
    int error;

    if (old != MFS_REQUEST_NONE) {
        atomic_store(key, MFS_REQUEST_NONE);
        error = mfs_request_drop(self.host, old);
        if (error == 0)
            atomic_fetch_sub(&self.seat->requests, 1);
        else /* it is there still */
            atomic_store(key, old);
    } else {
        snprintf(name, sizeof(name), "%d-%llu", (int)getpid(), (unsigned long long)++*count);
        mfs_facts_init(&facts);
        facts.arrival_ns = now_ns;
        facts.deadline_ns = now_ns + (int64_t)faults_random(seed, 1, 200) * MS;
        old = mfs_request_key(name);
        error = mfs_request_put(self.host, old, name, &facts);
        if (error == 0) {
            atomic_fetch_add(&self.seat->requests, 1);
            atomic_store(key, old);
        }
    }
    if (error == -EAGAIN)
        atomic_fetch_add(&self.seat->refused, 1);
    else
        must(error, "a request");
}

static void *control(void *seed_word)
{
    uint64_t seed = *(uint64_t *)seed_word, count = 0;

    while (!atomic_load(&self.board->ending)) {
        const uint32_t hold = atomic_load(&self.board->hold);

        if (hold & 1)
            atomic_store(&self.seat->held_control, hold);
        else
            request_change(&seed, &count);
        pause_ns(500000);
    }
    return NULL;
}

/* --- stall --- */

static void longest(_Atomic int64_t *longest_ns, int64_t span_ns)
{
    if (span_ns > atomic_load(longest_ns))
        atomic_store(longest_ns, span_ns);
}

/* By the board: nobody who is well is in the way of `bytes` at `rank`. */
static bool entitled(mfs_rank_t rank, uint64_t bytes)
{
    uint64_t inflight = 0;

    for (uint32_t i = 0; i < FAULTS_SEATS; i++) {
        struct faults_seat *seat = &self.board->seats[i];

        if (!atomic_load(&seat->up) || atomic_load(&seat->state) != FAULTS_WELL)
            continue;
        if (seat != self.seat && atomic_load(&seat->rank) < rank)
            return false;
        inflight += atomic_load(&seat->inflight_bytes);
    }
    return inflight == 0 || inflight + bytes <= mfs_port_window(self.port);
}

static void follow_epoch(uint32_t epoch, int64_t now_ns)
{
    if (epoch != self.epoch) {
        self.epoch = epoch;
        self.stalled_since_ns = 0;
        atomic_store(&self.seat->stall_ns, 0);
        atomic_store(&self.seat->silence_ns, 0);
        atomic_store(&self.seat->away_ns, 0);
    } else if (epoch) {
        longest(&self.seat->away_ns, now_ns - self.looked_ns);
    }
    self.looked_ns = now_ns;
}

static void judge(bool sent, mfs_rank_t rank, uint64_t bytes, int64_t now_ns)
{
    const uint32_t epoch = atomic_load(&self.board->epoch);

    follow_epoch(epoch, now_ns);
    if (epoch && self.stalled_since_ns)
        longest(&self.seat->stall_ns, now_ns - self.stalled_since_ns);
    if (sent || !epoch || !entitled(rank, bytes))
        self.stalled_since_ns = 0;
    else if (!self.stalled_since_ns)
        self.stalled_since_ns = now_ns;
    if (sent) {
        const int64_t begun_ns = atomic_load(&self.board->epoch_ns);
        const int64_t last_ns = atomic_exchange(&self.board->last_sent_ns, now_ns);

        if (epoch)
            longest(&self.seat->silence_ns, now_ns - (last_ns > begun_ns ? last_ns : begun_ns));
    }
}

/* --- operations --- */

static void op_push(uint32_t i, int64_t now_ns)
{
    struct faults_op *record = &self.ledger->ops[i];
    struct mfs_tag tag = {MFS_REQUEST_NONE, 0, MFS_STAGE_NONE};
    const uint64_t most = faults_random(&self.seed, 0, 3) ? FAULTS_OP_MAX : 8192;

    memset(record, 0, sizeof(*record));
    memset(&self.ops[i], 0, sizeof(self.ops[i]));
    record->length = self.ops[i].length = faults_random(&self.seed, 1, most);
    tag.request = atomic_load(&self.keys[faults_random(&self.seed, 0, REQUESTS - 1)]);
    if (tag.request != MFS_REQUEST_NONE) {
        tag.layer = (uint32_t)faults_random(&self.seed, 0, 3);
        tag.stage = (uint32_t)faults_random(&self.seed, MFS_STAGE_KV_REUSE, MFS_STAGE_P2D);
    }
    must(mfs_sender_push(self.sender, &self.ops[i], &self.wire_to, &tag, now_ns), "push");
    self.used[i] = true;
    self.ledger->pushed++;
}

/* Now and then there is nothing to send for some milliseconds, but not while it is measured. */
static void ops_top_up(int64_t now_ns)
{
    if (now_ns < self.idle_until_ns || atomic_load(&self.seat->rest))
        return;
    for (uint32_t i = 0; i < FAULTS_OPS; i++) {
        if (self.used[i])
            continue;
        if (faults_random(&self.seed, 0, 15) == 0 && !atomic_load(&self.board->epoch)) {
            self.idle_until_ns = now_ns + (int64_t)faults_random(&self.seed, 1, 20) * MS;
            return;
        }
        op_push(i, now_ns);
    }
}

static void op_finish(uint32_t i)
{
    struct faults_op *op = &self.ledger->ops[i];

    self.ledger->lost_bytes += op->length - op->covered_bytes;
    self.ledger->finished_bytes += op->length;
    self.ledger->finished++;
    self.used[i] = false;
}

/* --- the wire --- */

static void wire_send(const struct mfs_chunk *chunk, uint64_t acquired_bytes, int64_t now_ns)
{
    struct on_wire *on = &self.wire[self.wire_next++ % WIRE_CHUNKS];
    const int64_t span_ns = (int64_t)(chunk->length * 1000000000 / self.board->wire_Bps);
    int64_t free_ns = atomic_load(&self.board->wire_free_ns);

    on->op = (uint32_t)(chunk->op - self.ops);
    on->offset = chunk->offset;
    on->length = chunk->length;
    on->acquired_bytes = acquired_bytes;
    do {
        on->due_ns = (free_ns > now_ns ? free_ns : now_ns) + span_ns;
    } while (!atomic_compare_exchange_weak(&self.board->wire_free_ns, &free_ns, on->due_ns));
    self.chunks[on->op]++;
}

static void wire_progress(int64_t now_ns)
{
    while (self.wire_first != self.wire_next) {
        const struct on_wire *on = &self.wire[self.wire_first % WIRE_CHUNKS];

        if (on->due_ns > now_ns)
            return;
        faults_cover(self.ledger, on->op, on->offset, on->length);
        mfs_sender_done(self.sender, &self.wire_to, on->acquired_bytes, now_ns);
        atomic_fetch_sub(&self.seat->inflight_bytes, on->acquired_bytes);
        self.ledger->count_begun += on->length;
        mfs_count(self.host, MFS_COUNT_BYTES, on->length);
        self.ledger->count_ended += on->length;
        if (--self.chunks[on->op] == 0 && !self.ops[on->op].flow)
            op_finish(on->op);
        self.wire_first++;
    }
}

/* The best chunk, if the port allows: as a transport's progress does. */
static bool send_one(int64_t now_ns)
{
    struct mfs_chunk chunk;
    mfs_rank_t rank;
    bool sent;

    mfs_sender_publish(self.sender, now_ns);
    rank = self.sender->told.rank;
    atomic_store(&self.seat->rank, rank);
    if (rank == MFS_RANK_NONE)
        return false;
    sent = mfs_sender_next(self.sender, 0, now_ns, &chunk) == 0;
    judge(sent, rank, sent ? chunk.length : mfs_port_chunk(self.port), now_ns);
    if (!sent)
        return false;
    atomic_fetch_add(&self.seat->inflight_bytes, chunk.length);
    wire_send(&chunk, chunk.length, now_ns);
    if (mfs_sender_operations(self.sender) == 0)
        atomic_store(&self.seat->rank, MFS_RANK_NONE);
    return true;
}

/* Say that nothing waits, whatever does. */
static void say_nothing_waits(void)
{
    struct mfs_told told = self.sender->told;

    told.rank = told.untagged_rank = MFS_RANK_NONE;
    self.sender->others.publish(self.sender->others.ctx, &told, mfs_now_ns());
}

static bool hold_still(uint32_t hold)
{
    if (!(hold & 1))
        return false;
    if (atomic_load(&self.seat->rank) != MFS_RANK_NONE) {
        say_nothing_waits();
        atomic_store(&self.seat->rank, MFS_RANK_NONE);
    }
    if (self.wire_first == self.wire_next)
        atomic_store(&self.seat->held_data, hold);
    return true;
}

static void progress(void)
{
    for (;;) {
        const bool ending = atomic_load(&self.board->ending);
        uint32_t state = FAULTS_GOES_ON;
        bool sent = false;
        int64_t now_ns;

        atomic_compare_exchange_strong(&self.seat->state, &state, FAULTS_WELL);
        atomic_fetch_add(&self.seat->beat, 1);
        now_ns = mfs_now_ns();
        follow_epoch(atomic_load(&self.board->epoch), now_ns);
        wire_progress(now_ns);
        if (!hold_still(atomic_load(&self.board->hold))) {
            if (!ending)
                ops_top_up(now_ns);
            while (send_one(mfs_now_ns()))
                sent = true;
        }
        if (ending && mfs_sender_operations(self.sender) == 0 && self.wire_first == self.wire_next)
            return;
        if (sent)
            sched_yield();
        else
            pause_ns(20000);
    }
}

/* Whoever opens tries again: a process that is stopped may have the lock. */
static void open_all(const char *segment)
{
    const int64_t until_ns = mfs_now_ns() + OPEN_LIMIT_NS;
    int error;

    do {
        error = self.host ? 0 : mfs_host_open(segment, &self.host);
        if (!error && !self.port)
            error = mfs_port_open(self.host, FAULTS_PORT, MFS_EGRESS, &self.port);
        if (!error)
            error = mfs_sender_join(self.host, FAULTS_PORT, MFS_EGRESS, NULL, &self.sender);
    } while ((error == -EAGAIN || error == -ETIMEDOUT) && mfs_now_ns() < until_ns);
    if (!error)
        error = mfs_sender_open(self.sender, &self.wire_to, &self);
    must(error, segment);
}

int faults_process(struct faults_board *board, uint32_t seat, const char *segment, uint64_t seed)
{
    uint64_t control_seed = seed ^ 1;
    pthread_t thread;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1000);
    self.board = board;
    self.seat = &board->seats[seat];
    self.ledger = &board->ledgers[atomic_load(&self.seat->ledger)];
    self.seed = seed;
    open_all(segment);
    must(-pthread_create(&thread, NULL, control, &control_seed), "a thread");
    atomic_store(&self.seat->up, 1);
    progress();
    pthread_join(thread, NULL);
    mfs_sender_close(self.sender, &self.wire_to);
    mfs_sender_leave(self.sender);
    mfs_port_close(self.port);
    mfs_host_close(self.host);
    self.host = NULL;
    return 0;
}
