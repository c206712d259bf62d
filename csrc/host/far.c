/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TRUST: Any word may be anything (core/trust.h). An index is compared with what there is, an end
 * or a stamp that lies too far ahead has come, sums stop at their ends, and names are cleaned. The
 * worst that rubbish does is a limit for a lease, or a claim that is not true.
 */
#include "host/far.h"

#include <errno.h>
#include <string.h>

#include "core/atomic.h"
#include "core/exchange.h"
#include "host/attach.h"
#include "host/config.h"
#include "host/name.h"

#define PROBES_MAX 64u /* cells that a uid may lie behind its home */

/* --- the agent --- */

bool mfs_far_attended(const struct mfs_far_tables *far, int64_t now_ns)
{
    return !mfs_moment_come(mfs_get(&far->until_ns), now_ns, MFS_FAR_ATTEND_MAX_NS);
}

/* Nothing of it is known any more. */
static void port_clear(struct mfs_far_port_cell *cell)
{
    mfs_publish(&cell->until_ns, 0);
    mfs_publish(&cell->answers_until_ns, 0);
    mfs_publish(&cell->shared_until_ns, 0);
    mfs_publish(&cell->key, 0);
}

/* As nobody has told anything yet; the lock is held. */
static void tables_clear(struct mfs_far_tables *far)
{
    for (uint32_t i = 0; i < MFS_FAR_PORTS_MAX; i++)
        port_clear(&far->ports[i]);
    for (uint32_t i = 0; i < MFS_FAR_WORKERS_MAX; i++)
        mfs_set(&far->workers[i].uid, 0);
    mfs_bump(&far->version, 1);
}

static int64_t cut(int64_t span_ns, int64_t most_ns)
{
    if (span_ns > most_ns)
        return most_ns;
    return span_ns > 0 ? span_ns : 0;
}

int mfs_far_attend(struct mfs_host *host, int64_t for_ns)
{
    struct mfs_far_tables *far = &host->segment->far;
    const uint32_t self = host->process + 1;
    const int64_t now_ns = mfs_now_ns();
    int error = 0;

    if (mfs_get(&far->agent) != self) {
        const uint32_t other = mfs_get(&far->agent);

        error = mfs_segment_lock(host);
        if (error)
            return error;
        if (mfs_far_attended(far, now_ns) && other > 0 && other <= MFS_PROCESSES_MAX &&
            mfs_process_alive(host, other - 1)) {
            error = -EBUSY;
        } else {
            tables_clear(far);
            mfs_set(&far->agent, self);
        }
        mfs_segment_unlock(host);
    }
    if (!error)
        mfs_publish(&far->until_ns, now_ns + cut(for_ns, MFS_FAR_ATTEND_MAX_NS));
    return error;
}

void mfs_far_depart(struct mfs_host *host)
{
    struct mfs_far_tables *far = &host->segment->far;

    if (mfs_get(&far->agent) != host->process + 1)
        return;
    mfs_publish(&far->until_ns, 0);
    mfs_set(&far->agent, 0);
    mfs_verdict_reap(host->segment);
}

/* --- own workers --- */

bool mfs_far_wanted(struct mfs_host *host)
{
    return *mfs_config_get()->peers || mfs_far_attended(&host->segment->far, mfs_now_ns());
}

static struct mfs_far_own_cell *own_free(struct mfs_far_tables *far)
{
    for (uint32_t i = 0; i < MFS_FAR_OWN_MAX; i++) {
        if (!mfs_get(&far->own[i].owner))
            return &far->own[i];
    }
    return NULL;
}

static void words_write(_Atomic uint64_t *to, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word;

        memcpy(&word, text + i * sizeof(word), sizeof(word));
        mfs_set(&to[i], word);
    }
}

int mfs_far_own_enter(struct mfs_host *host, uint64_t uid, const char *port, uint32_t *place)
{
    struct mfs_far_tables *far = &host->segment->far;
    char name[MFS_PORT_NAME_MAX + 1] = "";
    struct mfs_far_own_cell *cell;
    int error;

    if (uid == 0 || !*port)
        return -EINVAL;
    mfs_name_clean(name, sizeof(name), port, strnlen(port, MFS_PORT_NAME_MAX));
    error = mfs_segment_lock(host);
    if (error)
        return error;
    cell = own_free(far);
    if (!cell) { /* perhaps the dead hold some */
        mfs_process_reap_locked(host);
        cell = own_free(far);
    }
    if (cell) {
        mfs_set(&cell->uid, uid);
        words_write(cell->name, MFS_FAR_OWN_NAME_WORDS, name);
        mfs_publish(&cell->owner, host->process + 1);
        mfs_bump(&far->own_version, 1);
        *place = (uint32_t)(cell - far->own);
    }
    mfs_segment_unlock(host);
    return cell ? 0 : -ENOSPC;
}

