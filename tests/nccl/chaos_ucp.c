/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libucp that hands everything on to the real one (CHAOS_UCP names it), but holds puts,
 * active messages and flushes back for a random number of progress calls. What is posted on
 * one endpoint keeps its order; endpoints overtake each other. UCX allows all of that.
 *
 * CHAOS_EARLY=1: a transport that nobody knows, whose puts are complete as soon as it has a copy
 * of the bytes. They land later, behind active messages; only a flush waits for them.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

#define REAL(name) ((__typeof__(&name))real(#name))
#define EPS 256

static void *real(const char *name)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static void *handle;
    void *found;

    pthread_mutex_lock(&mutex);
    if (!handle)
        handle = dlopen(getenv("CHAOS_UCP"), RTLD_NOW | RTLD_LOCAL);
    found = handle ? dlsym(handle, name) : NULL;
    pthread_mutex_unlock(&mutex);
    if (!found) {
        fprintf(stderr, "chaos: no %s in CHAOS_UCP\n", name);
        abort();
    }
    return found;
}

#define MAGIC UINT64_C(0xc4a05c4a05c4a05f)

struct op {
    uint64_t magic; /* tells ours from UCX's own requests */
    enum { PUT, AM, FLUSH } kind;
    ucp_ep_h ep;
    const void *data, *header;
    size_t bytes, header_bytes;
    uint64_t remote;
    ucp_rkey_h rkey;
    unsigned id;
    ucp_request_param_t param;
    unsigned wait; /* progress calls until it goes */
    struct op *next;
};

/* Endpoints of all workers; calls on one worker come one at a time. */
static struct slot {
    ucp_ep_h ep;
    ucp_worker_h worker;
    struct op *first, *last;
    struct op *late; /* puts that are complete and have not landed */
} slots[EPS];
static pthread_mutex_t slots_mutex = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local uint64_t state;

static unsigned any(unsigned below)
{
    if (state == 0)
        state =
            (uint64_t)(uintptr_t)&state ^ (uint64_t)strtoull(getenv("CHAOS_SEED") ?: "1", NULL, 10);
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (unsigned)((state * UINT64_C(2685821657736338717)) >> 33) % below;
}

static struct slot *slot_of(ucp_ep_h ep)
{
    struct slot *found = NULL;

    pthread_mutex_lock(&slots_mutex);
    for (int i = 0; i < EPS && !found; i++)
        found = slots[i].ep == ep ? &slots[i] : NULL;
    pthread_mutex_unlock(&slots_mutex);
    return found;
}

static int early(void)
{
    return getenv("CHAOS_EARLY") != NULL;
}

static void on_landed(void *request, ucs_status_t status, void *user)
{
    struct op *op = user;

    (void)status;
    free((void *)(uintptr_t)op->data);
    free(op);
    if (request)
        REAL(ucp_request_free)(request);
}

static void land(struct op *op)
{
    const ucp_request_param_t param = {.op_attr_mask =
                                           UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                       .cb.send = on_landed,
                                       .user_data = op};
    ucs_status_ptr_t result =
        REAL(ucp_put_nbx)(op->ep, op->data, op->bytes, op->remote, op->rkey, &param);

    if (!UCS_PTR_IS_PTR(result))
        on_landed(NULL, UCS_PTR_STATUS(result), op);
}

static void land_due(struct slot *slot, int all)
{
    for (struct op **at = &slot->late; *at;) {
        struct op *op = *at;

        if (!all && op->wait > 0) {
            op->wait--;
            at = &op->next;
        } else {
            *at = op->next;
            land(op);
        }
    }
}

static void put_early(struct slot *slot, struct op *op)
{
    struct op *late = malloc(sizeof(*late));
    void *copy = malloc(op->bytes);

    *late = *op;
    late->data = memcpy(copy, op->data, op->bytes);
    late->wait = any(100);
    late->next = slot->late;
    slot->late = late;
}

static void done(struct op *op, ucs_status_t status)
{
    op->param.cb.send(op, status, op->param.user_data); /* frees op */
}

static void on_done(void *request, ucs_status_t status, void *user)
{
    done(user, status);
    REAL(ucp_request_free)(request);
}

