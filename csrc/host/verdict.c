/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TRUST: Any word may be anything (core/trust.h). A place is compared with what there is, a cell
 * with the request that it is of, a verdict with the key that it is about, and an end that lies
 * too far ahead has come. The worst that rubbish does is a verdict that is not true, for a while.
 */
#include "host/verdict.h"

#include <errno.h>

#include "core/atomic.h"
#include "host/attach.h"

#define GIVEN_UP ((uint32_t)(MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED))
#define ABOUT(key) ((key) & ~(uint64_t)MFS_VERDICT_ALL)

/* --- what is fresh --- */

/* 0: nothing is. */
static uint32_t fresh(const struct mfs_follow_cell *cell, int64_t now_ns)
{
    uint64_t word;

    /* the agent's clock is read after ours at times, so an end may be a little further ahead */
    if (mfs_moment_come(mfs_see(&cell->until_ns), now_ns, 2 * MFS_VERDICT_HOLD_NS))
        return 0;
    word = mfs_get(&cell->verdict);
    if (ABOUT(word) != ABOUT(mfs_get(&cell->owner_key)) || !(word & MFS_VERDICT_KNOWN))
        return 0;
    return (uint32_t)(word & MFS_VERDICT_ALL);
}

void mfs_verdict_apply(const struct mfs_segment *segment, uint32_t follows, uint64_t key,
                       struct mfs_facts *facts)
{
    const struct mfs_follow_cell *cell;
    uint32_t verdict;

    if (follows == 0 || follows > MFS_FOLLOWS_MAX)
        return;
    cell = &segment->follows.cells[follows - 1];
    if (mfs_see(&cell->key) != key)
        return;
    verdict = fresh(cell, mfs_now_ns());
    if (!verdict)
        return;
    facts->flags = (facts->flags & ~GIVEN_UP) | (verdict & GIVEN_UP);
    facts->shed_for = MFS_REQUEST_NONE; /* its owner knows for whom */
}

/* --- who follows --- */

static void cell_clear(struct mfs_segment *segment, struct mfs_follow_cell *cell)
{
    mfs_set(&cell->until_ns, 0);
    mfs_publish(&cell->key, MFS_REQUEST_NONE);
    mfs_bump(&segment->follows.version, 1);
}

void mfs_verdict_let_go(struct mfs_segment *segment, struct mfs_request_cell *cell)
{
    const uint32_t follows = mfs_get(&cell->follows);

    if (follows == 0)
        return;
    mfs_set(&cell->follows, 0);
    if (follows <= MFS_FOLLOWS_MAX &&
        mfs_get(&segment->follows.cells[follows - 1].key) == mfs_get(&cell->key))
        cell_clear(segment, &segment->follows.cells[follows - 1]);
}

static struct mfs_follow_cell *cell_free(struct mfs_segment *segment)
{
    for (uint32_t i = 0; i < MFS_FOLLOWS_MAX; i++) {
        if (mfs_get(&segment->follows.cells[i].key) == MFS_REQUEST_NONE)
            return &segment->follows.cells[i];
    }
    return NULL;
}

/* Cells of requests that know nothing of them, as after somebody has written over a word. */
static void cells_look_after(struct mfs_segment *segment)
{
    for (uint32_t i = 0; i < MFS_FOLLOWS_MAX; i++) {
        struct mfs_follow_cell *cell = &segment->follows.cells[i];
        const struct mfs_request_cell *request =
            mfs_request_cell_find(segment, mfs_get(&cell->key));

        if (!request || mfs_get(&request->follows) != i + 1)
            cell_clear(segment, cell);
    }
}

/* Its own, or a free one; NULL: there is none. */
static struct mfs_follow_cell *cell_of(struct mfs_segment *segment,
                                       const struct mfs_request_cell *request)
{
    const uint32_t follows = mfs_get(&request->follows);
    struct mfs_follow_cell *cell;

    if (follows > 0 && follows <= MFS_FOLLOWS_MAX &&
        mfs_get(&segment->follows.cells[follows - 1].key) == mfs_get(&request->key))
        return &segment->follows.cells[follows - 1];
    cell = cell_free(segment);
    if (!cell)
        cells_look_after(segment);
    return cell ? cell : cell_free(segment);
}

static int64_t hold(int64_t for_ns)
{
    return for_ns < MFS_VERDICT_HOLD_NS ? for_ns : MFS_VERDICT_HOLD_NS;
}

