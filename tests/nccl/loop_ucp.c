/* SPDX-License-Identifier: Apache-2.0 */
/* See loop_ucp.h. */
#include "loop_ucp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

#define WORKERS 64
#define REGIONS (1u << 20)
#define MAGIC 0x6c6f6f70u

struct loop_hooks loop_hooks;

struct address {
    uint32_t magic, worker;
};

struct key {
    uint32_t magic, region;
};

struct region { /* index: its id; never used twice */
    char *base;
    size_t size;
    bool open;
};

struct op { /* a request of ours */
    uint32_t magic;
    ucs_status_t status;
    bool forgotten; /* was freed before its end */
    struct endpoint *ep;
    ucp_request_param_t param;
    struct op *next;
};

struct mail {
    struct loop_message message;
    struct mail *next;
};

struct worker {
    bool open;
    ucp_am_recv_callback_t handlers[16];
    void *arguments[16];
    struct mail *first, *last;
    struct op *pending; /* of its endpoints, oldest first */
};

struct endpoint {
    struct worker *own, *other;
    struct endpoint *next; /* of all */
};

static struct worker workers[WORKERS];
static struct region regions[REGIONS];
static uint32_t workers_made, regions_made;
static struct endpoint *endpoints;

#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "loop_ucp: %s:%d: %s\n", __func__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static bool later(void)
{
    uint64_t *state = &loop_hooks.random;

    if (loop_hooks.silent || loop_hooks.hold)
        return true;
    if (*state == 0)
        return false;
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * UINT64_C(2685821657736338717)) >> 62 == 0;
}

static bool fails(const char *call)
{
    return loop_hooks.fails && loop_hooks.fails(call);
}

static void note(const char *word)
{
    const size_t used = strlen(loop_hooks.log);

    snprintf(loop_hooks.log + used, sizeof(loop_hooks.log) - used, "%s ", word);
}

/* Done now (NULL), or a request that progress ends: behind those before it on the endpoint. */
static ucs_status_ptr_t post(struct endpoint *ep, const ucp_request_param_t *param)
{
    struct op **last = &ep->own->pending, *op;
    bool behind = false;

    for (; *last; last = &(*last)->next)
        behind |= (*last)->ep == ep;
    if (!behind && !later())
        return NULL;
    op = calloc(1, sizeof(*op));
    *op = (struct op){.magic = MAGIC, .status = UCS_INPROGRESS, .ep = ep, .param = *param};
    *last = op;
    return op;
}

static void end(struct op *op, ucs_status_t status)
{
    if (status == UCS_OK && fails("end"))
        status = UCS_ERR_CONNECTION_RESET;
    op->status = status;
    if (op->forgotten)
        ucp_request_free(op);
    else if (op->param.op_attr_mask & UCP_OP_ATTR_FIELD_CALLBACK)
        op->param.cb.send(op, status, op->param.user_data); /* frees it */
}

static void end_all(struct worker *worker, const struct endpoint *ep, ucs_status_t status)
{
    for (struct op **at = &worker->pending; *at;) {
        struct op *op = *at;

        if (ep && op->ep != ep) {
            at = &op->next;
            continue;
        }
        *at = op->next;
        end(op, status);
        at = &worker->pending; /* the callback may have changed the list */
    }
}

static void deliver(struct worker *worker)
{
    struct mail *mail = worker->first;
    struct loop_message *message = &mail->message;
    const ucp_am_recv_param_t param = {0};
    char *header;

    worker->first = mail->next;
    if (!worker->first)
        worker->last = NULL;
    if (loop_hooks.change)
        loop_hooks.change(message);
    header = malloc(message->header_bytes + 1); /* of that length: so that ASan sees its end */
    memcpy(header, message->header, message->header_bytes);
    if (message->id < 16 && worker->handlers[message->id])
        NEED(worker->handlers[message->id](worker->arguments[message->id], header,
                                           message->header_bytes, message->data, message->bytes,
                                           &param) == UCS_OK);
    free(header);
    free(message->data);
    free(mail);
}

