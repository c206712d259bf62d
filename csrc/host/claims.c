/* SPDX-License-Identifier: Apache-2.0 */
#include "host/claims.h"

#include <stdlib.h>

#include "core/atomic.h"
#include "core/exchange.h"
#include "core/sender_inside.h"
#include "host/attach.h"

#define EVERY_NS INT64_C(500000)
#define ALONE_NS INT64_C(100000000) /* without an agent */
#define DESTINATION_NS INT64_C(10000) /* to look at one takes less than a hundredth of that */
#define NOBODY UINT32_MAX /* no far port is in use */
#define FLOWS_MAX 64u /* of a destination whose bytes are added up */

/* --- rows --- */

static struct mfs_claim_cell *row_take(struct mfs_host *host)
{
    struct mfs_claim_cell *cells = host->segment->far.claims;
    const uint32_t first = host->process * (MFS_CLAIMS_MAX / MFS_PROCESSES_MAX);

    for (uint32_t i = 0; i < MFS_CLAIMS_MAX; i++) {
        struct mfs_claim_cell *cell = &cells[(first + i) % MFS_CLAIMS_MAX];
        uint32_t nobody = 0;

        if (mfs_get(&cell->owner) == 0 && mfs_replace(&cell->owner, &nobody, host->process + 1))
            return cell;
    }
    return NULL;
}

static void row_give_back(struct mfs_host *host, struct mfs_claim_cell *cell)
{
    if (!cell || mfs_get(&cell->owner) != host->process + 1)
        return;
    mfs_far_row_free(&host->segment->far, cell);
}

/* all_bytes: of its sender, queued or in flight or done. */
static void row_write(struct mfs_host *host, const struct mfs_claim_own *own, uint32_t sender,
                      uint64_t all_bytes, int64_t now_ns)
{
    struct mfs_claim_cell *cell = own->cell;

    if (!cell)
        return;
    mfs_set(&cell->owner, host->process + 1); /* whatever another has written over it */
    mfs_set(&cell->far, own->port);
    mfs_set(&cell->sender, sender);
    mfs_set(&cell->all_bytes, all_bytes);
    mfs_set(&cell->rank, own->rank);
    mfs_set(&cell->waiting_bytes, own->waiting_bytes);
    mfs_set(&cell->inflight_bytes, own->inflight_bytes);
    mfs_publish(&cell->stamp_ns, now_ns);
    mfs_far_row_used(&host->segment->far, cell);
}

/* NULL: no memory. */
static struct mfs_claim_own *own_of(struct mfs_claims *claims, struct mfs_host *host, uint32_t port)
{
    struct mfs_claim_own *own;

    for (uint32_t i = 0; i < claims->count; i++) {
        if (claims->own[i].port == port)
            return &claims->own[i];
    }
    if (claims->count == claims->room) {
        own = realloc(claims->own, (claims->room + 8) * sizeof(*own));
        if (!own)
            return NULL;
        claims->own = own;
        claims->room += 8;
    }
    own = &claims->own[claims->count++];
    *own = (struct mfs_claim_own){.port = port, .rank = MFS_RANK_NONE, .cell = row_take(host)};
    return own;
}

/* --- what waits, and its limits --- */

static mfs_rank_t best_of(const struct mfs_voq *voq)
{
    mfs_rank_t best = MFS_RANK_NONE;

    for (int kind = 0; kind < MFS_KINDS; kind++) {
        if (voq->flows[kind].count > 0 && voq->flows[kind].entries[0].rank < best)
            best = voq->flows[kind].entries[0].rank;
    }
    return best;
}

static uint64_t waiting_of(const struct mfs_rmlq *queue, const struct mfs_voq *voq)
{
    uint64_t bytes = 0;

    for (int kind = 0; kind < MFS_KINDS; kind++) {
        const struct mfs_heap *heap = &voq->flows[kind];

        for (uint32_t i = 0; i < heap->count && i < FLOWS_MAX; i++)
            bytes += queue->flows[mfs_heap_item(&heap->entries[i])].info.bytes_left;
    }
    return bytes;
}

