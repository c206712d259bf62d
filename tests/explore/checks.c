/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold:
 *
 *   window: open bytes of those that move <= window + more + a chunk a sender
 *   order:  nobody posts while another that moves has told, all along, that it has a better one
 *   limit:  nothing goes whose rank is worse than its destination's limit, but the untagged share;
 *           and nobody waits for it
 *   stall:  a destination whose bytes do not move is sent no more
 *   share:  n untagged bytes leave before n * 1000 / share + a chunk a sender
 *   pace:   bytes leave no faster, but for two milliseconds' worth (one that the pacer makes up
 * for, and one that a sender has seen before it was stopped) and a chunk a sender at once, without
 * a look at the others: a chunk's worth of operations, then it looks who has looked at its queue
 * has told the truth; who has left is not seen any more
 *
 * (That an operation's bytes are posted in order and once is process.c's.)
 */
#include "world.h"

#include "core/atomic.h"
#include "core/trust.h"

#define CHUNK_MAX machine.window.chunk_max_bytes
#define LATE_NS 2000000

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

static uint64_t open_of(const struct process *at)
{
    return at->sender->destinations.in[MFS_DESTINATION_OPEN].bytes;
}

static uint64_t open_bytes(void)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < world.count; i++) {
        const struct process *at = &world.processes[i];

        if (counts(at, machine.now_ns))
            bytes += open_of(at);
    }
    return bytes;
}

static void window_grown(void)
{
    const uint64_t bytes = open_bytes();

    if (world.window_base < bytes)
        world.window_base = bytes;
}

/* --- what it tells and sees --- */

static void untagged_starts(void)
{
    if (world.sent == 0)
        return;
    for (unsigned i = 0; i < world.count; i++) {
        const struct process *at = &world.processes[i];

        if (at->joined && at->sender->told.untagged_rank != MFS_RANK_NONE)
            return;
    }
    world.sent = world.untagged = 0;
}

static void see_others(struct process *at, int64_t now_ns)
{
    at->looked_ns = now_ns;
    for (unsigned i = 0; i < world.count; i++) {
        const struct process *other = &world.processes[i];

        at->seen[i] = other != at && counts(other, now_ns) ? other->told : MFS_RANK_NONE;
    }
}

static void publish(void *ctx, const struct mfs_told *told, int64_t now_ns)
{
    struct process *at = self();
    const bool was_counted =
        mfs_moment_age(peek(&at->cell->stamp_ns), now_ns) < machine.config.lease / 2;

    untagged_starts();
    if (open_of(at) > at->heard_open) /* it hears of a destination that is not slow any more */
        window_grown();
    if (told->rank > at->told) { /* the others may see either of them from here on */
        at->told = told->rank;
        for (unsigned i = 0; i < world.count; i++) {
            if (told->rank > world.processes[i].seen[at->index])
                world.processes[i].seen[at->index] = told->rank;
        }
    }
    at->others.publish(ctx, told, now_ns);
    at->told = told->rank;
    if (!was_counted)
        window_grown();
    if (at->looking)
        see_others(at, now_ns);
    at->looking = false;
}

static void look(void *ctx, int64_t now_ns, struct mfs_others *others)
{
    struct process *at = self();

    at->looked = true;
    at->looked_ns = now_ns;
    at->others.look(ctx, now_ns, others);
}

void checks_join(struct process *at)
{
    at->others = at->sender->others;
    at->sender->others.publish = publish;
    at->sender->others.look = look;
    at->told = MFS_RANK_NONE;
    at->looking = false;
    at->unasked = 0;
    at->heard_open = UINT64_MAX;
}

void checks_choose(struct process *at)
{
    at->looking = true;
}

void checks_express(struct process *at)
{
    at->looked = false;
    see_others(at, machine.now_ns);
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
    /* what a larger window has let out stays in flight when the window is smaller again */
    if (at->sender->window.more_bytes > 0 && world.window_base < bytes)
        world.window_base = bytes < window ? bytes : window;
}

static void check_order(const struct process *at, mfs_rank_t rank)
{
    for (unsigned i = 0; i < world.count; i++) {
        const struct process *other = &world.processes[i];

        if (at->seen[i] < rank && other != at && counts(other, at->looked_ns))
            FAIL("process %u posts rank %llx, and process %u has told %llx", at->index,
                 (unsigned long long)rank, i, (unsigned long long)at->seen[i]);
    }
}

static void check_limit(const struct process *at, const struct operation *operation,
                        mfs_rank_t rank)
{
    const mfs_rank_t limit = operation->to->at.voq.limit;

    if (rank > limit && !(operation->untagged && machine.config.untagged_share > 0))
        FAIL("process %u posts rank %llx to one with the limit %llx", at->index,
             (unsigned long long)rank, (unsigned long long)limit);
}

