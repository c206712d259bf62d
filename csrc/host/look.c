/* SPDX-License-Identifier: Apache-2.0 */
#include "host/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/copy.h"
#include "host/event.h"
#include "host/identity.h"

_Static_assert(MFS_LOOK_PROCESSES_MAX == MFS_PROCESSES_MAX, "all of them");
_Static_assert(MFS_LOOK_SENDERS_MAX == MFS_SENDERS_MAX, "all of them");
_Static_assert(MFS_LOOK_WARNED_MAX == MFS_WARNED_MAX, "all of them");
_Static_assert(MFS_RANK_NONE >> MFS_KEY_BITS < MFS_LOOK_NOTHING, "no rank has this level");

/* --- what it says --- */

static void counters_tell(struct mfs_host *copy, struct mfs_look *look)
{
    for (int i = 0; i < MFS_COUNT_LAST; i++)
        look->counters[i] = mfs_count_total(copy, (enum mfs_counter)i);
}

/* index: of each slot in the look's processes. */
static void processes_tell(struct mfs_host *copy, const struct mfs_living *living,
                           struct mfs_look *look, uint32_t *index)
{
    for (uint32_t slot = 0; slot < MFS_PROCESSES_MAX; slot++) {
        struct mfs_look_process *process = &look->processes[look->process_count];

        if (!mfs_living_owner(living, slot + 1))
            continue;
        index[slot] = look->process_count++;
        copy->process = slot;
        mfs_identity_read(&copy->segment->processes[slot], process);
        for (int i = 0; i < MFS_COUNT_LAST; i++)
            process->counters[i] = mfs_count_process(copy, (enum mfs_counter)i);
    }
}

static void sender_tell(const struct mfs_sender_cell *cell, int64_t now_ns,
                        struct mfs_look_sender *sender)
{
    const mfs_rank_t rank = mfs_get(&cell->rank);
    const int64_t stamp_ns = mfs_get(&cell->stamp_ns);

    sender->level = rank >= MFS_RANK_LAST ? MFS_LOOK_NOTHING : mfs_rank_level(rank);
    sender->stalled = mfs_get(&cell->stalled);
    sender->inflight_bytes = mfs_get(&cell->inflight_bytes);
    sender->age_ns = mfs_moment_age(stamp_ns, now_ns);
    sender->away_ns = (int64_t)mfs_get(&cell->away_us) * 1000;
    sender->covers_ns = (int64_t)mfs_get(&cell->covers_us) * 1000;
    sender->still = (rank != MFS_RANK_NONE || sender->inflight_bytes > 0) &&
                    !mfs_stamp_fresh(stamp_ns, now_ns, mfs_config_get()->lease);
}

static void port_tell(struct mfs_port_cell *cell, const struct mfs_living *living,
                      const uint32_t *index, int64_t now_ns, struct mfs_look_port *port)
{
    const struct mfs_port there = {.cell = cell};

    port->direction = mfs_get(&cell->direction);
    port->rate_Bps = mfs_port_rate_Bps(&there);
    port->window_bytes = mfs_port_window(&there);
    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++) {
        const uint32_t owner = mfs_get(&cell->senders[i].owner);

        port->done_bytes += mfs_get(&cell->senders[i].done_bytes);
        if (!mfs_living_owner(living, owner))
            continue;
        sender_tell(&cell->senders[i], now_ns, &port->senders[port->sender_count]);
        port->senders[port->sender_count++].process = index[owner - 1];
    }
}

static void ports_tell(struct mfs_host *copy, const struct mfs_living *living,
                       const uint32_t *index, struct mfs_look *look)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        struct mfs_port_cell *cell = &copy->segment->ports[i];
        struct mfs_look_port *port = &look->ports[look->port_count];

        if (mfs_get(&cell->direction) > MFS_INGRESS || mfs_port_name_at(copy, i, port->name) != 0)
            continue;
        look->port_count++;
        port_tell(cell, living, index, look->now_ns, port);
    }
}

static enum mfs_look_request request_state(const struct mfs_facts *facts, int64_t now_ns)
{
    if (facts->flags & (MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED))
        return MFS_LOOK_GIVEN_UP;
    if (facts->deadline_ns < now_ns)
        return MFS_LOOK_LATE;
    if (facts->flags & MFS_REQUEST_COMPUTED)
        return MFS_LOOK_COMPUTED;
    return facts->start_ns <= now_ns ? MFS_LOOK_COMPUTING : MFS_LOOK_WAITING;
}

static void requests_tell(const struct mfs_segment *segment, const struct mfs_living *living,
                          struct mfs_look *look)
{
    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++) {
        const struct mfs_request_cell *cell = &segment->requests[i];
        struct mfs_facts facts;

        if (!mfs_get(&cell->live) || !mfs_living_owner(living, mfs_get(&cell->owner)))
            continue;
        memcpy(&facts, (const void *)cell->words, sizeof(facts));
        mfs_verdict_apply(segment, mfs_get(&cell->follows), mfs_get(&cell->key), &facts);
        look->requests[request_state(&facts, look->now_ns)]++;
    }
}

static void warnings_tell(const struct mfs_segment *segment, struct mfs_look *look)
{
    for (uint32_t i = 0; i < MFS_WARNED_MAX; i++)
        look->warned_count += mfs_warned_read(segment, i, &look->warned[look->warned_count]);
}

void mfs_look_tell(struct mfs_segment *segment, const struct mfs_living *living,
                   struct mfs_look *look)
{
    struct mfs_host copy = {.segment = segment, .fd = -1, .slot_fd = -1};
    uint32_t index[MFS_PROCESSES_MAX] = {0};

    memset(look, 0, sizeof(*look));
    look->now_ns = mfs_now_ns();
    look->pid_namespace = mfs_identity_namespace();
    look->policy = mfs_host_policy(&copy)->name;
    look->tracing = mfs_event_tracing(&copy);
    counters_tell(&copy, look);
    processes_tell(&copy, living, look, index);
    ports_tell(&copy, living, index, look);
    requests_tell(segment, living, look);
    warnings_tell(segment, look);
}

static int take(const char *path, unsigned parts, struct mfs_look *look)
{
    struct mfs_segment *copy = calloc(1, sizeof(*copy));
    struct mfs_living living;
    int error = copy ? mfs_segment_copy(path, parts, copy, &living) : -ENOMEM;

    if (!error)
        mfs_look_tell(copy, &living, look);
    free(copy);
    return error;
}

int mfs_look_take(const char *path, struct mfs_look *look)
{
    return take(path, MFS_COPY_REQUESTS, look);
}

int mfs_look_past(const char *path, struct mfs_look *look)
{
    return take(path, MFS_COPY_REQUESTS | MFS_COPY_PAST, look);
}