void mfs_far_own_leave(struct mfs_host *host, uint32_t place)
{
    struct mfs_far_tables *far = &host->segment->far;

    if (place >= MFS_FAR_OWN_MAX || mfs_get(&far->own[place].owner) != host->process + 1)
        return;
    mfs_publish(&far->own[place].owner, 0);
    mfs_bump(&far->own_version, 1);
}

int mfs_far_own_move(struct mfs_host *host, const char *port)
{
    struct mfs_far_tables *far = &host->segment->far;
    char name[MFS_PORT_NAME_MAX + 1] = "";
    int error;

    if (!*port)
        return -EINVAL;
    mfs_name_clean(name, sizeof(name), port, strnlen(port, MFS_PORT_NAME_MAX));
    error = mfs_segment_lock(host);
    if (error)
        return error;
    for (uint32_t i = 0; i < MFS_FAR_OWN_MAX; i++) {
        if (mfs_get(&far->own[i].owner) == host->process + 1)
            words_write(far->own[i].name, MFS_FAR_OWN_NAME_WORDS, name);
    }
    mfs_bump(&far->own_version, 1); /* who has read half of a name reads it again */
    mfs_segment_unlock(host);
    return 0;
}

static void words_read(char *to, const _Atomic uint64_t *from, size_t count)
{
    char text[MFS_FAR_NAME_MAX + 1];

    for (size_t i = 0; i < count; i++) {
        const uint64_t word = mfs_get(&from[i]);

        memcpy(text + i * sizeof(word), &word, sizeof(word));
    }
    mfs_name_clean(to, count * sizeof(uint64_t), text, count * sizeof(uint64_t));
}

uint32_t mfs_far_own(struct mfs_host *host, struct mfs_far_own *own, uint32_t room)
{
    const struct mfs_far_tables *far = &host->segment->far;
    uint32_t count = 0;

    for (uint32_t i = 0; i < MFS_FAR_OWN_MAX && count < room; i++) {
        const uint32_t owner = mfs_see(&far->own[i].owner);

        if (owner == 0 || owner > MFS_PROCESSES_MAX)
            continue;
        own[count].uid = mfs_get(&far->own[i].uid);
        words_read(own[count].port, far->own[i].name, MFS_FAR_OWN_NAME_WORDS);
        count += own[count].uid != 0 && *own[count].port;
    }
    return count;
}

uint64_t mfs_far_own_version(struct mfs_host *host)
{
    return mfs_see(&host->segment->far.own_version);
}

/* --- far ports --- */

bool mfs_far_port_known(const struct mfs_far_tables *far, uint32_t port)
{
    return port < MFS_FAR_PORTS_MAX && mfs_see(&far->ports[port].key) != 0;
}

bool mfs_far_name(const struct mfs_far_tables *far, uint32_t port, char name[MFS_FAR_NAME_MAX + 1])
{
    if (!mfs_far_port_known(far, port))
        return false;
    words_read(name, far->ports[port].name, MFS_FAR_NAME_WORDS);
    return true;
}

int mfs_far_port(struct mfs_host *host, uint64_t key, const char *name, uint32_t *out)
{
    struct mfs_far_tables *far = &host->segment->far;
    struct mfs_far_port_cell *cell = NULL;
    char clean[MFS_FAR_NAME_MAX + 1] = "";
    uint32_t at = 0;
    int error;

    if (key == 0 || !name)
        return -EINVAL;
    mfs_name_clean(clean, sizeof(clean), name, strnlen(name, MFS_FAR_NAME_MAX));
    error = mfs_segment_lock(host);
    if (error)
        return error;
    while (at < MFS_FAR_PORTS_MAX && mfs_get(&far->ports[at].key) != key) {
        if (!cell && mfs_get(&far->ports[at].key) == 0)
            cell = &far->ports[at];
        at++;
    }
    if (at < MFS_FAR_PORTS_MAX) {
        cell = &far->ports[at];
    } else if (cell) {
        mfs_set(&cell->until_ns, 0);
        mfs_set(&cell->answers_until_ns, 0);
        mfs_set(&cell->shared_until_ns, 0);
        words_write(cell->name, MFS_FAR_NAME_WORDS, clean);
        mfs_publish(&cell->key, key);
        mfs_bump(&far->version, 1);
    }
    if (cell)
        *out = (uint32_t)(cell - far->ports);
    mfs_segment_unlock(host);
    return cell ? 0 : -ENOSPC;
}