unsigned ucp_worker_progress(ucp_worker_h handle)
{
    struct worker *worker = (struct worker *)handle;
    unsigned count = 0;

    if (loop_hooks.silent)
        return 0;
    for (; worker->first && (count == 0 || !later()); count++)
        deliver(worker);
    if (!later())
        end_all(worker, NULL, UCS_OK); /* that of one may fail: see end() */
    return count;
}

ucs_status_ptr_t ucp_am_send_nbx(ucp_ep_h handle, unsigned id, const void *header,
                                 size_t header_bytes, const void *data, size_t bytes,
                                 const ucp_request_param_t *param)
{
    struct endpoint *ep = (struct endpoint *)handle;
    struct mail *mail;

    if (fails("ucp_am_send_nbx"))
        return UCS_STATUS_PTR(UCS_ERR_NO_MEMORY);
    mail = calloc(1, sizeof(*mail));
    NEED(header_bytes <= LOOP_HEADER_MAX);
    mail->message = (struct loop_message){.id = id, .header_bytes = header_bytes, .bytes = bytes};
    memcpy(mail->message.header, header, header_bytes);
    mail->message.data = malloc(bytes + 1);
    if (bytes > 0)
        memcpy(mail->message.data, data, bytes);
    if (ep->other->open) {
        *(ep->other->last ? &ep->other->last->next : &ep->other->first) = mail;
        ep->other->last = mail;
    } else {
        free(mail->message.data);
        free(mail);
    }
    return post(ep, param);
}

static char *place(uint64_t remote, ucp_rkey_h rkey, size_t bytes)
{
    const struct key *key = (const struct key *)rkey;
    const struct region *region;
    uint64_t offset;

    NEED(key->magic == MAGIC && key->region < regions_made);
    region = &regions[key->region];
    offset = remote - (uint64_t)(uintptr_t)region->base;
    NEED(offset <= region->size && bytes <= region->size - offset);
    return region->open ? region->base + offset : NULL; /* as over RDMA: it does not arrive */
}

ucs_status_ptr_t ucp_put_nbx(ucp_ep_h ep, const void *data, size_t bytes, uint64_t remote,
                             ucp_rkey_h rkey, const ucp_request_param_t *param)
{
    char *to = place(remote, rkey, bytes);

    if (fails("ucp_put_nbx"))
        return UCS_STATUS_PTR(UCS_ERR_NO_MEMORY);
    if (!to)
        return UCS_STATUS_PTR(UCS_ERR_IO_ERROR);
    memcpy(to, data, bytes);
    return post((struct endpoint *)ep, param);
}

ucs_status_ptr_t ucp_get_nbx(ucp_ep_h ep, void *data, size_t bytes, uint64_t remote,
                             ucp_rkey_h rkey, const ucp_request_param_t *param)
{
    const char *from = place(remote, rkey, bytes);

    if (fails("ucp_get_nbx"))
        return UCS_STATUS_PTR(UCS_ERR_NO_MEMORY);
    NEED(from);
    memcpy(data, from, bytes);
    return post((struct endpoint *)ep, param);
}

ucs_status_ptr_t ucp_ep_flush_nbx(ucp_ep_h ep, const ucp_request_param_t *param)
{
    if (fails("ucp_ep_flush_nbx"))
        return UCS_STATUS_PTR(UCS_ERR_NO_MEMORY);
    note("flush");
    return post((struct endpoint *)ep, param);
}

ucs_status_ptr_t ucp_ep_close_nbx(ucp_ep_h handle, const ucp_request_param_t *param)
{
    struct endpoint *ep = (struct endpoint *)handle;

    if (fails("ucp_ep_close_nbx"))
        return UCS_STATUS_PTR(UCS_ERR_NO_MEMORY);
    if (param->flags & UCP_EP_CLOSE_FLAG_FORCE) {
        note("close!");
        end_all(ep->own, ep, UCS_ERR_CANCELED);
        return NULL; /* ep is lost: operations may still point to it */
    }
    note("close");
    return post(ep, param);
}

ucs_status_t ucp_request_check_status(void *request)
{
    return ((struct op *)request)->status;
}

