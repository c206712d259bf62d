/* SPDX-License-Identifier: Apache-2.0 */
#include "host/waits.h"

#include <stdio.h>
#include <string.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/log.h"
#include "host/name.h"

#define HOLD_DEFAULT_NS INT64_C(60000000000)
#define NAME_BYTES (MFS_REQUEST_NAME_MAX + 1)

_Static_assert(sizeof(struct mfs_wait_row) % sizeof(uint64_t) == 0, "rows are copied by words");

/* --- the tables --- */

void mfs_waits_open(struct mfs_waits *waits, struct mfs_host *host, uint32_t port, uint32_t sender)
{
    const uint64_t hold_ns = (uint64_t)mfs_config_get()->hold_max;

    *waits = (struct mfs_waits){
        .host = host, .owner = host->process + 1, .port = port, .sender = sender};
    waits->every_ns = mfs_config_get()->waits_time;
    waits->limit_ns = (hold_ns > 0 ? (int64_t)hold_ns : HOLD_DEFAULT_NS) / 4;
    for (uint32_t i = 0; i < MFS_WAIT_TABLES && !waits->table; i++) {
        struct mfs_wait_table *table = &host->segment->waits[i];

        if (mfs_get(&table->owner))
            continue;
        mfs_set(&table->count, 0);
        mfs_set(&table->told_ns, 0);
        mfs_set(&table->sequence, 0);
        mfs_set(&table->port, port);
        mfs_set(&table->sender, sender);
        mfs_publish(&table->owner, waits->owner);
        waits->table = table;
    }
}

void mfs_waits_close(struct mfs_waits *waits)
{
    if (waits->table)
        mfs_publish(&waits->table->owner, 0);
    waits->table = NULL;
}

void mfs_waits_reap(struct mfs_segment *segment, const struct mfs_living *living)
{
    for (uint32_t i = 0; i < MFS_WAIT_TABLES; i++) {
        const uint32_t owner = mfs_get(&segment->waits[i].owner);

        if (owner && !mfs_living_owner(living, owner))
            mfs_publish(&segment->waits[i].owner, 0);
    }
}

/* --- names --- */

void mfs_waits_peer(const struct mfs_sender *sender, const struct mfs_destination *destination,
                    char name[MFS_PEER_NAME_MAX + 1])
{
    const struct mfs_transport_ops *transport = &sender->transport;

    memset(name, 0, MFS_PEER_NAME_MAX + 1);
    if (transport->describe)
        transport->describe(transport->ctx, destination, name, MFS_PEER_NAME_MAX + 1);
    mfs_name_clean(name, MFS_PEER_NAME_MAX + 1, name, MFS_PEER_NAME_MAX + 1);
}

/* "request cmpl-17, stage p2d, layer 3" */
static void tag_words(struct mfs_host *host, const struct mfs_tag *tag, char *text, size_t size)
{
    const char *stage = mfs_stage_name(tag->stage);
    char name[NAME_BYTES];

    if (tag->request == MFS_REQUEST_NONE) {
        snprintf(text, size, "no request");
        return;
    }
    mfs_request_name(host, tag->request, name);
    if (!*name)
        snprintf(name, sizeof(name), "%016llx", (unsigned long long)tag->request);
    snprintf(text, size, "request %s, stage %s, layer %u", name, stage ? stage : "?", tag->layer);
}

void mfs_waits_oldest(struct mfs_host *host, const struct mfs_sender *sender,
                      const struct mfs_destination *destination, char *text, size_t size)
{
    struct mfs_wait wait;
    char words[160];

    *text = '\0';
    if (mfs_sender_waits(sender, destination, &wait, 1) == 0 ||
        (wait.flow == 0 && wait.bytes_sent == 0))
        return;
    tag_words(host, &wait.tag, words, sizeof(words));
    snprintf(text, size, " (the oldest of %s)", words);
}

/* --- telling --- */

static const char *why_words(uint32_t why)
{
    static const char *const words[MFS_WAITS_LAST] = {
        [MFS_WAIT_LOOK] = "its sender's next look",
        [MFS_WAIT_TURN] = "more urgent transfers of its process",
        [MFS_WAIT_OTHERS] = "more urgent transfers of another process",
        [MFS_WAIT_WINDOW] = "room in the port's window",
        [MFS_WAIT_PACE] = "the pacer",
        [MFS_WAIT_SLOW] = "its receiver, which is slower than the port",
        [MFS_WAIT_STALLED] = "its receiver, which takes no bytes",
        [MFS_WAIT_LIMIT] = "more urgent transfers of other hosts to its receiver",
        [MFS_WAIT_FLIGHT] = "bytes in flight",
    };

    return words[why];
}

/* Since when nothing of it has been sent, as far as was seen; and was that said? */
static int64_t recall(const struct mfs_waits *waits, const struct mfs_wait *wait, int64_t now_ns,
                      bool *said)
{
    *said = false;
    if (wait->flow == 0) {
        *said = true; /* the transport tells of peers */
        return wait->destination->moved_ns > wait->posted_ns ? wait->destination->moved_ns
                                                             : wait->posted_ns;
    }
    for (uint32_t i = 0; i < waits->count; i++) {
        if (waits->seen[i].flow != wait->flow)
            continue;
        if (waits->seen[i].bytes_sent != wait->bytes_sent)
            return now_ns;
        *said = waits->seen[i].said;
        return waits->seen[i].moved_ns > wait->posted_ns ? waits->seen[i].moved_ns
                                                         : wait->posted_ns;
    }
    return wait->bytes_sent > 0 ? now_ns : wait->posted_ns;
}