static void go(struct slot *slot, struct op *op)
{
    ucp_request_param_t param = op->param;
    ucs_status_ptr_t result;

    if (op->kind == PUT && early()) {
        put_early(slot, op);
        done(op, UCS_OK);
        return;
    }
    if (op->kind == FLUSH)
        land_due(slot, 1);
    param.cb.send = on_done;
    param.user_data = op;
    if (op->kind == PUT)
        result = REAL(ucp_put_nbx)(op->ep, op->data, op->bytes, op->remote, op->rkey, &param);
    else if (op->kind == AM)
        result = REAL(ucp_am_send_nbx)(op->ep, op->id, op->header, op->header_bytes, op->data,
                                       op->bytes, &param);
    else
        result = REAL(ucp_ep_flush_nbx)(op->ep, &param);
    if (!UCS_PTR_IS_PTR(result))
        done(op, UCS_PTR_STATUS(result));
}

static ucs_status_ptr_t hold(struct op from)
{
    struct slot *slot = slot_of(from.ep);
    struct op *op = malloc(sizeof(*op));

    *op = from;
    op->magic = MAGIC;
    op->wait = any(4) == 0 ? any(40) : any(3);
    op->next = NULL;
    *(slot->last ? &slot->last->next : &slot->first) = op;
    slot->last = op;
    return op;
}

static void release(struct slot *slot, int all)
{
    while (slot->first && (all || slot->first->wait == 0)) {
        struct op *op = slot->first;

        slot->first = op->next;
        if (!slot->first)
            slot->last = NULL;
        go(slot, op);
    }
    if (slot->first)
        slot->first->wait--;
}

ucs_status_t ucp_ep_create(ucp_worker_h worker, const ucp_ep_params_t *params, ucp_ep_h *ep)
{
    ucs_status_t status = REAL(ucp_ep_create)(worker, params, ep);

    if (status != UCS_OK)
        return status;
    pthread_mutex_lock(&slots_mutex);
    for (int i = 0; i < EPS; i++) {
        if (slots[i].ep)
            continue;
        slots[i] = (struct slot){.ep = *ep, .worker = worker};
        break;
    }
    pthread_mutex_unlock(&slots_mutex);
    return status;
}

ucs_status_ptr_t ucp_ep_close_nbx(ucp_ep_h ep, const ucp_request_param_t *param)
{
    struct slot *slot = slot_of(ep);

    if (slot) {
        release(slot, 1);
        land_due(slot, 1);
        slot->ep = NULL;
    }
    return REAL(ucp_ep_close_nbx)(ep, param);
}

unsigned ucp_worker_progress(ucp_worker_h worker)
{
    unsigned count = REAL(ucp_worker_progress)(worker);
    unsigned from = any(EPS);

    for (unsigned i = 0; i < EPS; i++) {
        struct slot *slot = &slots[(from + i) % EPS];

        if (slot->ep && slot->worker == worker)
            release(slot, 0);
        if (slot->ep && slot->worker == worker)
            land_due(slot, 0);
    }
    return count;
}

ucs_status_ptr_t ucp_put_nbx(ucp_ep_h ep, const void *data, size_t bytes, uint64_t remote,
                             ucp_rkey_h rkey, const ucp_request_param_t *param)
{
    return hold((struct op){.kind = PUT,
                            .ep = ep,
                            .data = data,
                            .bytes = bytes,
                            .remote = remote,
                            .rkey = rkey,
                            .param = *param});
}

ucs_status_ptr_t ucp_am_send_nbx(ucp_ep_h ep, unsigned id, const void *header, size_t header_bytes,
                                 const void *data, size_t bytes, const ucp_request_param_t *param)
{
    return hold((struct op){.kind = AM,
                            .ep = ep,
                            .id = id,
                            .header = header,
                            .header_bytes = header_bytes,
                            .data = data,
                            .bytes = bytes,
                            .param = *param});
}

ucs_status_ptr_t ucp_ep_flush_nbx(ucp_ep_h ep, const ucp_request_param_t *param)
{
    return hold((struct op){.kind = FLUSH, .ep = ep, .param = *param});
}

/* Only what we returned comes here, and the real ones of gets and closes. */
void ucp_request_free(void *request)
{
    struct op *op = request;

    if (op->magic == MAGIC) {
        op->magic = 0;
        free(op);
    } else {
        REAL(ucp_request_free)(request);
    }
}

/* --- handed on --- */