void mfs_far_forget(struct mfs_host *host, uint32_t port)
{
    struct mfs_far_tables *far = &host->segment->far;

    if (port >= MFS_FAR_PORTS_MAX)
        return;
    mfs_publish(&far->ports[port].until_ns, 0);
    if (mfs_segment_lock(host) != 0)
        return; /* known for longer, without a limit */
    port_clear(&far->ports[port]);
    for (uint32_t i = 0; i < MFS_FAR_WORKERS_MAX; i++) {
        for (int direction = 0; direction < 2; direction++) {
            if (mfs_get(&far->workers[i].far[direction]) == port)
                mfs_set(&far->workers[i].far[direction], MFS_FAR_NONE);
        }
    }
    mfs_bump(&far->version, 1);
    mfs_segment_unlock(host);
}

/* --- far workers --- */

static uint32_t home_of(uint64_t uid)
{
    uid ^= uid >> 32;
    uid *= UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(uid >> 40) % MFS_FAR_WORKERS_MAX;
}

uint32_t mfs_far_find(const struct mfs_far_tables *far, uint64_t uid, enum mfs_direction direction)
{
    const uint32_t home = home_of(uid);

    for (uint32_t i = 0; i < PROBES_MAX && uid != 0; i++) {
        const struct mfs_far_worker_cell *cell = &far->workers[(home + i) % MFS_FAR_WORKERS_MAX];
        const uint64_t found = mfs_see(&cell->uid);

        if (found == uid) {
            const uint32_t port = mfs_get(&cell->far[direction]);

            return mfs_far_port_known(far, port) ? port : MFS_FAR_NONE;
        }
        if (found == 0)
            break;
    }
    return MFS_FAR_NONE;
}

/* Nobody can be reached by it any more: its place may be another's. */
static bool worker_gone(const struct mfs_far_tables *far, const struct mfs_far_worker_cell *cell)
{
    return !mfs_far_port_known(far, mfs_get(&cell->far[MFS_EGRESS])) &&
           !mfs_far_port_known(far, mfs_get(&cell->far[MFS_INGRESS]));
}

/* Its cell, or where it may go; NULL: there is no room. */
static struct mfs_far_worker_cell *worker_cell(struct mfs_far_tables *far, uint64_t uid)
{
    struct mfs_far_worker_cell *room = NULL;

    for (uint32_t i = 0; i < PROBES_MAX; i++) {
        struct mfs_far_worker_cell *cell = &far->workers[(home_of(uid) + i) % MFS_FAR_WORKERS_MAX];
        const uint64_t found = mfs_get(&cell->uid);

        if (found == uid)
            return cell;
        if (!room && (found == 0 || worker_gone(far, cell)))
            room = cell;
        if (found == 0)
            break;
    }
    return room;
}

static bool port_fits(const struct mfs_far_tables *far, uint32_t port)
{
    return port == MFS_FAR_NONE || mfs_far_port_known(far, port);
}

int mfs_far_worker(struct mfs_host *host, uint64_t uid, uint32_t puts, uint32_t gets)
{
    struct mfs_far_tables *far = &host->segment->far;
    struct mfs_far_worker_cell *cell;
    int error;

    if (uid == 0 || !port_fits(far, puts) || !port_fits(far, gets))
        return -EINVAL;
    error = mfs_segment_lock(host);
    if (error)
        return error;
    cell = worker_cell(far, uid);
    if (cell) {
        mfs_set(&cell->far[MFS_EGRESS], puts);
        mfs_set(&cell->far[MFS_INGRESS], gets);
        mfs_publish(&cell->uid, uid);
        mfs_bump(&far->version, 1);
    }
    mfs_segment_unlock(host);
    return cell ? 0 : -ENOSPC;
}

/* --- limits --- */

void mfs_far_limit(struct mfs_host *host, uint32_t port, uint32_t level, int64_t span_ns,
                   int64_t for_ns)
{
    const int64_t now_ns = mfs_now_ns();
    struct mfs_far_port_cell *cell;
    mfs_rank_t limit;

    if (!mfs_far_port_known(&host->segment->far, port))
        return;
    cell = &host->segment->far.ports[port];
    limit = mfs_exchange_rank(level, span_ns, now_ns);
    if (limit == MFS_RANK_NONE || for_ns <= 0) {
        mfs_publish(&cell->until_ns, 0);
        return;
    }
    mfs_set(&cell->limit, limit);
    mfs_publish(&cell->until_ns, now_ns + cut(for_ns, mfs_config_get()->lease));
}

