/* SPDX-License-Identifier: Apache-2.0 */
#include "host/look_waits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"
#include "core/latest_finish.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/copy.h"
#include "host/name.h"
#include "host/waits.h"

_Static_assert(MFS_LOOK_WAITS_MAX == MFS_WAIT_ROWS, "all of them");
_Static_assert(MFS_LOOK_NOBODY == MFS_PROCESSES_MAX, "none of them");

/* What all queues are told by. */
struct here {
    struct mfs_host copy;
    const struct mfs_segment *segment;
    const struct mfs_living *living;
    int64_t now_ns;
    uint32_t index[MFS_PROCESSES_MAX]; /* of each slot in the look's processes */
    const struct mfs_wait_table *tables[MFS_PORTS_MAX][MFS_SENDERS_MAX];
};

static void tables_find(struct here *here)
{
    for (uint32_t i = 0; i < MFS_WAIT_TABLES; i++) {
        const struct mfs_wait_table *table = &here->segment->waits[i];
        const uint32_t port = mfs_get(&table->port), sender = mfs_get(&table->sender);

        if (mfs_living_owner(here->living, mfs_get(&table->owner)) && port < MFS_PORTS_MAX &&
            sender < MFS_SENDERS_MAX)
            here->tables[port][sender] = table;
    }
}

static bool row_read(const struct mfs_wait_table *table, uint32_t at, struct mfs_wait_row *row)
{
    uint64_t words[MFS_WAIT_WORDS];

    for (size_t i = 0; i < MFS_WAIT_WORDS; i++)
        words[i] = mfs_get(&table->rows[at][i]);
    memcpy(row, words, sizeof(*row));
    mfs_name_clean(row->peer, sizeof(row->peer), row->peer, sizeof(row->peer));
    return row->stage <= MFS_STAGE_P2D && row->why < MFS_WAITS_LAST && row->level <= MFS_LEVELS_MAX;
}

static void request_tell(struct here *here, const struct mfs_wait_row *row, uint64_t rate_Bps,
                         struct mfs_look_wait *wait)
{
    uint64_t left = row->bytes_left;
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    wait->due_ns = wait->laxity_ns = wait->finish_ns = MFS_TIME_NEVER;
    if (row->request == MFS_REQUEST_NONE)
        return;
    mfs_request_name(&here->copy, row->request, wait->request);
    if (mfs_request_get(&here->copy, row->request, &facts) != 0)
        return;
    wait->given_up = (facts.flags & (MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED)) != 0;
    wait->finish_ns =
        mfs_time_minus(mfs_latest_finish(row->stage, row->layer, &facts), here->now_ns);
    wait->p2d_left_bytes = facts.p2d_left_bytes;
    if (facts.deadline_ns == MFS_TIME_NEVER)
        return;
    if (row->stage == MFS_STAGE_P2D && facts.p2d_left_bytes > left)
        left = facts.p2d_left_bytes;
    wait->due_ns = mfs_time_minus(facts.deadline_ns, here->now_ns);
    wait->laxity_ns = mfs_time_minus(wait->due_ns, mfs_span_bytes(left, rate_Bps));
}

static void wait_tell(struct here *here, const struct mfs_wait_row *row, uint64_t rate_Bps,
                      struct mfs_look_wait *wait)
{
    *wait = (struct mfs_look_wait){
        .key = row->request,
        .layer = row->layer,
        .stage = row->stage,
        .level = row->level < MFS_LEVELS_MAX ? row->level : MFS_LOOK_NOTHING,
        .why = row->why,
        .bytes_left = row->bytes_left,
        .bytes_sent = row->bytes_sent,
        .inflight_bytes = row->inflight_bytes,
        .wait_ns = mfs_moment_age(row->posted_ns, here->now_ns),
        .still_ns = mfs_moment_age(row->moved_ns, here->now_ns),
        .peer_ns = row->peer_ns != 0 ? mfs_moment_age(row->peer_ns, here->now_ns) : -1,
    };
    memcpy(wait->peer, row->peer, sizeof(wait->peer));
    request_tell(here, row, rate_Bps, wait);
}

/* As many bytes have been completed since as waited and were in flight: it has gone, all of it. */
static bool has_gone(const struct mfs_wait_table *table, const struct mfs_sender_cell *cell)
{
    const uint64_t since = mfs_get(&cell->done_bytes) - mfs_get(&table->done_bytes);

    return since >= mfs_get(&table->bytes) + mfs_get(&table->held_bytes);
}

static void table_tell(struct here *here, const struct mfs_wait_table *table,
                       const struct mfs_sender_cell *cell, uint64_t rate_Bps,
                       struct mfs_look_queue *queue)
{
    const uint32_t count = mfs_at_most(mfs_get(&table->count), MFS_WAIT_ROWS);
    const int64_t told_ns = mfs_get(&table->told_ns);
    struct mfs_wait_row row;

