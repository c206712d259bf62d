/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key -> facts: a table of cells with open addressing, at most PROBES cells from
 * the key's own. Writers hold the segment's lock; readers take none: they copy
 * the words between two looks at the cell's sequence and try again if it moved, a
 * bounded number of times (a writer may have died half-way: then it is unknown).
 *
 * CAPACITY: two thirds of the cells are used at most. The longest row of used cells is then some
 * 140 long, and a key's own cell is within PROBES of it (with as many cells as requests, the
 * table of version 8 refused requests when it was 0.7 full).
 */
#include <errno.h>
#include <string.h>

#include "core/atomic.h"
#include "host/attach.h"
#include "host/name.h"

#define PROBES 256u
#define READ_TRIES 1000
#define SPAN_MAX_NS (INT64_C(1) << 60)

_Static_assert(3 * MFS_REQUESTS_MAX <= 2 * MFS_REQUEST_CELLS, "two thirds of the cells");

uint64_t mfs_request_key(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (const unsigned char *at = (const unsigned char *)name; *at; at++)
        hash = (hash ^ *at) * UINT64_C(0x100000001b3);
    return hash == MFS_REQUEST_NONE ? 1 : hash;
}

static uint32_t cell_index(uint64_t key, uint32_t probe)
{
    const uint64_t mixed = key * UINT64_C(0x9e3779b97f4a7c15) >> 32;

    return ((uint32_t)(mixed * MFS_REQUEST_CELLS >> 32) + probe) % MFS_REQUEST_CELLS;
}

static inline struct mfs_request_cell *cell_at(struct mfs_segment *segment, uint64_t key,
                                               uint32_t probe)
{
    return &segment->requests[cell_index(key, probe)];
}

struct mfs_request_cell *mfs_request_cell_find(struct mfs_segment *segment, uint64_t key)
{
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        struct mfs_request_cell *cell = cell_at(segment, key, probe);
        uint64_t found = mfs_see(&cell->key);

        if (found == MFS_REQUEST_NONE)
            return NULL;
        if (found == key && mfs_get(&cell->live))
            return cell;
    }
    return NULL;
}

static struct mfs_request_cell *cell_make(struct mfs_segment *segment, uint64_t key)
{
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        struct mfs_request_cell *cell = cell_at(segment, key, probe);

        if (!mfs_get(&cell->live))
            return cell;
    }
    return NULL;
}

/* Odd: under way. The fence keeps the words behind the odd sequence. */
static void write_begin(struct mfs_request_cell *cell)
{
    mfs_set(&cell->sequence, mfs_get(&cell->sequence) | 1);
    mfs_fence_release();
}

static void write_end(struct mfs_request_cell *cell)
{
    mfs_publish(&cell->sequence, mfs_get(&cell->sequence) + 1);
}

static void changed(struct mfs_segment *segment)
{
    mfs_bump(&segment->request_version, 1);
}

static void name_write(struct mfs_request_cell *cell, const char *name)
{
    uint64_t words[MFS_NAME_WORDS] = {0};

    mfs_name_clean((char *)words, sizeof(words), name, strlen(name));
    for (size_t i = 0; i < MFS_NAME_WORDS; i++)
        mfs_set(&cell->name[i], words[i]);
}

static void facts_write(struct mfs_request_cell *cell, const struct mfs_facts *facts)
{
    uint64_t words[MFS_FACTS_WORDS];

    memcpy(words, facts, sizeof(words));
    for (size_t i = 0; i < MFS_FACTS_WORDS; i++)
        mfs_set(&cell->words[i], words[i]);
}

static int64_t span_tame(int64_t span_ns)
{
    return span_ns < 0 ? 0 : span_ns < SPAN_MAX_NS ? span_ns : SPAN_MAX_NS;
}

/* Whatever the words were: spans that sums do not leave, and sizes. */
static void facts_read(const struct mfs_request_cell *cell, struct mfs_facts *facts)
{
    uint64_t words[MFS_FACTS_WORDS];

    for (size_t i = 0; i < MFS_FACTS_WORDS; i++)
        words[i] = mfs_get(&cell->words[i]);
    memcpy(facts, words, sizeof(words));
    facts->layer_ns = span_tame(facts->layer_ns);
    facts->collective_ns = span_tame(facts->collective_ns);
    facts->p2d_layer_ns = span_tame(facts->p2d_layer_ns);
    if (facts->p2d_left_bytes > INT64_MAX)
        facts->p2d_left_bytes = INT64_MAX;
}

/* How many there are is a word like any other: before the table is called full, they are counted.
 */
