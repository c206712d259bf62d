/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scenes of bench/stall.py over UCX:
 *
 *   stall_ucx put|get same|other none|errors DEPTH BYTES URGENT_BYTES
 *
 * same, other: which process's traffic to the sick receiver is stuck. errors: the endpoints have
 * UCX's error handling. Where the library is loaded the transfers are tagged, those to the sick
 * receiver as the more pressing ones: they are what would hold everything else back.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucp/api/ucp.h>

#include "stall_world.h"
#include "ucx_request.h"
#include "ucx_tag.h"

#define RANKS 6
#define CARD_BYTES 4096
#define URGENT_LIMIT_S 5.0 /* then it counts as so long */

/* What the senders must know of a receiver: the world's board has no room for so much. */
struct card {
    uint64_t memory;
    size_t address_bytes, rkey_bytes;
    char address[CARD_BYTES], rkey[CARD_BYTES];
};

struct target {
    ucp_ep_h ep;
    ucp_rkey_h rkey;
    uint64_t remote;
    bool failed;
    ucs_status_ptr_t requests[DEPTH_MAX];
    char request[32];
};

static struct card *cards;
static ucp_context_h context;
static ucp_worker_h worker;
static char *memory;
static size_t memory_bytes, urgent_bytes;
static struct target targets[RANKS];
static bool gets, errors;
static const ucp_request_param_t no_param;

#define UCX(call)                                                                                  \
    do {                                                                                           \
        const ucs_status_t status_ = (call);                                                       \
        if (status_ != UCS_OK)                                                                     \
            DIE("%s: status %d", #call, status_);                                                  \
    } while (0)

static void side_open(struct card *card)
{
    const ucp_params_t params = {
        .field_mask = UCP_PARAM_FIELD_FEATURES,
        .features = UCP_FEATURE_RMA,
    };
    const ucp_worker_params_t worker_params = {0};
    const ucp_mem_map_params_t map = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_FLAGS,
        .length = memory_bytes,
        .flags = UCP_MEM_MAP_ALLOCATE,
    };
    ucp_mem_attr_t attributes = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};
    ucp_address_t *address;
    void *rkey;
    ucp_mem_h memh;

    UCX(ucp_init(&params, NULL, &context));
    UCX(ucp_worker_create(context, &worker_params, &worker));
    UCX(ucp_mem_map(context, &map, &memh));
    UCX(ucp_mem_query(memh, &attributes));
    UCX(ucp_worker_get_address(worker, &address, &card->address_bytes));
    UCX(ucp_rkey_pack(context, memh, &rkey, &card->rkey_bytes));
    memory = attributes.address;
    memset(memory, 1, memory_bytes);
    if (card->address_bytes > CARD_BYTES || card->rkey_bytes > CARD_BYTES)
        DIE("an address of %zu bytes, a key of %zu", card->address_bytes, card->rkey_bytes);
    card->memory = (uint64_t)(uintptr_t)memory;
    memcpy(card->address, address, card->address_bytes);
    memcpy(card->rkey, rkey, card->rkey_bytes);
}

static void on_error(void *arg, ucp_ep_h ep, ucs_status_t status)
{
    (void)arg;
    (void)ep;
    (void)status; /* the transfers end with it */
}

static ucs_status_ptr_t post(const struct target *target, size_t bytes)
{
    return gets ? ucp_get_nbx(target->ep, memory, bytes, target->remote, target->rkey, &no_param)
                : ucp_put_nbx(target->ep, memory, bytes, target->remote, target->rkey, &no_param);
}

static void target_connect(struct target *target, const struct card *card)
{
    const ucp_ep_params_t params = {
        .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER,
        .address = (const ucp_address_t *)card->address,
        .err_mode = errors ? UCP_ERR_HANDLING_MODE_PEER : UCP_ERR_HANDLING_MODE_NONE,
        .err_handler.cb = on_error,
    };
    ucs_status_ptr_t flush;
    ucs_status_t status;

    UCX(ucp_ep_create(worker, &params, &target->ep));
    UCX(ucp_ep_rkey_unpack(target->ep, card->rkey, &target->rkey));
    target->remote = card->memory;
    flush = ucp_ep_flush_nbx(target->ep, &no_param);
    while ((status = request_ended(&flush)) == UCS_INPROGRESS)
        ucp_worker_progress(worker);
    UCX(status);
}