static void check_share(const struct process *at, bool untagged, uint64_t bytes)
{
    const uint64_t share = machine.config.untagged_share;
    const uint64_t chunks = (1 + world.express) * world.count + 1;

    if (share == 0 || world.faults != 0)
        return;
    world.sent += bytes;
    world.untagged += untagged ? bytes : 0;
    if (world.sent * share > (world.untagged + CHUNK_MAX) * 1000 + chunks * CHUNK_MAX * share)
        FAIL("process %u posts: of %llu bytes %llu were untagged", at->index,
             (unsigned long long)world.sent, (unsigned long long)world.untagged);
}

static void check_stall(const struct to *to)
{
    CHECK(to->at.state != MFS_DESTINATION_STALLED);
    if (!(world.faults & (FAULT_STOPPED | FAULT_SLOW | FAULT_LATE)) && to->under_way > 0 &&
        machine.now_ns - to->moved_ns > 2 * machine.config.lease + to->of->sender->patience.gap_ns)
        FAIL("process %u posts to one that does not move", to->of->index);
}

static void check_pace(const struct process *at, uint64_t bytes)
{
    const uint64_t pace = machine.config.pace;
    uint64_t since;

    if (pace == 0)
        return;
    since = pace * (uint64_t)(machine.now_ns - world.paced_ns) / 1000000000;
    world.paced = bytes + (world.paced > since ? world.paced - since : 0);
    world.paced_ns = machine.now_ns;
    if (world.paced > pace * LATE_NS / 1000000000 + (1 + world.count) * CHUNK_MAX)
        FAIL("process %u posts: %llu bytes before their time", at->index,
             (unsigned long long)world.paced);
}

void check_post(const struct process *at, const struct operation *operation,
                const struct mfs_chunk *chunk)
{
    if (world.faults & FAULTS_OF_WORDS)
        return;
    check_stall(operation->to);
    check_limit(at, operation, chunk->rank);
    if (operation->to->at.state == MFS_DESTINATION_OPEN)
        check_window(at);
    if (!operation->untagged || machine.config.untagged_share == 0)
        check_order(at, chunk->rank);
    check_share(at, operation->untagged, chunk->length);
    check_pace(at, chunk->length);
}

void check_express(struct process *at, const struct operation *operation)
{
    at->unasked = at->looked ? 0 : at->unasked + operation->op.length;
    CHECK(at->unasked <= CHUNK_MAX);
    CHECK(operation->to->at.state == MFS_DESTINATION_OPEN);
    CHECK(operation->to->at.voq.limit == MFS_RANK_NONE);
    if (world.faults & FAULTS_OF_WORDS)
        return;
    check_window(at);
    if (at->looked)
        check_order(at, MFS_RANK_NONE - 1);
    check_share(at, false, operation->op.length);
    check_pace(at, operation->op.length);
}

/* --- what it hears, and has told --- */

void checks_hear(struct process *at)
{
    at->heard_open = open_of(at);
}

void check_heard(struct process *at)
{
    const uint64_t bytes = open_bytes();

    at->heard_open = UINT64_MAX;
    if (world.window_base > bytes)
        world.window_base = bytes;
}

/* What goes at once, and its room, is not told each time. */
static bool told_about(uint64_t told, uint64_t is)
{
    const uint64_t off = told < is ? is - told : told - is;

    return off <= (world.express ? 2 * CHUNK_MAX : 0);
}

void check_told(const struct process *at)
{
    const struct mfs_sender *sender = at->sender;
    mfs_rank_t best = MFS_RANK_NONE;
    bool free = false; /* something waits that no limit holds back */

    if (world.faults & FAULTS_OF_WORDS)
        return;
    for (unsigned i = 0; i < OPERATIONS; i++) {
        const struct operation *operation = &at->operations[i];

        if (operation->covered == operation->op.length ||
            operation->rank > operation->to->at.voq.limit)
            continue;
        free = true;
        if (operation->rank < best && operation->to->at.state == MFS_DESTINATION_OPEN)
            best = operation->rank;
    }
    if (!free)
        CHECK(peek(&at->cell->rank) >= MFS_RANK_LAST);
    CHECK(told_about(peek(&at->cell->inflight_bytes), open_of(at)));
    CHECK(told_about(peek(&at->cell->done_bytes), sender->told.done_bytes));
    if (sender->destinations.busy == 0) {
        CHECK(peek(&at->cell->inflight_bytes) == 0);
        CHECK(peek(&at->cell->done_bytes) == sender->told.done_bytes);
    }
    CHECK(peek(&at->cell->rank) <= best);
    if (mfs_sender_operations(sender) == 0)
        CHECK(peek(&at->cell->rank) == MFS_RANK_NONE);
    CHECK(peek(&at->cell->owner) == machine.processes[at->index].host.process + 1);
}

void check_left(const struct process *at)
{
    const uint32_t owner = machine.processes[at->index].host.process + 1;

    if (world.faults & FAULTS_OF_WORDS)
        return;
    for (unsigned i = 0; i < MFS_SENDERS_MAX; i++)
        CHECK(peek(&machine.segment->ports[0].senders[i].owner) != owner);
    for (unsigned i = 0; i < MFS_CLAIMS_MAX; i++)
        CHECK(peek(&machine.segment->far.claims[i].owner) != owner);
}