void ucp_request_free(void *request)
{
    struct op *op = request;

    NEED(op->magic == MAGIC);
    if (op->status == UCS_INPROGRESS) { /* nobody is told of its end */
        op->forgotten = true;
        return;
    }
    op->magic = 0;
    free(op);
}

/* --- workers, endpoints, memory --- */

ucs_status_t ucp_worker_create(ucp_context_h context, const ucp_worker_params_t *params,
                               ucp_worker_h *out)
{
    struct worker *worker = workers;

    if (fails("ucp_worker_create"))
        return UCS_ERR_NO_MEMORY;
    (void)context;
    (void)params;
    while (worker < workers + WORKERS && worker->open)
        worker++;
    NEED(worker < workers + WORKERS);
    *worker = (struct worker){.open = true};
    workers_made++;
    *out = (ucp_worker_h)worker;
    return UCS_OK;
}

void ucp_worker_destroy(ucp_worker_h handle)
{
    struct worker *worker = (struct worker *)handle;

    end_all(worker, NULL, UCS_ERR_CANCELED);
    while (worker->first) {
        struct mail *mail = worker->first;

        worker->first = mail->next;
        free(mail->message.data);
        free(mail);
    }
    worker->last = NULL;
    worker->open = false;
}

ucs_status_t ucp_worker_get_address(ucp_worker_h worker, ucp_address_t **out, size_t *bytes)
{
    struct address *address;

    if (fails("ucp_worker_get_address"))
        return UCS_ERR_NO_MEMORY;
    address = malloc(sizeof(*address));
    *address = (struct address){MAGIC, (uint32_t)((struct worker *)worker - workers)};
    *out = (ucp_address_t *)address;
    *bytes = sizeof(*address);
    return UCS_OK;
}

void ucp_worker_release_address(ucp_worker_h worker, ucp_address_t *address)
{
    (void)worker;
    free(address);
}

ucs_status_t ucp_worker_set_am_recv_handler(ucp_worker_h handle,
                                            const ucp_am_handler_param_t *param)
{
    struct worker *worker = (struct worker *)handle;

    if (fails("ucp_worker_set_am_recv_handler"))
        return UCS_ERR_NO_MEMORY;
    worker->handlers[param->id] = param->cb;
    worker->arguments[param->id] = param->arg;
    return UCS_OK;
}

ucs_status_t ucp_ep_create(ucp_worker_h worker, const ucp_ep_params_t *params, ucp_ep_h *out)
{
    struct endpoint *ep;
    struct address address;

    if (fails("ucp_ep_create"))
        return UCS_ERR_NO_MEMORY;
    ep = calloc(1, sizeof(*ep)); /* until loop_reset(): requests point to it */
    memcpy(&address, params->address, sizeof(address));
    NEED(address.magic == MAGIC && address.worker < WORKERS);
    ep->own = (struct worker *)worker;
    ep->other = &workers[address.worker];
    ep->next = endpoints;
    endpoints = ep;
    *out = (ucp_ep_h)ep;
    return UCS_OK;
}

ucs_status_t ucp_mem_map(ucp_context_h context, const ucp_mem_map_params_t *params, ucp_mem_h *out)
{
    struct region *region = &regions[regions_made];

    if (fails("ucp_mem_map"))
        return UCS_ERR_NO_MEMORY;
    (void)context;
    NEED(regions_made < REGIONS);
    *region = (struct region){params->address, params->length, true};
    regions_made++;
    *out = (ucp_mem_h)region;
    return UCS_OK;
}

ucs_status_t ucp_mem_unmap(ucp_context_h context, ucp_mem_h region)
{
    (void)context;
    ((struct region *)region)->open = false;
    return UCS_OK;
}

ucs_status_t ucp_rkey_pack(ucp_context_h context, ucp_mem_h region, void **out, size_t *bytes)
{
    struct key *key;

    (void)context;
    if (fails("ucp_rkey_pack"))
        return UCS_ERR_NO_MEMORY;
    key = malloc(sizeof(*key));
    *key = (struct key){MAGIC, (uint32_t)((struct region *)region - regions)};
    *out = key;
    *bytes = sizeof(*key);
    return UCS_OK;
}