static void ucx_connect(struct load *load)
{
    const int rank = load->world->rank;

    side_open(&cards[rank]);
    world_barrier(load->world); /* every card is there */
    for (int receiver = 1; receiver <= SICK; receiver++) {
        struct target *target = &targets[receiver];

        if ((rank != SENDER && rank != OTHER) || !load_has(load, receiver))
            continue;
        snprintf(target->request, sizeof(target->request), "receiver-%d", receiver);
        target_connect(target, &cards[receiver]);
    }
}

static void target_step(struct load *load, int receiver, bool posts)
{
    struct target *target = &targets[receiver];
    uint64_t *done = receiver == SICK ? &load->sick_done : &load->healthy_done;

    for (unsigned i = 0; i < load->depth && !target->failed; i++) {
        ucs_status_t status = UCS_OK;

        if (target->requests[i]) {
            status = request_ended(&target->requests[i]);
            *done += status == UCS_OK ? load->bytes : 0;
        }
        if (status == UCS_OK && posts) {
            tagged(target->request, receiver == SICK ? 60 : 120);
            target->requests[i] = post(target, load->bytes);
            tagged(NULL, 0);
            if (!target->requests[i]) { /* it has ended at once */
                *done += load->bytes;
                continue;
            }
        }
        if (status == UCS_OK || status == UCS_INPROGRESS)
            continue;
        if (receiver != SICK)
            DIE("a healthy transfer: status %d", status);
        target->failed = true;
    }
}

static bool ucx_step(struct load *load, bool posts)
{
    const bool moved = ucp_worker_progress(worker) != 0;

    for (int receiver = 1; receiver <= SICK; receiver++) {
        if (targets[receiver].ep)
            target_step(load, receiver, posts);
    }
    return moved;
}

static double ucx_urgent(struct load *load)
{
    const double begun_s = world_now_s();
    const bool beside = targets[1].requests[0] != NULL;
    ucs_status_ptr_t transfer, flush;

    tagged("urgent", 5);
    transfer = post(&targets[1], urgent_bytes);
    flush = ucp_ep_flush_nbx(targets[1].ep, &no_param);
    tagged(NULL, 0);
    while ((transfer || flush) && world_now_s() - begun_s < URGENT_LIMIT_S) {
        const ucs_status_t one = transfer ? request_ended(&transfer) : UCS_OK;
        const ucs_status_t two = flush ? request_ended(&flush) : UCS_OK;

        if ((one != UCS_OK && one != UCS_INPROGRESS) || (two != UCS_OK && two != UCS_INPROGRESS))
            DIE("the urgent transfer: status %d, %d", one, two);
        (void)ucx_step(load, beside);
    }
    return world_now_s() - begun_s;
}

static bool ucx_receive(struct load *load)
{
    (void)load;
    return ucp_worker_progress(worker) != 0;
}

static struct load load = {
    .connect = ucx_connect,
    .step = ucx_step,
    .urgent = ucx_urgent,
};

static void scene(struct world *world)
{
    load.world = world;
    if (world->rank == SENDER || world->rank == OTHER)
        load_send(&load);
    load_receive(&load, ucx_receive);
}

int main(int argc, char **argv)
{
    struct world world = {0};

    if (argc != 7) {
        fputs("usage: stall_ucx put|get same|other none|errors DEPTH BYTES URGENT_BYTES\n", stderr);
        return 2;
    }
    gets = strcmp(argv[1], "get") == 0;
    load.other = strcmp(argv[2], "other") == 0;
    errors = strcmp(argv[3], "errors") == 0;
    load.depth = (unsigned)strtoul(argv[4], NULL, 10);
    load.bytes = strtoull(argv[5], NULL, 10);
    urgent_bytes = strtoull(argv[6], NULL, 10);
    memory_bytes = urgent_bytes > load.bytes ? urgent_bytes : load.bytes;
    if (load.depth < 1 || load.depth > DEPTH_MAX || load.bytes < 1) {
        fputs("stall_ucx: depth 1 to 32, bytes from 1\n", stderr);
        return 2;
    }
    cards = mmap(NULL, RANKS * sizeof(*cards), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                 -1, 0);
    if (cards == MAP_FAILED)
        DIE("no memory");
    return world_run(&world, load.other ? RANKS : RANKS - 1, -1, scene);
}