/* The oldest that is due, and how many are beside it. */
static void say(const struct mfs_waits *waits, const struct mfs_sender *sender,
                const struct mfs_wait *wait, int64_t age_ns, uint32_t others)
{
    char words[160], peer[MFS_PEER_NAME_MAX + 1], more[80] = "";

    tag_words(waits->host, &wait->tag, words, sizeof(words));
    mfs_waits_peer(sender, wait->destination, peer);
    if (others > 0)
        snprintf(more, sizeof(more), ", and so do %s%u other%s",
                 others + 1 == MFS_WAIT_ROWS ? "at least " : "", others, others == 1 ? "" : "s");
    mfs_log(MFS_LOG_WARN,
            "nothing of %s%s%s has been sent since %.1f s: %llu bytes wait for %s%s; `mfs dump` "
            "shows all that wait",
            words, *peer ? " to " : "", peer, (double)age_ns * 1e-9,
            (unsigned long long)wait->bytes_left, why_words(wait->why), more);
}

static void row_write(struct mfs_wait_table *table, uint32_t at, const struct mfs_sender *sender,
                      const struct mfs_wait *wait, int64_t moved_ns)
{
    struct mfs_wait_row row = {
        .request = wait->tag.request,
        .bytes_left = wait->bytes_left,
        .bytes_sent = wait->bytes_sent,
        .inflight_bytes = wait->destination->inflight_bytes,
        .posted_ns = wait->posted_ns,
        .moved_ns = moved_ns,
        .peer_ns = wait->destination->inflight_bytes > 0 ? wait->destination->moved_ns : 0,
        .layer = wait->tag.layer,
        .stage = (uint16_t)wait->tag.stage,
        .level = (uint8_t)wait->level,
        .why = (uint8_t)wait->why,
    };
    uint64_t words[MFS_WAIT_WORDS];

    mfs_waits_peer(sender, wait->destination, row.peer);
    memcpy(words, &row, sizeof(words));
    for (size_t i = 0; i < MFS_WAIT_WORDS; i++)
        mfs_set(&table->rows[at][i], words[i]);
}

static void table_write(const struct mfs_waits *waits, const struct mfs_sender *sender,
                        const struct mfs_wait *found, uint32_t count, int64_t now_ns)
{
    struct mfs_wait_table *table = waits->table;
    const uint32_t sequence = mfs_get(&table->sequence);

    mfs_set(&table->owner, waits->owner); /* whatever another process has written over it */
    mfs_set(&table->port, waits->port);
    mfs_set(&table->sender, waits->sender);
    mfs_set(&table->sequence, sequence | 1);
    mfs_fence_release(); /* no word is written before it is odd */
    for (uint32_t i = 0; i < count; i++)
        row_write(table, i, sender, &found[i], waits->seen[i].moved_ns);
    mfs_set(&table->count, count);
    mfs_set(&table->flows, mfs_rmlq_flows(sender->queue));
    mfs_set(&table->bytes, mfs_rmlq_bytes(sender->queue));
    mfs_set(&table->held_bytes, mfs_sender_inflight(sender));
    mfs_set(&table->done_bytes, sender->told.done_bytes);
    mfs_set(&table->told_ns, now_ns);
    mfs_publish(&table->sequence, (sequence | 1) + 1);
}

/* What waits for a peer that takes no bytes is told by its transport. */
static bool is_told_here(const struct mfs_wait *wait)
{
    return wait->flow != 0 && wait->why != MFS_WAIT_STALLED;
}

/* Of those that are due, one line: about the oldest, and not sooner than a limit after the last. */
static void say_due(struct mfs_waits *now, const struct mfs_sender *sender,
                    const struct mfs_wait *found, int64_t now_ns)
{
    uint32_t due = 0, oldest = 0;
    bool fresh = false;

    if (now_ns - now->said_ns < now->limit_ns && now->said_ns != 0)
        return;
    for (uint32_t i = 0; i < now->count; i++) {
        if (now_ns - now->seen[i].moved_ns <= now->limit_ns || !is_told_here(&found[i]))
            continue;
        if (due++ == 0 || now->seen[i].moved_ns < now->seen[oldest].moved_ns)
            oldest = i;
        fresh = fresh || !now->seen[i].said;
        now->seen[i].said = true;
    }
    if (!fresh)
        return;
    now->said_ns = now_ns;
    say(now, sender, &found[oldest], now_ns - now->seen[oldest].moved_ns, due - 1);
}

int64_t mfs_waits_tell(struct mfs_waits *waits, const struct mfs_sender *sender, int64_t now_ns)
{
    struct mfs_waits now = *waits;
    struct mfs_wait found[MFS_WAIT_ROWS];

    now.count = mfs_sender_waits(sender, NULL, found, MFS_WAIT_ROWS);
    for (uint32_t i = 0; i < now.count; i++) {
        now.seen[i].moved_ns = recall(waits, &found[i], now_ns, &now.seen[i].said);
        now.seen[i].flow = found[i].flow;
        now.seen[i].bytes_sent = found[i].bytes_sent;
    }
    say_due(&now, sender, found, now_ns);
    *waits = now;
    if (waits->table)
        table_write(waits, sender, found, now.count, now_ns);
    return now_ns + waits->every_ns + mfs_rmlq_flows(sender->queue) * MFS_WAITS_FLOW_NS;
}