void ucp_get_version(unsigned *a, unsigned *b, unsigned *c)
{
    REAL(ucp_get_version)(a, b, c);
}
const char *ucp_get_version_string(void)
{
    return REAL(ucp_get_version_string)();
}
const char *ucs_status_string(ucs_status_t status)
{
    return REAL(ucs_status_string)(status);
}
ucs_status_t ucp_config_read(const char *a, const char *b, ucp_config_t **c)
{
    return REAL(ucp_config_read)(a, b, c);
}
ucs_status_t ucp_config_modify(ucp_config_t *a, const char *b, const char *c)
{
    return REAL(ucp_config_modify)(a, b, c);
}
void ucp_config_release(ucp_config_t *a)
{
    REAL(ucp_config_release)(a);
}
ucs_status_t ucp_init_version(unsigned a, unsigned b, const ucp_params_t *c, const ucp_config_t *d,
                              ucp_context_h *e)
{
    return REAL(ucp_init_version)(a, b, c, d, e);
}
void ucp_cleanup(ucp_context_h a)
{
    REAL(ucp_cleanup)(a);
}
ucs_status_t ucp_context_query(ucp_context_h a, ucp_context_attr_t *b)
{
    return REAL(ucp_context_query)(a, b);
}
void ucp_context_print_info(const ucp_context_h a, FILE *b)
{
    REAL(ucp_context_print_info)(a, b);
}
ucs_status_t ucp_worker_create(ucp_context_h a, const ucp_worker_params_t *b, ucp_worker_h *c)
{
    return REAL(ucp_worker_create)(a, b, c);
}
void ucp_worker_destroy(ucp_worker_h a)
{
    for (int i = 0; i < EPS; i++) {
        if (slots[i].ep && slots[i].worker == a) /* its endpoints end with it */
            slots[i] = (struct slot){0};
    }
    REAL(ucp_worker_destroy)(a);
}
ucs_status_t ucp_worker_get_address(ucp_worker_h a, ucp_address_t **b, size_t *c)
{
    return REAL(ucp_worker_get_address)(a, b, c);
}
void ucp_worker_release_address(ucp_worker_h a, ucp_address_t *b)
{
    REAL(ucp_worker_release_address)(a, b);
}
ucs_status_t ucp_worker_set_am_recv_handler(ucp_worker_h a, const ucp_am_handler_param_t *b)
{
    return REAL(ucp_worker_set_am_recv_handler)(a, b);
}
ucs_status_t ucp_ep_rkey_unpack(ucp_ep_h a, const void *b, ucp_rkey_h *c)
{
    return REAL(ucp_ep_rkey_unpack)(a, b, c);
}
void ucp_rkey_destroy(ucp_rkey_h a)
{
    if (!early()) /* a put that has not landed may need it */
        REAL(ucp_rkey_destroy)(a);
}
ucs_status_t ucp_rkey_pack(ucp_context_h a, ucp_mem_h b, void **c, size_t *d)
{
    return REAL(ucp_rkey_pack)(a, b, c, d);
}
void ucp_rkey_buffer_release(void *a)
{
    REAL(ucp_rkey_buffer_release)(a);
}
ucs_status_t ucp_mem_map(ucp_context_h a, const ucp_mem_map_params_t *b, ucp_mem_h *c)
{
    return REAL(ucp_mem_map)(a, b, c);
}
ucs_status_t ucp_mem_unmap(ucp_context_h a, ucp_mem_h b)
{
    return REAL(ucp_mem_unmap)(a, b);
}
ucs_status_ptr_t ucp_get_nbx(ucp_ep_h a, void *b, size_t c, uint64_t d, ucp_rkey_h e,
                             const ucp_request_param_t *f)
{
    return REAL(ucp_get_nbx)(a, b, c, d, e, f);
}
ucs_status_t ucp_request_check_status(void *a)
{
    return REAL(ucp_request_check_status)(a);
}
ucs_status_t ucp_ep_query(ucp_ep_h a, ucp_ep_attr_t *b)
{
    ucs_status_t status = REAL(ucp_ep_query)(a, b);

    for (unsigned i = 0; early() && status == UCS_OK && i < b->transports.num_entries; i++)
        b->transports.entries[i].transport_name = "nobody's";
    return status;
}
void ucp_config_print(const ucp_config_t *a, FILE *b, const char *c, ucs_config_print_flags_t d)
{
    REAL(ucp_config_print)(a, b, c, d);
}