static void claim_add(struct mfs_claims *claims, struct mfs_host *host,
                      const struct mfs_sender *sender, const struct mfs_destination *to,
                      mfs_rank_t best)
{
    struct mfs_claim_own *own = own_of(claims, host, to->end.port);

    if (!own)
        return;
    own->used = true;
    own->waiting_bytes += waiting_of(sender->queue, &to->voq);
    own->inflight_bytes += to->inflight_bytes;
    if (best < own->rank)
        own->rank = best;
}

static void destination_tell(struct mfs_claims *claims, struct mfs_host *host, uint32_t direction,
                             struct mfs_sender *sender, struct mfs_destination *to,
                             int64_t lease_ns, int64_t now_ns)
{
    const struct mfs_far_tables *far = &host->segment->far;
    const uint64_t version = mfs_see(&far->version);
    mfs_rank_t limit = MFS_RANK_NONE;
    mfs_rank_t best;

    if (to->end.peer == 0)
        return;
    if (to->end.version != version) {
        to->end.port = mfs_far_find(far, to->end.peer, direction);
        to->end.version = version;
    }
    if (to->end.port != MFS_FAR_NONE) {
        best = best_of(&to->voq);
        claim_add(claims, host, sender, to, best);
        limit = mfs_far_limit_now(far, to->end.port, lease_ns, now_ns);
        limit = mfs_exchange_heed(&to->end, best, limit, lease_ns, now_ns);
    }
    mfs_sender_limit(sender, to, limit);
}

/*
 * The window is of the sender's port and not of one far port: it is as large as the one needs that
 * it shares with the fewest.
 */
static void sharers_see(struct mfs_claims *claims, const struct mfs_far_tables *far,
                        const struct mfs_destination *to, int64_t now_ns)
{
    uint32_t sharers = 0;

    if (to->inflight_bytes == 0 && best_of(&to->voq) == MFS_RANK_NONE)
        return;
    if (to->end.peer != 0 && to->end.port != MFS_FAR_NONE)
        sharers = mfs_far_sharers_now(far, to->end.port, now_ns);
    if (sharers < claims->sharers)
        claims->sharers = sharers;
}

/* --- what has left --- */

/*
 * What has left since it was told last is counted for the sender, not for each destination, which
 * would cost every chunk something. It is shared out by what was in flight then and is now: exact
 * where all goes to one port, and in sum.
 */
static void done_share(struct mfs_claims *claims, struct mfs_far_tables *far,
                       const struct mfs_sender *sender)
{
    const uint64_t held = mfs_sender_inflight(sender);
    const uint64_t done = sender->told.done_bytes - claims->done_bytes;
    const double all = (double)held + (double)claims->held_bytes;

    for (uint32_t i = 0; i < claims->count && all > 0; i++) {
        const struct mfs_claim_own *own = &claims->own[i];
        const double part = ((double)own->inflight_bytes + (double)own->before_bytes) / all;

        if (own->port < MFS_FAR_PORTS_MAX)
            mfs_add(&far->ports[own->port].done_bytes,
                    (uint64_t)((double)done * (part < 1 ? part : 1)));
    }
    claims->done_bytes = sender->told.done_bytes;
    claims->held_bytes = held;
}

/* --- telling --- */

static void rows_write(struct mfs_claims *claims, struct mfs_host *host,
                       const struct mfs_sender *sender, int64_t now_ns)
{
    const uint64_t all_bytes = mfs_rmlq_bytes(sender->queue) + sender->told.done_bytes +
                               sender->destinations.in[MFS_DESTINATION_OPEN].bytes;

    for (uint32_t i = 0; i < claims->count;) {
        struct mfs_claim_own *own = &claims->own[i];

        if (own->used) {
            own->before_bytes = own->inflight_bytes;
            row_write(host, own, claims->sender, all_bytes, now_ns);
            i++;
        } else {
            row_give_back(host, own->cell);
            *own = claims->own[--claims->count];
        }
    }
}

