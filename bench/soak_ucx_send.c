/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sender of bench/soak_ucx.c. A link is its way to one receiver:
 *
 *   resting -> asked -> posted -> flushing -> told -> resting ... -> over
 *      |         ready    all done    done     verdict
 *      +-- the socket's end: the receiver has gone (it was killed); what is under way has failed
 */
#include <string.h>
#include <unistd.h>

#include "soak_ucx.h"
#include "ucx_request.h"
#include "ucx_tag.h"

#define LINKS_MAX 2

enum phase { RESTING, ASKED, POSTED, FLUSHING, TOLD, OVER };

/* A sender's to one receiver. */
struct link {
    int peer; /* the socket */
    struct soak_account *account;
    struct card card;
    ucp_ep_h ep;
    ucp_rkey_h rkey;
    char *memory;
    enum phase phase;
    bool gone; /* the receiver */
    double rests_until_s;
    struct burst burst;
    ucs_status_ptr_t requests[SOAK_BURST], flush;
};

static uint64_t randomness;
static const ucp_request_param_t no_param;

static void on_error(void *arg, ucp_ep_h failed, ucs_status_t status)
{
    (void)arg;
    (void)failed;
    (void)status;
}

static void link_over(struct link *link, bool gone)
{
    link->phase = OVER;
    link->gone = gone;
    atomic_store(&link->account->over, 1);
}

static void link_open(struct link *link)
{
    ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER,
        .err_mode = UCP_ERR_HANDLING_MODE_PEER,
        .err_handler.cb = on_error,
    };
    ucs_status_t status;

    if (!soak_hear(link->peer, &link->card, sizeof(link->card))) {
        link_over(link, true);
        return;
    }
    params.address = (const ucp_address_t *)link->card.address;
    if (ucp_ep_create(soak_worker, &params, &link->ep) != UCS_OK ||
        ucp_ep_rkey_unpack(link->ep, link->card.rkey, &link->rkey) != UCS_OK) {
        link_over(link, true); /* killed while we connect */
        return;
    }
    (void)soak_tell(link->peer, "c", 1);
    link->flush = ucp_ep_flush_nbx(link->ep, &no_param);
    while ((status = request_ended(&link->flush)) == UCS_INPROGRESS)
        soak_progress();
    soak_add(&link->account->connections, 1);
    if (status != UCS_OK || !soak_tell(link->peer, "c", 1))
        link_over(link, true);
}

/* Also of one whose receiver has gone: nothing may hang on it. */
static void link_close(struct link *link)
{
    (void)soak_tell(link->peer, "c", 1);
    if (link->rkey)
        ucp_rkey_destroy(link->rkey);
    if (!link->ep)
        return;
    link->flush = ucp_ep_close_nbx(link->ep, &no_param);
    while (request_ended(&link->flush) == UCS_INPROGRESS)
        soak_progress();
    (void)soak_tell(link->peer, "c", 1);
}

static void burst_plan(struct burst *burst)
{
    static uint64_t tag;
    struct soak_part parts[SOAK_BURST];

    memset(burst, 0, sizeof(*burst));
    burst->count = soak_burst(&randomness, parts);
    for (unsigned i = 0; i < burst->count; i++) {
        burst->orders[i] = (struct order){
            .kind = "pgpgt"[soak_random(&randomness) % 5], .tag = ++tag, .part = parts[i]};
    }
}

static ucs_status_ptr_t post(const struct link *link, const struct order *order)
{
    char *at = link->memory + order->part.offset;
    const uint64_t remote = link->card.memory + order->part.offset;

    if (order->kind == 'p')
        return ucp_put_nbx(link->ep, at, order->part.bytes, remote, link->rkey, &no_param);
    if (order->kind == 'g')
        return ucp_get_nbx(link->ep, at, order->part.bytes, remote, link->rkey, &no_param);
    return ucp_tag_send_nbx(link->ep, at, order->part.bytes, order->tag, &no_param);
}

static void request_name(const struct link *link, unsigned i, char name[64])
{
    snprintf(name, 64, "soak-%d-%d-%u", (int)getpid(), link->peer, i);
}

/* Three of four transfers are of a request with a deadline. */
static void burst_post(struct link *link)
{
    char name[64];

    for (unsigned i = 0; i < link->burst.count; i++) {
        struct order *order = &link->burst.orders[i];
        char *at = link->memory + order->part.offset;

        if (order->kind == 'g')
            memset(at, 0, order->part.bytes);
        else
            soak_fill(at, order->part.bytes, order->part.seed);
        request_name(link, i, name);
        if (soak_random(&randomness) % 4 != 0)
            tagged(name, 0.05 * (double)(1 + soak_random(&randomness) % 400));
        soak_add(&link->account->posted_bytes, order->part.bytes);
        link->requests[i] = post(link, order);
        order->completed = true; /* until it is known better */
        tagged(NULL, 0);
    }
}

