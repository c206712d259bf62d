/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims as others read them. A sender tells them every 0.5 ms while it has something queued; what
 * it told last may have left a moment later, and then nobody is to wait for it: that is seen by
 * what its cell has told since, with each chunk.
 *
 * An agent reads them a thousand times a second, and there are few of many: only rows whose bit is
 * set are looked at, and only ports that some row names are put to zero.
 */
#include <string.h>

#include "core/atomic.h"
#include "core/exchange.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/guest.h"

#define CLAIM_BYTES_MAX (UINT64_C(1) << 50) /* that one may say to have */

static uint64_t bytes_believed(uint64_t bytes)
{
    return bytes < CLAIM_BYTES_MAX ? bytes : CLAIM_BYTES_MAX;
}

/* All that it had queued when it told is on its way, and nothing has come since; what of its bytes
 * are in flight then. */
static bool all_sent(const struct mfs_segment *segment, const struct mfs_claim_cell *row,
                     uint64_t *inflight_bytes)
{
    const uint32_t number = mfs_get(&row->sender);
    const struct mfs_sender_cell *cell;

    if (number >= MFS_PORTS_MAX * MFS_SENDERS_MAX)
        return false;
    cell = &segment->ports[number / MFS_SENDERS_MAX].senders[number % MFS_SENDERS_MAX];
    *inflight_bytes = mfs_get(&cell->inflight_bytes);
    return mfs_get(&cell->owner) == mfs_get(&row->owner) && mfs_get(&cell->rank) == MFS_RANK_NONE &&
           mfs_get(&cell->done_bytes) + *inflight_bytes - mfs_get(&row->all_bytes) <=
               (uint64_t)INT64_MAX;
}

/* ranks: the best that waits, and the best of what has all gone. */
struct ranks {
    mfs_rank_t *waits, *gone;
};

static void row_add(const struct mfs_segment *segment, const struct mfs_claim_cell *row,
                    struct ranks best, struct mfs_claim *claim)
{
    const uint64_t waiting = bytes_believed(mfs_get(&row->waiting_bytes));
    const uint64_t inflight = bytes_believed(mfs_get(&row->inflight_bytes));
    const mfs_rank_t rank = mfs_get(&row->rank);
    uint64_t now_inflight;

    if (all_sent(segment, row, &now_inflight)) {
        claim->inflight_bytes +=
            now_inflight < waiting + inflight ? now_inflight : waiting + inflight;
        if (now_inflight > 0 && rank < *best.gone)
            *best.gone = rank;
        return;
    }
    claim->waiting_bytes += waiting;
    claim->inflight_bytes += inflight;
    if (rank < *best.waits)
        *best.waits = rank;
}

static bool row_told(const struct mfs_claim_cell *row, int64_t lease_ns, int64_t now_ns)
{
    return mfs_see(&row->owner) != 0 && mfs_stamp_fresh(mfs_see(&row->stamp_ns), now_ns, lease_ns);
}

/* The first of these bits, which are not 0. */
static uint32_t bit_first(uint64_t bits)
{
    return (uint32_t)__builtin_ctzll(bits);
}

bool mfs_far_summed(const struct mfs_far_sums *sums, uint32_t port)
{
    return sums->seen[port / 64] >> port % 64 & 1;
}

static void sum_add(const struct mfs_segment *segment, const struct mfs_claim_cell *row,
                    uint32_t port, struct mfs_far_sums *sums)
{
    if (!mfs_far_summed(sums, port)) {
        sums->seen[port / 64] |= UINT64_C(1) << port % 64;
        sums->rank[port] = sums->gone[port] = MFS_RANK_NONE;
        sums->claim[port] = (struct mfs_claim){
            .far = port, .done_bytes = mfs_get(&segment->far.ports[port].done_bytes)};
    }
    row_add(segment, row, (struct ranks){&sums->rank[port], &sums->gone[port]}, &sums->claim[port]);
}

void mfs_far_sum(const struct mfs_segment *segment, int64_t lease_ns, int64_t now_ns,
                 struct mfs_far_sums *sums)
{
    const struct mfs_far_tables *far = &segment->far;