static void recount(struct mfs_segment *segment)
{
    uint32_t live = 0;

    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++)
        live += mfs_get(&segment->requests[i].live) != 0;
    mfs_set(&segment->request_count, live);
}

/* A cell for a new request; the lock is held. NULL: none is left. */
static struct mfs_request_cell *cell_new(struct mfs_host *host, uint64_t key)
{
    struct mfs_request_cell *cell = cell_make(host->segment, key);

    if (!cell || mfs_get(&host->segment->request_count) >= MFS_REQUESTS_MAX) {
        mfs_process_reap_locked(host); /* perhaps the dead hold some */
        recount(host->segment);
        cell = cell_make(host->segment, key);
    }
    return mfs_get(&host->segment->request_count) < MFS_REQUESTS_MAX ? cell : NULL;
}

/* Add or replace one; the lock is held. -ENOSPC. */
static int cell_put(struct mfs_host *host, uint64_t key, const char *name,
                    const struct mfs_facts *facts)
{
    struct mfs_request_cell *cell = mfs_request_cell_find(host->segment, key);

    if (!cell) {
        cell = cell_new(host, key);
        if (!cell)
            return -ENOSPC;
        mfs_add(&host->segment->request_count, 1);
    }
    write_begin(cell);
    mfs_publish(&cell->key, key);
    facts_write(cell, facts);
    mfs_set(&cell->owner, host->process + 1);
    if (name)
        name_write(cell, name);
    mfs_set(&cell->live, 1);
    write_end(cell);
    return 0;
}

int mfs_request_put_all(struct mfs_host *host, const uint64_t *keys, const char *const *names,
                        const struct mfs_facts *facts, size_t count)
{
    bool any = false;
    int result;

    for (size_t i = 0; i < count; i++) {
        if (keys[i] == MFS_REQUEST_NONE)
            return -EINVAL;
    }
    result = mfs_segment_lock(host);
    if (result)
        return result;
    for (size_t i = 0; i < count; i++) {
        int error = cell_put(host, keys[i], names ? names[i] : NULL, &facts[i]);

        if (error)
            result = error;
        else
            any = true;
    }
    if (any)
        changed(host->segment);
    mfs_segment_unlock(host);
    return result;
}

int mfs_request_put(struct mfs_host *host, uint64_t key, const char *name,
                    const struct mfs_facts *facts)
{
    return mfs_request_put_all(host, &key, &name, facts, 1);
}

int mfs_request_progress(struct mfs_host *host, const uint64_t *keys, size_t count, uint32_t layer,
                         int64_t since_ns, int64_t layer_ns, int64_t collective_ns)
{
    struct mfs_segment *segment = host->segment;
    int known = 0, result = mfs_segment_lock(host);

    if (result)
        return result;
    for (size_t i = 0; i < count; i++) {
        struct mfs_request_cell *cell = mfs_request_cell_find(segment, keys[i]);
        struct mfs_facts facts;

        if (!cell)
            continue;
        known++;
        facts_read(cell, &facts);
        facts.layer_now = layer;
        facts.layer_since_ns = since_ns;
        if (layer_ns > 0)
            facts.layer_ns = layer_ns;
        if (collective_ns > 0)
            facts.collective_ns = collective_ns;
        write_begin(cell);
        facts_write(cell, &facts);
        write_end(cell);
    }
    if (known)
        changed(segment);
    mfs_segment_unlock(host);
    return known;
}

bool mfs_request_read_own(struct mfs_segment *segment, uint64_t key, struct mfs_facts *facts,
                          uint32_t *follows)
{
    const struct mfs_request_cell *cell = mfs_request_cell_find(segment, key);

    if (!cell)
        return false;
    for (int tries = 0; tries < READ_TRIES; tries++) {
        const uint32_t before = mfs_see(&cell->sequence);
        struct mfs_facts found;
        uint32_t follow;
        bool ours;

        if (before & 1)
            continue;
        facts_read(cell, &found);
        follow = mfs_get(&cell->follows);
        ours = mfs_get(&cell->key) == key && mfs_get(&cell->live);
        mfs_fence_acquire();
        if (mfs_get(&cell->sequence) != before)
            continue;
        if (ours) {
            *facts = found;
            *follows = follow;
        }
        return ours;
    }
    return false;
}

static bool request_read(struct mfs_segment *segment, uint64_t key, struct mfs_facts *facts)
{
    uint32_t follows;

    if (!mfs_request_read_own(segment, key, facts, &follows))
        return false;
    if (follows)
        mfs_verdict_apply(segment, follows, key, facts);
    return true;
}