/* The lock is held. */
static int follow(struct mfs_segment *segment, uint64_t key, uint64_t owner, uint64_t owner_key,
                  uint32_t verdict)
{
    struct mfs_request_cell *request = mfs_request_cell_find(segment, key);
    struct mfs_follow_cell *cell;

    if (!request)
        return -ENOENT;
    cell = cell_of(segment, request);
    if (!cell)
        return -ENOSPC;
    mfs_set(&cell->until_ns, 0);
    mfs_set(&cell->owner, owner);
    mfs_set(&cell->owner_key, owner_key);
    mfs_set(&cell->verdict, ABOUT(owner_key) | verdict);
    if (verdict)
        mfs_publish(&cell->until_ns, mfs_now_ns() + MFS_VERDICT_HOLD_NS);
    mfs_publish(&cell->key, key);
    mfs_set(&request->follows, (uint32_t)(cell - segment->follows.cells) + 1);
    mfs_bump(&segment->follows.version, 1);
    mfs_bump(&segment->request_version, 1);
    return 0;
}

int mfs_verdict_follow(struct mfs_host *host, uint64_t key, uint64_t owner, uint64_t owner_key,
                       uint32_t verdict)
{
    int error;

    if (key == MFS_REQUEST_NONE || owner == 0 || owner_key == MFS_REQUEST_NONE ||
        verdict > MFS_VERDICT_ALL)
        return -EINVAL;
    if (mfs_verdict_owner(host) == 0)
        return -ENOTCONN;
    error = mfs_segment_lock(host);
    if (error)
        return error;
    error = follow(host->segment, key, owner, owner_key, verdict);
    mfs_segment_unlock(host);
    return error;
}

/* --- the agent --- */

void mfs_verdict_attend(struct mfs_host *host, uint64_t owner)
{
    mfs_set(&host->segment->follows.owner, owner);
}

uint64_t mfs_verdict_owner(struct mfs_host *host)
{
    return mfs_far_attended(&host->segment->far, mfs_now_ns())
               ? mfs_get(&host->segment->follows.owner)
               : 0;
}

uint64_t mfs_verdict_version(struct mfs_host *host)
{
    return mfs_see(&host->segment->follows.version);
}

uint32_t mfs_verdict_follows(struct mfs_host *host, struct mfs_follow *rows, uint32_t room)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < MFS_FOLLOWS_MAX && count < room; i++) {
        const struct mfs_follow_cell *cell = &host->segment->follows.cells[i];

        if (mfs_see(&cell->key) != MFS_REQUEST_NONE)
            rows[count++] =
                (struct mfs_follow){i, mfs_get(&cell->owner), mfs_get(&cell->owner_key)};
    }
    return count;
}

uint32_t mfs_verdict_own(struct mfs_host *host, uint64_t key)
{
    struct mfs_facts facts;
    uint32_t follows;

    if (!mfs_request_read_own(host->segment, key, &facts, &follows) || follows)
        return 0;
    return MFS_VERDICT_KNOWN | (facts.flags & GIVEN_UP);
}

void mfs_verdict_tell(struct mfs_host *host, const struct mfs_follow *row, uint32_t verdict,
                      int64_t for_ns)
{
    const int64_t now_ns = mfs_now_ns();
    struct mfs_follow_cell *cell;
    uint32_t before;

    if (row->place >= MFS_FOLLOWS_MAX)
        return;
    cell = &host->segment->follows.cells[row->place];
    if (mfs_get(&cell->owner) != row->owner || mfs_get(&cell->owner_key) != row->key)
        return; /* it is another request's by now */
    before =
        mfs_get(&cell->until_ns) == 0 ? 0 : (uint32_t)(mfs_get(&cell->verdict) & MFS_VERDICT_ALL);
    verdict = verdict & MFS_VERDICT_KNOWN && for_ns > 0 ? verdict & MFS_VERDICT_ALL : 0;
    mfs_set(&cell->verdict, ABOUT(row->key) | verdict);
    mfs_publish(&cell->until_ns, verdict ? now_ns + hold(for_ns) : 0);
    if (verdict != before)
        mfs_bump(&host->segment->request_version, 1);
}

void mfs_verdict_void(struct mfs_segment *segment)
{
    mfs_set(&segment->follows.owner, 0);
    for (uint32_t i = 0; i < MFS_FOLLOWS_MAX; i++)
        mfs_set(&segment->follows.cells[i].until_ns, 0);
    mfs_bump(&segment->request_version, 1);
}

void mfs_verdict_reap(struct mfs_segment *segment)
{
    if (mfs_get(&segment->follows.owner) != 0 && !mfs_far_attended(&segment->far, mfs_now_ns()))
        mfs_verdict_void(segment);
}
