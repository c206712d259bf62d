/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key -> facts: a table of cells with open addressing, at most PROBES cells from
 * the key's own. Writers hold the segment's mutex; readers take no lock: they copy
 * the words between two looks at the cell's sequence and try again if it moved, a
 * bounded number of times (a writer may have died half-way: then it is unknown).
 */
#include <errno.h>
#include <string.h>

#include "host/segment.h"

#define PROBES 64u
#define READ_TRIES 1000

uint64_t mfs_request_key(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (const unsigned char *at = (const unsigned char *)name; *at; at++)
        hash = (hash ^ *at) * UINT64_C(0x100000001b3);
    return hash == MFS_REQUEST_NONE ? 1 : hash;
}

static inline struct mfs_request_cell *cell_at(struct mfs_segment *segment, uint64_t key,
                                               uint32_t probe)
{
    return &segment->requests[((uint32_t)(key ^ key >> 32) + probe) & (MFS_REQUESTS_MAX - 1)];
}

/* The live cell of key; NULL: none. */
static struct mfs_request_cell *cell_find(struct mfs_segment *segment, uint64_t key)
{
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        struct mfs_request_cell *cell = cell_at(segment, key, probe);
        uint64_t found = atomic_load_explicit(&cell->key, memory_order_acquire);

        if (found == MFS_REQUEST_NONE)
            return NULL;
        if (found == key && atomic_load_explicit(&cell->live, memory_order_relaxed))
            return cell;
    }
    return NULL;
}

static struct mfs_request_cell *cell_make(struct mfs_segment *segment, uint64_t key)
{
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        struct mfs_request_cell *cell = cell_at(segment, key, probe);

        if (!atomic_load_explicit(&cell->live, memory_order_relaxed))
            return cell;
    }
    return NULL;
}

