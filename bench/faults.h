/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of bench/faults.py share beside the segment: the board, a mapped file
 * that outlives them all.
 *
 *   driver --signals--> process of seat 0..3 (and a spare one that is killed while it opens)
 *      |                     |  real queue, real port, a wire that is a time in the board
 *      +------ board --------+
 *              seats[]    what each process does now, written by it, read by all
 *              ledgers[]  which bytes have left, one for every process there ever was
 *
 * The board keeps its own account of what the port should know, so that nothing is checked
 * against itself. A word that two processes touch is atomic; a ledger has one writer and is
 * read when that one is dead or holds still.
 */
#ifndef MFS_BENCH_FAULTS_H
#define MFS_BENCH_FAULTS_H

#include <stdatomic.h>

#include "host/sender.h"
#include "host/attach.h"

#define FAULTS_PROCESSES 4u
#define FAULTS_SEATS (FAULTS_PROCESSES + 1) /* the last one is the spare's */
#define FAULTS_OPS 16u                      /* of a process at one time */
#define FAULTS_OP_MAX 524288u
#define FAULTS_UNIT 128u /* the queue cuts at multiples of this */
#define FAULTS_PORT "wire"

/* An operation: which of its units have left. */
struct faults_op {
    uint64_t length, covered_bytes;
    uint64_t units[FAULTS_OP_MAX / FAULTS_UNIT / 64];
};

struct faults_ledger {
    uint64_t pushed, finished; /* operations */
    uint64_t finished_bytes;
    uint64_t lost_bytes;       /* of finished operations: never left */
    uint64_t doubled_bytes;    /* left more than once */
    uint64_t misfits;          /* chunks outside their operation or cut between units */
    uint64_t count_begun, count_ended; /* bytes handed to mfs_count, around the call */
    struct faults_op ops[FAULTS_OPS];
};

enum faults_state { FAULTS_WELL = 0, FAULTS_HIT, FAULTS_GOES_ON };

struct faults_seat {
    _Alignas(64) _Atomic uint32_t up; /* the process sends; 0: none, or it is opening */
    _Atomic uint32_t state;           /* enum faults_state; GOES_ON becomes WELL when it moves */
    _Atomic uint32_t at_unlock; /* signal that it gives itself before it next unlocks the segment */
    _Atomic uint32_t rest; /* set by the driver: send what is queued, then be idle */
    _Atomic uint32_t ledger;
    _Atomic uint32_t held_data, held_control; /* the hold (of the board) that its threads obey */
    _Atomic uint32_t requests; /* it has registered */
    _Atomic uint64_t beat; /* moves with every look at its queue */
    _Atomic uint64_t rank; /* of its best chunk, or MFS_RANK_NONE */
    _Atomic uint64_t inflight_bytes; /* on the wire */
    _Atomic uint64_t refused; /* control calls that gave up: the lock was not to be had */
    _Atomic int64_t stall_ns; /* longest of the epoch: could have sent, was kept from it */
    _Atomic int64_t silence_ns; /* longest of the epoch that its sending ended */
    _Atomic int64_t away_ns; /* longest of the epoch between two looks at its queue: no CPU */
};

struct faults_board {
    uint64_t wire_Bps;
    _Atomic int64_t wire_free_ns; /* all that is on the wire has left then */
    _Atomic int64_t last_sent_ns; /* by anybody */
    _Atomic uint32_t epoch; /* > 0: a fault is being watched */
    _Atomic int64_t epoch_ns; /* since when */
    _Atomic uint32_t hold; /* odd: nobody sends or registers */
    _Atomic uint32_t ending; /* finish what is queued, and leave */
    struct faults_seat seats[FAULTS_SEATS];
    struct faults_ledger ledgers[];
};

/* Send until told to end; the exit status. */
int faults_process(struct faults_board *board, uint32_t seat, const char *segment, uint64_t seed);

/* --- faults_check.c --- */

/* [offset, offset + length) of operation i has left. */
void faults_cover(struct faults_ledger *ledger, uint32_t i, uint64_t offset, uint64_t length);

/* What the driver sees. */
struct faults_view {
    struct faults_board *board;
    struct mfs_host *host;
    struct mfs_port *port;
    uint32_t ledgers; /* used */
    uint64_t wrapped; /* looks at a member with more in flight than there can be */
};

/* What a fault has done. */
struct faults_outcome {
    int64_t stall_ns, silence_ns, away_ns, given_back_ns;
    int64_t leaked_senders, leaked_processes, leaked_requests;
    uint64_t leaked_bytes, wrapped, count_off_bytes;
    uint64_t lost_bytes, doubled_bytes, misfits; /* since the last one */
};

/* What has been sent by all processes that there ever were. */
struct faults_sum {
    uint64_t operations, bytes, lost_bytes, doubled_bytes, misfits;
};

/* In flight as the cells say it, of living and dead. */
uint64_t faults_inflight(struct faults_view *view);
/* What processes have that do not live any more; the driver's own slot is not. */
int64_t faults_dead_senders(const struct faults_view *view);
int64_t faults_dead_processes(const struct faults_view *view);
struct faults_sum faults_sum(const struct faults_view *view);
/* By how much the counter of bytes of all that ever lived is off. */
uint64_t faults_count_off(const struct faults_view *view);
/* Stall, silence and away, of those who are not in `hit` (a bit for each seat). */
void faults_times(const struct faults_view *view, uint32_t hit, struct faults_outcome *outcome);
/* Everybody holds still: does the segment say what the living say? */
void faults_reconcile(struct faults_view *view, struct faults_outcome *outcome);
void faults_print(const char *fault, const struct faults_outcome *outcome);

/* Uniform in [low, high]; state is any number. */
static inline uint64_t faults_random(uint64_t *state, uint64_t low, uint64_t high)
{
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 */

    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return low + (x ^ x >> 31) % (high - low + 1);
}

#endif