static void all_let_go(struct mfs_claims *claims, struct mfs_host *host, struct mfs_sender *sender)
{
    for (uint32_t i = 0; i < sender->queue->voqs_count; i++) {
        if (sender->queue->voqs[i])
            mfs_sender_limit(sender, mfs_destination_of(sender->queue->voqs[i]), MFS_RANK_NONE);
    }
    mfs_sender_share(sender, 0);
    mfs_claims_close(claims, host);
}

/* What can be sent by its rank, or could if its destination took as much as it might. */
static void own_port_tell(struct mfs_claims *claims, struct mfs_host *host, uint32_t port,
                          const struct mfs_sender *sender)
{
    const struct mfs_rmlq *queue = sender->queue;
    struct mfs_claim_own *own = own_of(claims, host, MFS_CLAIM_OF_OWN(port));

    if (!own)
        return;
    own->used = true;
    for (uint32_t i = 0; i < queue->voqs_count; i++) {
        const struct mfs_voq *voq = queue->voqs[i];
        mfs_rank_t best;

        if (!voq || voq->class == MFS_VOQ_PARKED)
            continue;
        best = best_of(voq);
        if (best == MFS_RANK_NONE || best > voq->limit)
            continue;
        own->waiting_bytes += waiting_of(queue, voq);
        if (best < own->rank)
            own->rank = best;
    }
    own->inflight_bytes =
        mfs_sender_inflight(sender) - sender->destinations.in[MFS_DESTINATION_STALLED].bytes;
}

int64_t mfs_claims_tell(struct mfs_claims *claims, struct mfs_host *host,
                        const struct mfs_port_cell *port, const struct mfs_sender_cell *cell,
                        struct mfs_sender *sender, int64_t lease_ns, int64_t now_ns)
{
    const uint32_t index = (uint32_t)(port - host->segment->ports);
    const uint32_t direction = mfs_at_most(mfs_get(&port->direction), MFS_INGRESS);
    const struct mfs_rmlq *queue = sender->queue;

    if (!mfs_far_attended(&host->segment->far, now_ns) ||
        !mfs_policy_keys_are_times(queue->policy)) {
        if (claims->active)
            all_let_go(claims, host, sender);
        return now_ns + ALONE_NS;
    }
    if (!claims->active)
        *claims = (struct mfs_claims){.active = true, .done_bytes = sender->told.done_bytes};
    for (uint32_t i = 0; i < claims->count; i++) {
        struct mfs_claim_own *own = &claims->own[i];

        own->rank = MFS_RANK_NONE;
        own->waiting_bytes = own->inflight_bytes = 0;
        own->used = false;
    }
    claims->sharers = NOBODY;
    for (uint32_t i = 0; i < queue->voqs_count; i++) {
        struct mfs_destination *to = queue->voqs[i] ? mfs_destination_of(queue->voqs[i]) : NULL;

        if (!to)
            continue;
        destination_tell(claims, host, direction, sender, to, lease_ns, now_ns);
        sharers_see(claims, &host->segment->far, to, now_ns);
    }
    if (claims->sharers != NOBODY)
        mfs_sender_share(sender, claims->sharers);
    done_share(claims, &host->segment->far, sender);
    own_port_tell(claims, host, index, sender);
    claims->sender = index * MFS_SENDERS_MAX + (uint32_t)(cell - port->senders);
    rows_write(claims, host, sender, now_ns);
    return now_ns + EVERY_NS + queue->voqs_count * DESTINATION_NS;
}

void mfs_claims_close(struct mfs_claims *claims, struct mfs_host *host)
{
    for (uint32_t i = 0; i < claims->count; i++)
        row_give_back(host, claims->own[i].cell);
    free(claims->own);
    *claims = (struct mfs_claims){0};
}