/* Odd: under way. The fence keeps the words behind the odd sequence. */
static void write_begin(struct mfs_request_cell *cell)
{
    uint32_t sequence = atomic_load_explicit(&cell->sequence, memory_order_relaxed);

    atomic_store_explicit(&cell->sequence, sequence | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static void write_end(struct mfs_request_cell *cell)
{
    uint32_t sequence = atomic_load_explicit(&cell->sequence, memory_order_relaxed);

    atomic_store_explicit(&cell->sequence, sequence + 1, memory_order_release);
}

static void changed(struct mfs_segment *segment)
{
    atomic_fetch_add_explicit(&segment->request_version, 1, memory_order_release);
}

static void name_write(struct mfs_request_cell *cell, const char *name)
{
    uint64_t words[MFS_NAME_WORDS] = {0};

    memcpy(words, name, strnlen(name, MFS_REQUEST_NAME_MAX));
    for (size_t i = 0; i < MFS_NAME_WORDS; i++)
        atomic_store_explicit(&cell->name[i], words[i], memory_order_relaxed);
}

/* Add or replace one; the mutex is held. -ENOSPC. */
static int cell_put(struct mfs_host *host, uint64_t key, const char *name,
                    const struct mfs_facts *facts)
{
    struct mfs_segment *segment = host->segment;
    struct mfs_request_cell *cell = cell_find(segment, key);
    uint64_t words[MFS_FACTS_WORDS];

    memcpy(words, facts, sizeof(words));
    if (!cell) {
        cell = cell_make(segment, key);
        if (!cell) { /* perhaps the dead hold some */
            mfs_process_reap_locked(host);
            cell = cell_make(segment, key);
        }
        if (!cell)
            return -ENOSPC;
        atomic_fetch_add_explicit(&segment->request_count, 1, memory_order_relaxed);
    }
    write_begin(cell);
    atomic_store_explicit(&cell->key, key, memory_order_release);
    for (size_t i = 0; i < MFS_FACTS_WORDS; i++)
        atomic_store_explicit(&cell->words[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&cell->owner, host->process + 1, memory_order_relaxed);
    if (name)
        name_write(cell, name);
    atomic_store_explicit(&cell->live, 1, memory_order_relaxed);
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
        struct mfs_request_cell *cell = cell_find(segment, keys[i]);
        uint64_t words[MFS_FACTS_WORDS];
        struct mfs_facts facts;

        if (!cell)
            continue;
        known++;
        for (size_t k = 0; k < MFS_FACTS_WORDS; k++)
            words[k] = atomic_load_explicit(&cell->words[k], memory_order_relaxed);
        memcpy(&facts, words, sizeof(facts));
        facts.layer_now = layer;
        facts.layer_since_ns = since_ns;
        if (layer_ns > 0)
            facts.layer_ns = layer_ns;
        if (collective_ns > 0)
            facts.collective_ns = collective_ns;
        memcpy(words, &facts, sizeof(facts));
        write_begin(cell);
        for (size_t k = 0; k < MFS_FACTS_WORDS; k++)
            atomic_store_explicit(&cell->words[k], words[k], memory_order_relaxed);
        write_end(cell);
    }
    if (known)
        changed(segment);
    mfs_segment_unlock(host);
    return known;
}

static bool request_read(struct mfs_segment *segment, uint64_t key, struct mfs_facts *facts)
{
    struct mfs_request_cell *cell = cell_find(segment, key);
    uint64_t words[MFS_FACTS_WORDS];

    if (!cell)
        return false;
    for (int tries = 0; tries < READ_TRIES; tries++) {
        uint32_t before = atomic_load_explicit(&cell->sequence, memory_order_acquire), after;
        bool ours;

        if (before & 1)
            continue;
        for (size_t i = 0; i < MFS_FACTS_WORDS; i++)
            words[i] = atomic_load_explicit(&cell->words[i], memory_order_relaxed);
        ours = atomic_load_explicit(&cell->key, memory_order_relaxed) == key &&
               atomic_load_explicit(&cell->live, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&cell->sequence, memory_order_relaxed);
        if (before != after)
            continue;
        if (ours)
            memcpy(facts, words, sizeof(words));
        return ours;
    }
    return false;
}

void mfs_request_name(struct mfs_host *host, uint64_t key, char *name)
{
    for (uint32_t probe = 0; probe < PROBES; probe++) {
        struct mfs_request_cell *cell = cell_at(host->segment, key, probe);
        const uint32_t before = atomic_load_explicit(&cell->sequence, memory_order_acquire);
        const uint64_t found = atomic_load_explicit(&cell->key, memory_order_acquire);
        uint64_t words[MFS_NAME_WORDS];

        if (found == MFS_REQUEST_NONE)
            break;
        if (found != key)
            continue;
        for (size_t i = 0; i < MFS_NAME_WORDS; i++)
            words[i] = atomic_load_explicit(&cell->name[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if ((before & 1) || atomic_load_explicit(&cell->sequence, memory_order_relaxed) != before)
            break; /* it is being written: for display, not worth waiting */
        memcpy(name, words, sizeof(words));
        return;
    }
    name[0] = '\0';
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
    const uint32_t mask = MFS_REQUESTS_MAX - 1;

    if (atomic_load_explicit(&segment->requests[(at + 1) & mask].key, memory_order_relaxed) !=
        MFS_REQUEST_NONE)
        return;
    for (uint32_t i = 0; i < MFS_REQUESTS_MAX; i++, at--) {
        struct mfs_request_cell *cell = &segment->requests[at & mask];

        if (atomic_load_explicit(&cell->live, memory_order_relaxed) ||
            atomic_load_explicit(&cell->key, memory_order_relaxed) == MFS_REQUEST_NONE)
            return;
        write_begin(cell);
        atomic_store_explicit(&cell->key, MFS_REQUEST_NONE, memory_order_relaxed);
        write_end(cell);
    }
}

static void cell_drop(struct mfs_segment *segment, struct mfs_request_cell *cell)
{
    write_begin(cell);
    atomic_store_explicit(&cell->live, 0, memory_order_relaxed);
    write_end(cell);
    atomic_fetch_sub_explicit(&segment->request_count, 1, memory_order_relaxed);
    cells_clean(segment, (uint32_t)(cell - segment->requests));
}

void mfs_request_repair(struct mfs_segment *segment)
{
    uint32_t live = 0;

    for (uint32_t i = 0; i < MFS_REQUESTS_MAX; i++) {
        struct mfs_request_cell *cell = &segment->requests[i];

        if (atomic_load_explicit(&cell->sequence, memory_order_relaxed) & 1) {
            atomic_store_explicit(&cell->live, 0, memory_order_relaxed);
            write_end(cell);
        }
        live += atomic_load_explicit(&cell->live, memory_order_relaxed);
    }
    atomic_store_explicit(&segment->request_count, live, memory_order_relaxed);
    changed(segment);
}

int mfs_request_drop(struct mfs_host *host, uint64_t key)
{
    struct mfs_request_cell *cell;
    int error = mfs_segment_lock(host);

    if (error)
        return error;
    cell = cell_find(host->segment, key);
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

    for (uint32_t i = 0; i < MFS_REQUESTS_MAX; i++) {
        struct mfs_request_cell *cell = &segment->requests[i];

        if (atomic_load_explicit(&cell->live, memory_order_relaxed) &&
            !mfs_living_owner(living, atomic_load_explicit(&cell->owner, memory_order_relaxed))) {
            cell_drop(segment, cell);
            any = true;
        }
    }
    if (any)
        changed(segment);
}

uint64_t mfs_request_version(struct mfs_host *host)
{
    return atomic_load_explicit(&host->segment->request_version, memory_order_acquire);
}

uint32_t mfs_request_count(struct mfs_host *host)
{
    return atomic_load_explicit(&host->segment->request_count, memory_order_relaxed);
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