    if (told_ns == 0)
        return;
    queue->told_ns = mfs_moment_age(told_ns, here->now_ns);
    if ((mfs_see(&table->sequence) & 1) || has_gone(table, cell))
        return;
    queue->flows = mfs_get(&table->flows);
    queue->bytes = mfs_get(&table->bytes);
    for (uint32_t i = 0; i < count; i++) {
        if (row_read(table, i, &row))
            wait_tell(here, &row, rate_Bps, &queue->waits[queue->count++]);
    }
}

/* Whose chunk goes before the best of `self`? */
static void better_find(const struct here *here, const struct mfs_port_cell *port,
                        const struct mfs_sender_cell *self, struct mfs_look_queue *queue)
{
    mfs_rank_t best = mfs_get(&self->rank);

    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        const struct mfs_sender_cell *cell = &port->senders[i];
        const uint32_t owner = mfs_get(&cell->owner);

        if (cell == self || mfs_get(&cell->rank) >= best ||
            !mfs_living_owner(here->living, owner) ||
            !mfs_stamp_fresh(mfs_get(&cell->stamp_ns), here->now_ns, mfs_config_get()->lease))
            continue;
        best = mfs_get(&cell->rank);
        queue->better_process = here->index[owner - 1];
        queue->better_level = mfs_rank_level(best);
    }
}

/* False: it has nothing to do. */
static bool queue_tell(struct here *here, uint32_t at, uint32_t index, struct mfs_look_queue *queue)
{
    const struct mfs_port_cell *port = &here->segment->ports[at];
    const struct mfs_sender_cell *cell = &port->senders[index];
    const struct mfs_port there = {.cell = &here->copy.segment->ports[at]};
    const mfs_rank_t rank = mfs_get(&cell->rank);
    const int64_t stamp_ns = mfs_get(&cell->stamp_ns);

    memset(queue, 0, sizeof(*queue));
    queue->process = here->index[mfs_get(&cell->owner) - 1];
    queue->better_process = MFS_LOOK_NOBODY;
    queue->direction = mfs_get(&port->direction);
    queue->level = rank >= MFS_RANK_LAST ? MFS_LOOK_NOTHING : mfs_rank_level(rank);
    queue->stalled = mfs_get(&cell->stalled);
    queue->inflight_bytes = mfs_get(&cell->inflight_bytes);
    queue->age_ns = mfs_moment_age(stamp_ns, here->now_ns);
    queue->still = !mfs_stamp_fresh(stamp_ns, here->now_ns, mfs_config_get()->lease);
    queue->told_ns = -1;
    if (here->tables[at][index])
        table_tell(here, here->tables[at][index], cell, mfs_port_rate_Bps(&there), queue);
    if (rank != MFS_RANK_NONE)
        better_find(here, port, cell, queue);
    return queue->count > 0 || rank != MFS_RANK_NONE || queue->inflight_bytes > 0 ||
           queue->stalled > 0;
}

static void tell(struct here *here, struct mfs_look_waits *look)
{
    uint32_t count = 0;

    memset(look, 0, sizeof(*look));
    for (uint32_t slot = 0; slot < MFS_PROCESSES_MAX; slot++) {
        if (mfs_living_owner(here->living, slot + 1))
            here->index[slot] = count++;
    }
    tables_find(here);
    for (uint32_t at = 0; at < MFS_PORTS_MAX; at++) {
        char name[MFS_PORT_NAME_MAX + 1];

        if (mfs_get(&here->segment->ports[at].direction) > MFS_INGRESS ||
            mfs_port_name_at(&here->copy, at, name) != 0)
            continue;
        for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
            struct mfs_look_queue *queue = &look->queues[look->queue_count];

            if (!mfs_living_owner(here->living,
                                  mfs_get(&here->segment->ports[at].senders[i].owner)))
                continue;
            if (look->queue_count == MFS_LOOK_QUEUES_MAX) {
                look->left_out++;
                continue;
            }
            if (!queue_tell(here, at, i, queue))
                continue;
            memcpy(queue->port, name, sizeof(name));
            look->queue_count++;
        }
    }
}

int mfs_look_waits(const char *path, struct mfs_look *look, struct mfs_look_waits *waits)
{
    struct mfs_segment *copy = calloc(1, sizeof(*copy));
    struct here *here = calloc(1, sizeof(*here));
    struct mfs_living living;
    int error = copy && here ? 0 : -ENOMEM;

    if (!error)
        error = mfs_segment_copy(path, MFS_COPY_REQUESTS | MFS_COPY_WAITS, copy, &living);
    if (!error) {
        mfs_look_tell(copy, &living, look);
        here->copy = (struct mfs_host){.segment = copy, .fd = -1, .slot_fd = -1};
        here->segment = copy;
        here->living = &living;
        here->now_ns = look->now_ns;
        tell(here, waits);
    }
    free(here);
    free(copy);
    return error;
}