void ucp_rkey_buffer_release(void *key)
{
    free(key);
}

ucs_status_t ucp_ep_rkey_unpack(ucp_ep_h ep, const void *packed, ucp_rkey_h *out)
{
    struct key *key;

    (void)ep;
    if (fails("ucp_ep_rkey_unpack"))
        return UCS_ERR_NO_MEMORY;
    key = malloc(sizeof(*key));
    memcpy(key, packed, sizeof(*key));
    NEED(key->magic == MAGIC && key->region < regions_made);
    *out = (ucp_rkey_h)key;
    return UCS_OK;
}

void ucp_rkey_destroy(ucp_rkey_h key)
{
    free(key);
}

void loop_reset(void)
{
    while (endpoints) {
        struct endpoint *ep = endpoints;

        endpoints = ep->next;
        free(ep);
    }
    regions_made = 0;
}

/* --- the rest --- */

ucs_status_t ucp_ep_query(ucp_ep_h ep, ucp_ep_attr_t *attributes)
{
    if (fails("ucp_ep_query"))
        return UCS_ERR_NO_MEMORY;
    (void)ep;
    if (loop_hooks.minor > 0 && loop_hooks.minor < 14)
        return UCS_OK; /* it knows no such field */
    attributes->transports.entries[0].transport_name = loop_hooks.rdma     ? "rc_verbs"
                                                       : loop_hooks.random ? "loop"
                                                                           : "self";
    attributes->transports.entries[0].device_name = "loop0";
    attributes->transports.num_entries = 1;
    return UCS_OK;
}

const char *ucp_get_version_string(void)
{
    return "1.99.0";
}

void ucp_get_version(unsigned *major, unsigned *minor, unsigned *release)
{
    *major = 1;
    *minor = loop_hooks.minor ? loop_hooks.minor : 99;
    *release = 0;
}

const char *ucs_status_string(ucs_status_t status)
{
    return status == UCS_OK ? "no error" : "an error of loop_ucp";
}

ucs_status_t ucp_config_read(const char *prefix, const char *file, ucp_config_t **config)
{
    if (fails("ucp_config_read"))
        return UCS_ERR_NO_MEMORY;
    (void)prefix;
    (void)file;
    *config = malloc(1);
    return UCS_OK;
}

ucs_status_t ucp_config_modify(ucp_config_t *config, const char *name, const char *value)
{
    if (fails("ucp_config_modify"))
        return UCS_ERR_NO_MEMORY;
    (void)config;
    (void)name;
    (void)value;
    return UCS_OK;
}

void ucp_config_print(const ucp_config_t *config, FILE *stream, const char *title,
                      ucs_config_print_flags_t flags)
{
    (void)config;
    (void)title;
    (void)flags;
    fputs("UCX_PROTO_ENABLE=y\n", stream);
}

void ucp_config_release(ucp_config_t *config)
{
    free(config);
}

ucs_status_t ucp_init_version(unsigned major, unsigned minor, const ucp_params_t *params,
                              const ucp_config_t *config, ucp_context_h *context)
{
    if (fails("ucp_init_version"))
        return UCS_ERR_NO_MEMORY;
    (void)major;
    (void)minor;
    (void)params;
    (void)config;
    *context = malloc(1);
    return UCS_OK;
}

void ucp_cleanup(ucp_context_h context)
{
    free(context);
}

ucs_status_t ucp_context_query(ucp_context_h context, ucp_context_attr_t *attributes)
{
    if (fails("ucp_context_query"))
        return UCS_ERR_NO_MEMORY;
    (void)context;
    attributes->memory_types = UCS_BIT(UCS_MEMORY_TYPE_HOST);
    return UCS_OK;
}

void ucp_context_print_info(const ucp_context_h context, FILE *stream)
{
    (void)context;
    fputs(loop_hooks.rdma ? "# 0 : rc_verbs/loop0:1\n" : "# 0 : loop/loop0\n", stream);
}