    memset(sums->seen, 0, sizeof(sums->seen));
    for (uint32_t word = 0; word < MFS_CLAIMED_WORDS; word++) {
        for (uint64_t bits = mfs_get(&far->claimed[word]); bits; bits &= bits - 1) {
            const struct mfs_claim_cell *row = &far->claims[word * 64 + bit_first(bits)];
            const uint32_t port = mfs_get(&row->far);

            if (mfs_far_port_known(far, port) && row_told(row, lease_ns, now_ns))
                sum_add(segment, row, port, sums);
        }
    }
}

static uint32_t level_and_1(mfs_rank_t rank)
{
    const bool is_one = rank < MFS_RANK_LAST && mfs_rank_level(rank) <= MFS_LEVELS_MAX;

    return is_one ? mfs_rank_level(rank) + 1 : 0;
}

void mfs_far_rank_tell(mfs_rank_t rank, int64_t now_ns, uint32_t *level, int64_t *span_ns)
{
    const bool is_one = level_and_1(rank) > 0;

    *level = is_one ? mfs_rank_level(rank) : MFS_FAR_NO_LEVEL;
    *span_ns = is_one ? mfs_exchange_span(rank, now_ns) : 0;
}

static bool told(struct mfs_host *host)
{
    return mfs_policy_keys_are_times(mfs_host_policy(host));
}

uint32_t mfs_far_claims(struct mfs_host *host, int64_t now_ns, struct mfs_claim *claims,
                        uint32_t room)
{
    struct mfs_far_sums sums;
    uint32_t count = 0;

    if (!told(host))
        return 0;
    mfs_far_sum(host->segment, mfs_config_get()->lease, now_ns, &sums);
    for (uint32_t word = 0; word < MFS_FAR_PORTS_MAX / 64; word++) {
        for (uint64_t bits = sums.seen[word]; bits && count < room; bits &= bits - 1) {
            const uint32_t port = word * 64 + bit_first(bits);
            struct mfs_claim *claim = &claims[count++];

            *claim = sums.claim[port];
            mfs_far_rank_tell(sums.rank[port], now_ns, &claim->level, &claim->span_ns);
            claim->under_way = level_and_1(sums.gone[port]);
        }
    }
    return count;
}

/* All that the port's senders have ever completed, but for the guest that stands for others. */
static uint64_t own_done(const struct mfs_port *port, const struct mfs_guest *guest)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        const struct mfs_sender_cell *cell = &port->cell->senders[i];

        if (!guest || cell != mfs_guest_cell(guest))
            bytes += mfs_get(&cell->done_bytes);
    }
    return bytes;
}

bool mfs_port_claim(struct mfs_port *port, const struct mfs_guest *guest, int64_t now_ns,
                    struct mfs_claim *claim)
{
    const struct mfs_segment *segment = port->host->segment;
    const uint32_t own = MFS_CLAIM_OF_OWN((uint32_t)(port->cell - segment->ports));
    const int64_t lease_ns = mfs_config_get()->lease;
    mfs_rank_t waits = MFS_RANK_NONE, gone = MFS_RANK_NONE;
    bool any = false;

    *claim = (struct mfs_claim){.far = MFS_FAR_NONE, .level = MFS_FAR_NO_LEVEL};
    if (!told(port->host))
        return false;
    for (uint32_t word = 0; word < MFS_CLAIMED_WORDS; word++) {
        for (uint64_t bits = mfs_get(&segment->far.claimed[word]); bits; bits &= bits - 1) {
            const struct mfs_claim_cell *row = &segment->far.claims[word * 64 + bit_first(bits)];

            if (mfs_get(&row->far) != own || !row_told(row, lease_ns, now_ns))
                continue;
            row_add(segment, row, (struct ranks){&waits, &gone}, claim);
            any = true;
        }
    }
    mfs_far_rank_tell(waits, now_ns, &claim->level, &claim->span_ns);
    claim->done_bytes = any ? own_done(port, guest) : 0;
    return any;
}
