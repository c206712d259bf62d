/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WRITING: A number is drawn by one atomic add; its cell is then the writer's alone,
 * unless the ring comes round before it is done: then two write one cell, the numbers
 * differ, and the reader takes neither. The cell's number is 0 while it is written.
 *
 * READING: The words are copied between two looks at the cell's number; only if both
 * say what was looked for is it an event. A number that was drawn long ago and still has
 * not come is passed by as soon as a whole batch behind it has.
 */
#include "host/event.h"

#include <string.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/name.h"

#define GIVE_UP_AFTER 256u /* numbers drawn since, before an event half written is passed by */

void mfs_event_trace(struct mfs_host *host, bool on)
{
    mfs_set(&host->segment->tracing, on);
}

bool mfs_event_tracing(struct mfs_host *host)
{
    return mfs_get(&host->segment->tracing) != 0;
}

uint64_t mfs_event_count(struct mfs_host *host)
{
    return mfs_see(&host->segment->events_count);
}

static struct mfs_event_cell *cell_of(struct mfs_segment *segment, uint64_t number)
{
    return &segment->events[number & (MFS_EVENTS_MAX - 1)];
}

static void record(struct mfs_segment *segment, const struct mfs_event *event)
{
    const uint64_t number = mfs_bump(&segment->events_count, 1);
    struct mfs_event_cell *cell = cell_of(segment, number);

    mfs_set(&cell->number, 0);
    mfs_fence_release(); /* no word is written before the 0 */
    for (size_t i = 0; i < MFS_EVENT_WORDS; i++) {
        uint64_t word;

        memcpy(&word, (const char *)event + i * sizeof(word), sizeof(word));
        mfs_set(&cell->words[i], word);
    }
    mfs_publish(&cell->number, number + 1);
}

static bool wanted(void *ctx)
{
    return mfs_event_tracing(((struct mfs_port *)ctx)->host);
}

/* As the table of requests has it, or had it. Cleaned when it is read. */
static void name_of(struct mfs_port *port, uint64_t key, char *name)
{
    const uint32_t row = (uint32_t)(key >> 32) % MFS_EVENT_NAMES;

    if (port->names[row].key != key) {
        mfs_request_name_raw(port->host, key, port->names[row].name);
        port->names[row].key = port->names[row].name[0] ? key : MFS_REQUEST_NONE;
    }
    memcpy(name, port->names[row].name, sizeof(port->names[row].name));
}

static void told(void *ctx, const struct mfs_flow_told *told)
{
    struct mfs_port *port = ctx;
    struct mfs_segment *segment = port->host->segment;
    const struct mfs_flow_info *flow = told->flow;
    struct mfs_event event = {
        .time_ns = told->now_ns,
        .deadline_ns = told->facts->deadline_ns,
        .request = flow->tag.request,
        .bytes_left = flow->bytes_left,
        .bytes_sent = flow->bytes_sent,
        .slack_ns = told->why.slack_ns,
        .rate_Bps = told->why.rate_Bps,
        .layer = flow->tag.layer,
        .stage = (uint16_t)flow->tag.stage,
        .kind = (uint16_t)told->event,
        .level = (uint16_t)flow->level,
        .level_before = (uint16_t)told->level_before,
        .port = (uint16_t)(port->cell - segment->ports),
        .direction = (uint16_t)mfs_get(&port->cell->direction),
        .pid = port->pid,
        .given_up = (told->facts->flags & (MFS_REQUEST_HOPELESS | MFS_REQUEST_SHED)) != 0,
        .why = (uint16_t)told->why.reason,
    };

    if (told->why.reason == MFS_WHY_SHED)
        event.shed_for = told->facts->shed_for;
    if (flow->tag.request != MFS_REQUEST_NONE)
        name_of(port, flow->tag.request, event.name);
    record(segment, &event);
}

struct mfs_flow_watch mfs_event_watch(struct mfs_port *port)
{
    return (struct mfs_flow_watch){port, wanted, told};
}

/* Every number in it is one that there is, and its name ends. */
static bool sound(struct mfs_event *event)
{
    mfs_name_clean(event->name, sizeof(event->name), event->name, sizeof(event->name));
    return event->kind <= MFS_FLOW_COMPLETED && event->stage <= MFS_STAGE_P2D &&
           event->direction <= MFS_INGRESS && event->level < MFS_LEVELS_MAX &&
           event->level_before < MFS_LEVELS_MAX && event->why < MFS_WHY_LAST;
}

/* 1: copied; 0: not there yet; -1: gone. */
static int read_one(struct mfs_segment *segment, uint64_t number, struct mfs_event *event)
{
    struct mfs_event_cell *cell = cell_of(segment, number);
    uint64_t words[MFS_EVENT_WORDS];
    uint64_t before = mfs_see(&cell->number);

    if (before != number + 1)
        return before > number + 1 ? -1 : 0;
    for (size_t i = 0; i < MFS_EVENT_WORDS; i++)
        words[i] = mfs_get(&cell->words[i]);
    mfs_fence_acquire();
    if (mfs_get(&cell->number) != number + 1)
        return -1;
    memcpy(event, words, sizeof(words));
    return sound(event) ? 1 : -1;
}

size_t mfs_event_read(struct mfs_host *host, uint64_t *next, struct mfs_event *events, size_t room,
                      uint64_t *lost)
{
    const uint64_t count = mfs_event_count(host);
    uint64_t number = *next < count ? *next : count, passed = 0; /* the segment may be a new one */
    size_t copied = 0;

    if (count > MFS_EVENTS_MAX && number < count - MFS_EVENTS_MAX) {
        passed = count - MFS_EVENTS_MAX - number;
        number = count - MFS_EVENTS_MAX;
    }
    for (; copied < room && number < count; number++) {
        const int there = read_one(host->segment, number, &events[copied]);

        if (there > 0)
            copied++;
        else if (there < 0 || count - number > GIVE_UP_AFTER)
            passed++;
        else
            break;
    }
    *next = number;
    if (lost)
        *lost += passed;
    return copied;
}
