/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UNTAGGED: A member whose traffic never has the best rank would wait for ever, so
 * the port keeps an account. While a live member has untagged traffic waiting, each
 * tagged byte earns share/(1000-share) of a byte; an untagged chunk that this pays for
 * is due and goes before all else, and the others yield to it as to a better rank:
 * otherwise whoever fills the window would also be the one to see its room. Among
 * untagged chunks the best rank (in most policies the oldest) has the turn, so no
 * member's is passed over. The account is one word, added to and taken from without a
 * lock: two members may both see the same credit, which costs a chunk. What is left when
 * nobody waits is kept, at most about a chunk; a member that looks less often than the
 * lease would never find any if it were dropped.
 *
 * RATE: it begins with what the configuration says, or with the speed of the link when
 * the port bears the name of a NIC, and is corrected, unless it was configured, by the
 * bytes completed over an interval in which the port was never idle. The interval starts
 * anew when a chunk finds the port empty and its sender had nothing to send before. A port
 * that is merely empty each time we look is not idle: a socket's buffer may take a whole
 * window at once. (Until 2026-11-25 every chunk that found it empty began an interval: of
 * such a port only the intervals with a stall in them were long enough to be samples, and
 * the estimate fell to a hundredth.) An interval in which the window was never full shows
 * what was asked for, not what the port can do: it may only raise an estimate. Whoever moves
 * the start of the interval owns the sample.
 */
#include "host/account.h"

#include "core/policy_rules.h"
#include "host/config.h"

#define CREDIT_MAX (UINT64_C(1) << 43) /* bytes; its products below stay in 64 bits */

bool mfs_account_due(const struct mfs_port_cell *cell, uint64_t bytes)
{
    const uint64_t share = mfs_config_get()->untagged_share;

    return share == 1000 ||
           (share > 0 &&
            atomic_load_explicit(&cell->untagged_credit, memory_order_relaxed) / 1000 >= bytes);
}

void mfs_account_earn(struct mfs_port_cell *cell, uint64_t bytes)
{
    const uint64_t share = mfs_config_get()->untagged_share;

    if (share == 1000 ||
        atomic_load_explicit(&cell->untagged_credit, memory_order_relaxed) > CREDIT_MAX * 1000)
        return;
    if (bytes > CREDIT_MAX)
        bytes = CREDIT_MAX;
    atomic_fetch_add_explicit(&cell->untagged_credit, bytes * 1000 * share / (1000 - share),
                              memory_order_relaxed);
}

void mfs_account_spend(struct mfs_port_cell *cell, uint64_t bytes)
{
    uint64_t credit = atomic_load_explicit(&cell->untagged_credit, memory_order_relaxed);

    while (credit > 0 &&
           !atomic_compare_exchange_weak_explicit(&cell->untagged_credit, &credit,
                                                  credit / 1000 > bytes ? credit - bytes * 1000 : 0,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

bool mfs_account_pace(struct mfs_port_cell *cell, uint64_t bytes, int64_t now_ns)
{
    const uint64_t pace_Bps = mfs_config_get()->pace;
    int64_t next_ns, start_ns;

    if (pace_Bps == 0)
        return true;
    next_ns = atomic_load_explicit(&cell->pace_next_ns, memory_order_relaxed);
    do {
        if (next_ns > now_ns)
            return false;
        /* up to a millisecond of lateness is made up, so that coarse polling keeps the rate */
        start_ns = next_ns > now_ns - 1000000 ? next_ns : now_ns - 1000000;
    } while (!atomic_compare_exchange_weak_explicit(
        &cell->pace_next_ns, &next_ns, mfs_time_plus(start_ns, mfs_span_bytes(bytes, pace_Bps)),
        memory_order_relaxed, memory_order_relaxed));
    return true;
}

static uint64_t done_bytes(const struct mfs_port_cell *cell)
{
    const uint32_t high = atomic_load_explicit(&cell->members_high, memory_order_acquire);
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < high; i++)
        bytes += atomic_load_explicit(&cell->members[i].done_bytes, memory_order_relaxed);
    return bytes;
}

void mfs_account_begin(struct mfs_port_cell *cell, int64_t now_ns)
{
    atomic_store_explicit(&cell->sample_base, done_bytes(cell), memory_order_relaxed);
    atomic_store_explicit(&cell->sample_full, 0, memory_order_relaxed);
    atomic_store_explicit(&cell->sample_since_ns, now_ns, memory_order_relaxed);
}

bool mfs_account_sample_due(const struct mfs_port_cell *cell, int64_t now_ns)
{
    return now_ns - atomic_load_explicit(&cell->sample_since_ns, memory_order_relaxed) >=
           MFS_RATE_SAMPLE_NS;
}

void mfs_account_measure(struct mfs_port_cell *cell, int64_t now_ns)
{
    int64_t since_ns = atomic_load_explicit(&cell->sample_since_ns, memory_order_relaxed);
    uint64_t rate_Bps, total, bytes;
    bool full;

    if (now_ns - since_ns < MFS_RATE_SAMPLE_NS ||
        !atomic_compare_exchange_strong_explicit(&cell->sample_since_ns, &since_ns, now_ns,
                                                 memory_order_relaxed, memory_order_relaxed))
        return;
    total = done_bytes(cell);
    bytes = total - atomic_exchange_explicit(&cell->sample_base, total, memory_order_relaxed);
    full = atomic_exchange_explicit(&cell->sample_full, 0, memory_order_relaxed);
    rate_Bps = atomic_load_explicit(&cell->rate_Bps, memory_order_relaxed);
    atomic_store_explicit(&cell->rate_Bps, mfs_rate_next(rate_Bps, bytes, now_ns - since_ns, full),
                          memory_order_relaxed);
}
