/* SPDX-License-Identifier: Apache-2.0 */
/* The account of bench/faults.py: what has left, and what the segment should say. */
#include "faults.h"

#include <stdio.h>

#define WRAPPED (UINT64_C(1) << 40) /* no process has so much in flight */

void faults_cover(struct faults_ledger *ledger, uint32_t i, uint64_t offset, uint64_t length)
{
    struct faults_op *op = &ledger->ops[i];
    const uint64_t end = offset + length;

    if (offset % FAULTS_UNIT != 0 || end > op->length ||
        (end % FAULTS_UNIT != 0 && end != op->length)) {
        ledger->misfits++;
        return;
    }
    for (uint64_t unit = offset / FAULTS_UNIT; unit * FAULTS_UNIT < end; unit++) {
        const uint64_t left = end - unit * FAULTS_UNIT, bit = UINT64_C(1) << unit % 64;
        const uint64_t bytes = left < FAULTS_UNIT ? left : FAULTS_UNIT;

        if (op->units[unit / 64] & bit)
            ledger->doubled_bytes += bytes;
        else
            op->covered_bytes += bytes;
        op->units[unit / 64] |= bit;
    }
}

uint64_t faults_inflight(struct faults_view *view)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        const uint64_t bytes = atomic_load(&view->port->cell->senders[i].inflight_bytes);

        view->wrapped += bytes > WRAPPED;
        total += bytes;
    }
    return total;
}

int64_t faults_dead_senders(const struct faults_view *view)
{
    int64_t count = 0;

    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        const uint32_t owner = atomic_load(&view->port->cell->senders[i].owner);

        count += owner && !mfs_process_alive(view->host, owner - 1);
    }
    return count;
}

int64_t faults_dead_processes(const struct faults_view *view)
{
    int64_t count = 0;

    for (uint32_t i = 0; i < MFS_PROCESSES_MAX; i++)
        count += atomic_load(&view->host->segment->processes[i].used) &&
                 !mfs_process_alive(view->host, i);
    return count;
}

struct faults_sum faults_sum(const struct faults_view *view)
{
    struct faults_sum sum = {0};

    for (uint32_t i = 0; i < view->ledgers; i++) {
        const struct faults_ledger *ledger = &view->board->ledgers[i];

        sum.operations += ledger->finished;
        sum.bytes += ledger->finished_bytes;
        sum.lost_bytes += ledger->lost_bytes;
        sum.doubled_bytes += ledger->doubled_bytes;
        sum.misfits += ledger->misfits;
    }
    return sum;
}

/* A process that died in the middle of mfs_count may have counted or not. */
uint64_t faults_count_off(const struct faults_view *view)
{
    const uint64_t total = mfs_count_total(view->host, MFS_COUNT_BYTES);
    uint64_t begun = 0, ended = 0;

    for (uint32_t i = 0; i < view->ledgers; i++) {
        begun += view->board->ledgers[i].count_begun;
        ended += view->board->ledgers[i].count_ended;
    }
    return total < ended ? ended - total : total > begun ? total - begun : 0;
}

void faults_times(const struct faults_view *view, uint32_t hit, struct faults_outcome *outcome)
{
    outcome->silence_ns = mfs_now_ns() - atomic_load(&view->board->last_sent_ns);
    outcome->stall_ns = 0;
    for (uint32_t i = 0; i < FAULTS_PROCESSES; i++) {
        const struct faults_seat *seat = &view->board->seats[i];
        const int64_t silence_ns = atomic_load(&seat->silence_ns);
        const int64_t stall_ns = atomic_load(&seat->stall_ns);
        const int64_t away_ns = atomic_load(&seat->away_ns);

        if (silence_ns > outcome->silence_ns)
            outcome->silence_ns = silence_ns;
        if (!(hit & 1u << i) && stall_ns > outcome->stall_ns)
            outcome->stall_ns = stall_ns;
        if (!(hit & 1u << i) && away_ns > outcome->away_ns)
            outcome->away_ns = away_ns;
    }
}

void faults_reconcile(struct faults_view *view, struct faults_outcome *outcome)
{
    static struct faults_sum before;
    const struct faults_sum sum = faults_sum(view);
    int64_t living = 0, senders = 0, processes = 0, requests = 0;

    for (uint32_t i = 0; i < FAULTS_SEATS; i++) {
        living += atomic_load(&view->board->seats[i].up);
        if (atomic_load(&view->board->seats[i].up))
            requests += atomic_load(&view->board->seats[i].requests);
    }
    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++)
        senders += atomic_load(&view->port->cell->senders[i].owner) != 0;
    for (uint32_t i = 0; i < MFS_PROCESSES_MAX; i++)
        processes += atomic_load(&view->host->segment->processes[i].used);
    outcome->leaked_senders = senders - living;
    outcome->leaked_processes = processes - living - 1; /* the driver */
    outcome->leaked_requests = (int64_t)mfs_request_count(view->host) - requests;
    outcome->leaked_bytes = faults_inflight(view);
    outcome->count_off_bytes = faults_count_off(view);
    outcome->wrapped = view->wrapped;
    view->wrapped = 0;
    outcome->lost_bytes = sum.lost_bytes - before.lost_bytes;
    outcome->doubled_bytes = sum.doubled_bytes - before.doubled_bytes;
    outcome->misfits = sum.misfits - before.misfits;
    before = sum;
}

void faults_print(const char *fault, const struct faults_outcome *outcome)
{
    printf("{\"fault\": \"%s\", \"stall_ns\": %lld, \"silence_ns\": %lld, \"away_ns\": %lld, "
           "\"given_back_ns\": %lld, "
           "\"leaked_senders\": %lld, \"leaked_processes\": %lld, \"leaked_requests\": %lld, "
           "\"leaked_bytes\": %llu, \"wrapped\": %llu, \"count_off_bytes\": %llu, "
           "\"lost_bytes\": %llu, \"doubled_bytes\": %llu, \"misfits\": %llu}\n",
           fault, (long long)outcome->stall_ns, (long long)outcome->silence_ns,
           (long long)outcome->away_ns, (long long)outcome->given_back_ns,
           (long long)outcome->leaked_senders, (long long)outcome->leaked_processes,
           (long long)outcome->leaked_requests, (unsigned long long)outcome->leaked_bytes,
           (unsigned long long)outcome->wrapped, (unsigned long long)outcome->count_off_bytes,
           (unsigned long long)outcome->lost_bytes, (unsigned long long)outcome->doubled_bytes,
           (unsigned long long)outcome->misfits);
    fflush(stdout);
}