/* Is all of it over, with whatever status? */
static bool burst_ended(struct link *link)
{
    bool over = true;

    for (unsigned i = 0; i < link->burst.count; i++) {
        const ucs_status_t status = request_ended(&link->requests[i]);

        if (status == UCS_INPROGRESS)
            over = false;
        else
            link->burst.orders[i].completed &= status == UCS_OK;
    }
    return over;
}

/* Behind a flush that failed a put may not have arrived, though its memory is free. */
static void burst_count(struct link *link, bool flushed)
{
    struct soak_account *account = link->account;
    char name[64];

    for (unsigned i = 0; i < link->burst.count; i++) {
        struct order *order = &link->burst.orders[i];
        const struct soak_part *part = &order->part;

        request_name(link, i, name);
        tagged_drop(name);
        order->completed &= flushed || order->kind == 'g';
        if (!order->completed) {
            soak_add(&account->failed_bytes, part->bytes);
        } else if (order->kind == 'g') { /* its bytes are ours to look at */
            const size_t wrong = soak_differs(link->memory + part->offset, part->bytes, part->seed);

            soak_add(&account->verified_bytes, part->bytes - wrong);
            soak_add(&account->wrong_bytes, wrong);
        }
    }
    soak_add(&account->operations, link->burst.count);
}

/* What can be done for it now. */
static void link_step(struct link *link, bool ends, double pause_s)
{
    struct verdict verdict;
    ucs_status_t status;
    char ready;

    switch (link->phase) {
    case RESTING:
        if (ends) {
            link_over(link, false);
        } else if (soak_now_s() >= link->rests_until_s) {
            burst_plan(&link->burst);
            link->phase = ASKED;
            if (!soak_tell(link->peer, "b", 1) ||
                !soak_tell(link->peer, &link->burst, sizeof(link->burst)))
                link_over(link, true);
        }
        break;
    case ASKED:
        if (!soak_said(link->peer, 0))
            break;
        if (soak_hear(link->peer, &ready, 1)) {
            burst_post(link);
            link->phase = POSTED;
        } else {
            link_over(link, true);
        }
        break;
    case POSTED:
        if (burst_ended(link)) {
            link->flush = ucp_ep_flush_nbx(link->ep, &no_param);
            link->phase = FLUSHING;
        }
        break;
    case FLUSHING:
        status = request_ended(&link->flush);
        if (status == UCS_INPROGRESS)
            break;
        burst_count(link, status == UCS_OK);
        link->phase = TOLD;
        if (!soak_tell(link->peer, &link->burst, sizeof(link->burst)))
            link_over(link, true);
        break;
    case TOLD:
        if (!soak_said(link->peer, 0))
            break;
        if (soak_hear(link->peer, &verdict, sizeof(verdict))) {
            soak_add(&link->account->bursts, 1);
            link->rests_until_s =
                soak_now_s() + pause_s * (double)(soak_random(&randomness) % 2000) * 1e-3;
            link->phase = RESTING;
        } else {
            link_over(link, true);
        }
        break;
    case OVER:
        break;
    }
}

void soak_send(const struct soak_plan *plan, const int *peers, unsigned count)
{
    struct link links[LINKS_MAX] = {0};
    struct card own;
    char *memory;
    double until_s;
    bool goes_on = true;

    randomness = plan->seed;
    for (unsigned i = 0; i < count; i++)
        links[i].account = soak_account(plan->accounts, plan->slot + 2 * i);
    memory = soak_side_open(&own, count);
    for (unsigned i = 0; i < count; i++) {
        links[i].peer = peers[i];
        links[i].memory = memory + (size_t)i * SOAK_MEMORY;
        link_open(&links[i]);
    }
    until_s = soak_now_s() + plan->seconds;
    while (goes_on) {
        const double now_s = soak_now_s();
        double rests_until_s = until_s;

        goes_on = false;
        for (unsigned i = 0; i < count; i++) {
            link_step(&links[i], now_s >= until_s, plan->pause_s);
            goes_on |= links[i].phase != OVER;
            if (links[i].phase != OVER && links[i].phase != RESTING)
                rests_until_s = 0;
            else if (links[i].phase == RESTING && links[i].rests_until_s < rests_until_s)
                rests_until_s = links[i].rests_until_s;
        }
        if (rests_until_s > now_s && goes_on) /* nothing is under way */
            soak_pause(rests_until_s - now_s);
        else
            soak_progress();
    }
    for (unsigned i = 0; i < count; i++)
        link_close(&links[i]);
    soak_side_close(); /* which closes the sockets: the receivers end */
}
