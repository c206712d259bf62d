/* SPDX-License-Identifier: Apache-2.0 */
#include "core/exchange.h"

/* Parts of the delay, as tuned: docs/decisions/0051-receivers-tell-which-ranks-may-send.md. */
#define DRY_PART 8
#define FULL_PART 4

uint32_t mfs_exchange_allowed(uint32_t allowed, uint32_t count, int64_t backlog_ns,
                              int64_t delay_ns)
{
    if (delay_ns > MFS_EXCHANGE_DELAY_MAX_NS)
        return count;
    if (backlog_ns <= delay_ns / DRY_PART)
        allowed++;
    else if (backlog_ns > delay_ns / FULL_PART && allowed > 0)
        allowed--;
    if (allowed > count)
        allowed = count;
    return allowed > 0 ? allowed : 1;
}

mfs_rank_t mfs_exchange_limit(mfs_rank_t *claims, uint32_t count, uint32_t allowed)
{
    if (allowed >= count)
        return MFS_RANK_NONE;
    for (uint32_t i = 0; i < allowed; i++) { /* the i-th best to its place */
        const mfs_rank_t first = claims[i];
        uint32_t best = i;

        for (uint32_t k = i + 1; k < count; k++) {
            if (claims[k] < claims[best])
                best = k;
        }
        claims[i] = claims[best];
        claims[best] = first;
    }
    return allowed > 0 ? claims[allowed - 1] : 0;
}

/* --- between two clocks --- */

static int64_t span_cut(int64_t span_ns)
{
    if (span_ns > MFS_EXCHANGE_SPAN_MAX_NS)
        return MFS_EXCHANGE_SPAN_MAX_NS;
    return span_ns < -MFS_EXCHANGE_SPAN_MAX_NS ? -MFS_EXCHANGE_SPAN_MAX_NS : span_ns;
}

int64_t mfs_exchange_span(mfs_rank_t rank, int64_t now_ns)
{
    int64_t span_ns;

    if (__builtin_sub_overflow(mfs_rank_key(rank), now_ns, &span_ns))
        return now_ns < 0 ? MFS_EXCHANGE_SPAN_MAX_NS : -MFS_EXCHANGE_SPAN_MAX_NS;
    return span_cut(span_ns);
}

mfs_rank_t mfs_exchange_rank(uint32_t level, int64_t span_ns, int64_t now_ns)
{
    int64_t key_ns;

    if (level > MFS_LEVELS_MAX)
        return MFS_RANK_NONE;
    if (__builtin_add_overflow(now_ns, span_cut(span_ns), &key_ns))
        key_ns = MFS_KEY_MAX;
    return mfs_rank_make(level, key_ns > 0 ? key_ns : 1);
}

/* --- for how long another host is believed --- */

static int64_t leases(int64_t lease_ns, int64_t count)
{
    int64_t result;

    return __builtin_mul_overflow(lease_ns, count, &result) ? MFS_TIME_NEVER : result;
}

mfs_rank_t mfs_exchange_heed(struct mfs_far_end *end, mfs_rank_t best, mfs_rank_t limit,
                             int64_t lease_ns, int64_t now_ns)
{
    if (best == MFS_RANK_NONE || best <= limit) {
        end->held_ns = 0;
    } else if (end->held_ns == 0) {
        end->held_ns = now_ns;
    } else if (now_ns - end->held_ns > leases(lease_ns, MFS_EXCHANGE_HELD_LEASES)) {
        end->held_ns = 0;
        return MFS_RANK_NONE;
    }
    return limit;
}

mfs_rank_t mfs_exchange_believe(struct mfs_guest_word *word, mfs_rank_t rank, uint64_t done_bytes,
                                int64_t lease_ns, int64_t now_ns)
{
    const int64_t turn_ns = leases(lease_ns, MFS_EXCHANGE_GUEST_LEASES);

    if (done_bytes != word->done_bytes || rank == MFS_RANK_NONE || word->moved_ns == 0)
        word->moved_ns = now_ns;
    word->done_bytes = done_bytes;
    if (word->doubted && now_ns - word->since_ns > turn_ns)
        *word = (struct mfs_guest_word){0, word->moved_ns, done_bytes, false};
    if (rank == MFS_RANK_NONE && !word->doubted)
        word->since_ns = 0;
    if (rank == MFS_RANK_NONE || word->doubted)
        return MFS_RANK_NONE;
    if (word->since_ns == 0)
        word->since_ns = now_ns;
    if (now_ns - word->since_ns > turn_ns) {
        word->since_ns = now_ns;
        word->doubted = true;
        return MFS_RANK_NONE;
    }
    return now_ns - word->moved_ns > lease_ns ? MFS_RANK_NONE : rank;
}