void mfs_far_share(struct mfs_host *host, uint32_t port, uint32_t sharers, int64_t for_ns)
{
    struct mfs_far_port_cell *cell;

    if (!mfs_far_port_known(&host->segment->far, port))
        return;
    cell = &host->segment->far.ports[port];
    mfs_set(&cell->sharers, sharers);
    mfs_publish(&cell->shared_until_ns,
                sharers > 0 ? mfs_now_ns() + cut(for_ns, MFS_FAR_SHARED_MAX_NS) : 0);
}

uint32_t mfs_far_sharers_now(const struct mfs_far_tables *far, uint32_t port, int64_t now_ns)
{
    if (!mfs_far_port_known(far, port) ||
        mfs_moment_come(mfs_see(&far->ports[port].shared_until_ns), now_ns,
                        2 * MFS_FAR_SHARED_MAX_NS))
        return 0;
    return mfs_at_most(mfs_get(&far->ports[port].sharers), MFS_FAR_SHARERS_MAX);
}

/* The agent's clock is read after the sender's at times, so an end may be a lease and a little
 * ahead. */
mfs_rank_t mfs_far_limit_now(const struct mfs_far_tables *far, uint32_t port, int64_t lease_ns,
                             int64_t now_ns)
{
    if (!mfs_far_port_known(far, port) ||
        mfs_moment_come(mfs_see(&far->ports[port].until_ns), now_ns, 2 * lease_ns))
        return MFS_RANK_NONE;
    return mfs_get(&far->ports[port].limit);
}

/* --- answers --- */

void mfs_far_answers(struct mfs_host *host, uint32_t port, uint32_t level, int64_t for_ns)
{
    struct mfs_far_port_cell *cell;

    if (!mfs_far_port_known(&host->segment->far, port))
        return;
    cell = &host->segment->far.ports[port];
    if (level > MFS_LEVELS_MAX || for_ns <= 0) {
        mfs_publish(&cell->answers_until_ns, 0);
        return;
    }
    mfs_set(&cell->answers, level);
    mfs_publish(&cell->answers_until_ns, mfs_now_ns() + cut(for_ns, mfs_config_get()->lease));
}

uint32_t mfs_far_answers_now(const struct mfs_far_tables *far, uint32_t port, int64_t now_ns)
{
    uint32_t level;

    if (!mfs_far_port_known(far, port) ||
        mfs_moment_come(mfs_see(&far->ports[port].answers_until_ns), now_ns,
                        2 * mfs_config_get()->lease))
        return MFS_FAR_NO_LEVEL;
    level = mfs_get(&far->ports[port].answers);
    return level <= MFS_LEVELS_MAX ? level : MFS_FAR_NO_LEVEL;
}

/* --- claims --- */

void mfs_far_row_used(struct mfs_far_tables *far, const struct mfs_claim_cell *row)
{
    const uint32_t at = (uint32_t)(row - far->claims);
    const uint64_t bit = UINT64_C(1) << at % 64;

    if (!(mfs_get(&far->claimed[at / 64]) & bit))
        mfs_bits_add(&far->claimed[at / 64], bit);
}

void mfs_far_row_free(struct mfs_far_tables *far, struct mfs_claim_cell *row)
{
    const uint32_t at = (uint32_t)(row - far->claims);

    mfs_set(&row->stamp_ns, 0);
    mfs_bits_keep(&far->claimed[at / 64], ~(UINT64_C(1) << at % 64));
    mfs_publish(&row->owner, 0); /* whoever takes it now sets the bit behind us */
}

/* --- the dead --- */

void mfs_far_reap(struct mfs_far_tables *far, const struct mfs_living *living)
{
    const uint32_t agent = mfs_get(&far->agent);
    bool own = false;

    if (!agent && mfs_get(&far->version) == 0 && mfs_get(&far->own_version) == 0)
        return; /* nobody was ever entered */
    if (agent && !mfs_living_owner(living, agent)) {
        mfs_set(&far->agent, 0);
        mfs_publish(&far->until_ns, 0);
    }
    for (uint32_t i = 0; i < MFS_FAR_OWN_MAX; i++) {
        const uint32_t owner = mfs_get(&far->own[i].owner);

        if (owner && !mfs_living_owner(living, owner)) {
            mfs_publish(&far->own[i].owner, 0);
            own = true;
        }
    }
    if (own)
        mfs_bump(&far->own_version, 1);
    for (uint32_t i = 0; i < MFS_CLAIMS_MAX; i++) {
        const uint32_t owner = mfs_get(&far->claims[i].owner);

        if (owner && !mfs_living_owner(living, owner))
            mfs_far_row_free(far, &far->claims[i]);
    }
}