void mfs_request_name_raw(struct mfs_host *host, uint64_t key, char *name)
{
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        struct mfs_request_cell *cell = cell_at(host->segment, key, probe);
        const uint32_t before = mfs_see(&cell->sequence);
        const uint64_t found = mfs_see(&cell->key);
        uint64_t words[MFS_NAME_WORDS];

        if (found == MFS_REQUEST_NONE)
            break;
        if (found != key)
            continue;
        for (size_t i = 0; i < MFS_NAME_WORDS; i++)
            words[i] = mfs_get(&cell->name[i]);
        mfs_fence_acquire();
        if ((before & 1) || mfs_get(&cell->sequence) != before)
            break; /* it is being written: for display, not worth waiting */
        memcpy(name, words, sizeof(words));
        return;
    }
    memset(name, 0, MFS_REQUEST_NAME_MAX + 1);
}

void mfs_request_name(struct mfs_host *host, uint64_t key, char *name)
{
    char raw[MFS_REQUEST_NAME_MAX + 1];

    mfs_request_name_raw(host, key, raw);
    mfs_name_clean(name, sizeof(raw), raw, sizeof(raw));
}

int mfs_request_get(struct mfs_host *host, uint64_t key, struct mfs_facts *facts)
{
    return request_read(host->segment, key, facts) ? 0 : -ENOENT;
}

/*
 * A dropped cell keeps its key so that probing goes on behind it. When nothing is behind,
 * it and the dropped ones in front of it become as if never used: a look-up for what is not
 * there stays short however many requests have come and gone.
 */
static void cells_clean(struct mfs_segment *segment, uint32_t at)
{
    if (mfs_get(&segment->requests[(at + 1) % MFS_REQUEST_CELLS].key) != MFS_REQUEST_NONE)
        return;
    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++) {
        struct mfs_request_cell *cell = &segment->requests[at];

        if (mfs_get(&cell->live) || mfs_get(&cell->key) == MFS_REQUEST_NONE)
            return;
        write_begin(cell);
        mfs_set(&cell->key, MFS_REQUEST_NONE);
        write_end(cell);
        at = (at > 0 ? at : MFS_REQUEST_CELLS) - 1;
    }
}

static void cell_drop(struct mfs_segment *segment, struct mfs_request_cell *cell)
{
    mfs_verdict_let_go(segment, cell);
    write_begin(cell);
    mfs_set(&cell->live, 0);
    write_end(cell);
    mfs_sub(&segment->request_count, 1);
    cells_clean(segment, (uint32_t)(cell - segment->requests));
}

void mfs_request_repair(struct mfs_segment *segment)
{
    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++) {
        struct mfs_request_cell *cell = &segment->requests[i];

        if (mfs_get(&cell->sequence) & 1) {
            mfs_verdict_let_go(segment, cell);
            mfs_set(&cell->live, 0);
            write_end(cell);
        }
    }
    recount(segment);
    changed(segment);
}

int mfs_request_drop(struct mfs_host *host, uint64_t key)
{
    struct mfs_request_cell *cell;
    int error = mfs_segment_lock(host);

    if (error)
        return error;
    cell = mfs_request_cell_find(host->segment, key);
    if (cell) {
        cell_drop(host->segment, cell);
        changed(host->segment);
    }
    mfs_segment_unlock(host);
    return cell ? 0 : -ENOENT;
}

void mfs_request_reap(struct mfs_segment *segment, const struct mfs_living *living)
{
    bool any = false;

    for (uint32_t i = 0; i < MFS_REQUEST_CELLS; i++) {
        struct mfs_request_cell *cell = &segment->requests[i];

        if (mfs_get(&cell->live) && !mfs_living_owner(living, mfs_get(&cell->owner))) {
            cell_drop(segment, cell);
            any = true;
        }
    }
    if (any)
        changed(segment);
}

uint64_t mfs_request_version(struct mfs_host *host)
{
    return mfs_see(&host->segment->request_version);
}

uint32_t mfs_request_count(struct mfs_host *host)
{
    return mfs_at_most(mfs_get(&host->segment->request_count), MFS_REQUESTS_MAX);
}

static uint64_t source_version(void *ctx)
{
    return mfs_request_version(ctx);
}

static bool source_read(void *ctx, uint64_t request, struct mfs_facts *facts)
{
    return request_read(((struct mfs_host *)ctx)->segment, request, facts);
}

struct mfs_facts_source mfs_request_source(struct mfs_host *host)
{
    return (struct mfs_facts_source){host, source_version, source_read};
}
