/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_ucp.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))
#define OPEN_MAX 4096

struct request {
    ucp_send_nbx_callback_t callback;
    void *user_data;
    ucs_status_t status;
    bool completing, freed;
};

struct ucp_ep {
    unsigned number;
    ucp_worker_h worker;
    struct ucp_ep *next_free;
};

struct ucp_worker {
    unsigned eps;
};

API enum fake_mode fake_mode;
API int fake_worker_pending;
API unsigned fake_arms;
API ucs_status_t fake_fail;
API void (*fake_in_put)(ucp_ep_h ep);
API const ucp_transport_entry_t *fake_transports;
API unsigned fake_transport_count;
API uint64_t fake_fails[FAKE_CALLS];
API ucs_status_t fake_fails_with = UCS_ERR_NO_MEMORY;

static struct request *open_requests[OPEN_MAX];
static unsigned open_count;
static char text[1 << 20];
static size_t length;
static struct ucp_ep *free_eps;
static int context_dummy;

static ucs_status_t outcome_of(enum fake_call call)
{
    const bool fails = fake_fails[call] & 1;

    fake_fails[call] >>= 1;
    return fails ? fake_fails_with : UCS_OK;
}

static void note(const char *format, ...)
{
    va_list args;

    if (length > 0)
        length += (size_t)snprintf(text + length, sizeof(text) - length, ", ");
    va_start(args, format);
    length += (size_t)vsnprintf(text + length, sizeof(text) - length, format, args);
    va_end(args);
    if (length >= sizeof(text))
        abort();
}

API const char *fake_log(void)
{
    static char copy[sizeof(text)];

    memcpy(copy, text, length);
    copy[length] = '\0';
    length = 0;
    return copy;
}

API unsigned fake_open(void)
{
    return open_count;
}

static void complete(struct request *request, ucs_status_t status)
{
    if (status == UCS_OK)
        status = outcome_of(FAKE_END);
    request->status = status;
    request->completing = true;
    if (request->callback)
        request->callback(request, status, request->user_data);
    request->completing = false;
    if (request->freed)
        free(request);
}

API void fake_complete(unsigned nth, ucs_status_t status)
{
    struct request *request;

    if (nth >= open_count)
        abort();
    request = open_requests[nth];
    open_count--;
    memmove(&open_requests[nth], &open_requests[nth + 1],
            (open_count - nth) * sizeof(open_requests[0]));
    complete(request, status);
}

API void fake_complete_all(void)
{
    while (open_count > 0)
        fake_complete(0, UCS_OK);
}

static ucs_status_ptr_t start(enum fake_call call, const ucp_request_param_t *param)
{
    const ucs_status_t status = outcome_of(call);
    struct request *request;

    if (status != UCS_OK)
        return UCS_STATUS_PTR(status);
    if (fake_mode == FAKE_AT_ONCE)
        return NULL;
    request = calloc(1, sizeof(*request));
    request->status = UCS_INPROGRESS;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_CALLBACK)
        request->callback = param->cb.send;
    if (param->op_attr_mask & UCP_OP_ATTR_FIELD_USER_DATA)
        request->user_data = param->user_data;
    if (fake_mode == FAKE_EARLY) {
        /* the callback frees it: the address alone is handed back, as UCX would */
        ucs_status_ptr_t handle = request;

        complete(request, UCS_OK);
        return handle;
    }
    if (open_count == OPEN_MAX)
        abort();
    open_requests[open_count++] = request;
    return request;
}

/* --- what a program links to --- */

API ucs_status_t ucp_init_version(unsigned major, unsigned minor, const ucp_params_t *params,
                                  const ucp_config_t *config, ucp_context_h *context)
{
    (void)major, (void)minor, (void)params, (void)config;
    *context = (ucp_context_h)(void *)&context_dummy;
    return outcome_of(FAKE_INIT);
}

API void ucp_cleanup(ucp_context_h context)
{
    (void)context;
}

API ucs_status_t ucp_worker_create(ucp_context_h context, const ucp_worker_params_t *params,
                                   ucp_worker_h *worker)
{
    (void)context, (void)params;
    const ucs_status_t status = outcome_of(FAKE_WORKER);

    if (status == UCS_OK)
        *worker = calloc(1, sizeof(**worker));
    return status;
}

API void ucp_worker_destroy(ucp_worker_h worker)
{
    note("destroy");
    while (open_count > 0)
        fake_complete(0, UCS_ERR_CANCELED);
    free(worker);
}

API unsigned ucp_worker_progress(ucp_worker_h worker)
{
    unsigned count = (unsigned)fake_worker_pending;

    (void)worker;
    fake_worker_pending = 0;
    if (fake_mode == FAKE_PROGRESS && open_count > 0) {
        fake_complete(0, UCS_OK);
        count++;
    }
    return count;
}

API ucs_status_t ucp_worker_arm(ucp_worker_h worker)
{
    (void)worker;
    fake_arms++;
    return outcome_of(FAKE_ARM);
}

API ucs_status_t ucp_worker_wait(ucp_worker_h worker)
{
    return ucp_worker_arm(worker);
}

API ucs_status_t ucp_worker_fence(ucp_worker_h worker)
{
    (void)worker;
    note("fence");
    return outcome_of(FAKE_FENCE);
}

API ucs_status_ptr_t ucp_worker_flush_nbx(ucp_worker_h worker, const ucp_request_param_t *param)
{
    (void)worker;
    note("flush");
    return start(FAKE_FLUSH, param);
}

API ucs_status_t ucp_worker_flush(ucp_worker_h worker)
{
    (void)worker;
    note("flush");
    fake_complete_all();
    return outcome_of(FAKE_FLUSH);
}

API ucs_status_t ucp_ep_create(ucp_worker_h worker, const ucp_ep_params_t *params, ucp_ep_h *ep)
{
    const ucs_status_t status = outcome_of(FAKE_EP);

    (void)params;
    if (status != UCS_OK)
        return status;
    *ep = free_eps ? free_eps : calloc(1, sizeof(**ep));
    free_eps = free_eps ? free_eps->next_free : NULL; /* the last address closed comes back first */
    (*ep)->number = ++worker->eps;
    (*ep)->worker = worker;
    return UCS_OK;
}

API ucs_status_t ucp_config_read(const char *prefix, const char *file, ucp_config_t **config)
{
    (void)prefix, (void)file;
    *config = (ucp_config_t *)&fake_mode; /* any address: there is nothing in it */
    return UCS_OK;
}

API void ucp_config_release(ucp_config_t *config)
{
    (void)config;
}

API void ucp_config_print(const ucp_config_t *config, FILE *stream, const char *title,
                          ucs_config_print_flags_t flags)
{
    const char *rails = getenv("UCX_MAX_RMA_RAILS");

    (void)config, (void)title, (void)flags;
    fprintf(stream, "UCX_MAX_RNDV_RAILS=2\nUCX_MAX_RMA_RAILS=%s\nUCX_RMA_MAX=inf\n",
            rails ? rails : "1");
}

API ucs_status_t ucp_ep_query(ucp_ep_h ep, ucp_ep_attr_t *attr)
{
    (void)ep;
    if (!fake_transports || !(attr->field_mask & UCP_EP_ATTR_FIELD_TRANSPORTS))
        return UCS_OK;
    if (attr->transports.num_entries > fake_transport_count)
        attr->transports.num_entries = fake_transport_count;
    memcpy(attr->transports.entries, fake_transports,
           attr->transports.num_entries * sizeof(*fake_transports));
    return UCS_OK;
}

API ucs_status_ptr_t ucp_ep_close_nbx(ucp_ep_h ep, const ucp_request_param_t *param)
{
    const bool force =
        (param->op_attr_mask & UCP_OP_ATTR_FIELD_FLAGS) && (param->flags & UCP_EP_CLOSE_FLAG_FORCE);

    note("close%s %u", force ? "!" : "", ep->number);
    ep->number = 0; /* use after close shows in the log */
    ep->next_free = free_eps;
    free_eps = ep;
    return UCS_STATUS_PTR(outcome_of(FAKE_CLOSE));
}

API ucs_status_ptr_t ucp_ep_close_nb(ucp_ep_h ep, unsigned mode)
{
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
        .flags = mode == UCP_EP_CLOSE_MODE_FORCE ? UCP_EP_CLOSE_FLAG_FORCE : 0,
    };

    return ucp_ep_close_nbx(ep, &param);
}

/* A jump to another exported function, as in the real one. */
API ucs_status_ptr_t ucp_disconnect_nb(ucp_ep_h ep)
{
    return ucp_ep_close_nb(ep, UCP_EP_CLOSE_MODE_FLUSH);
}

API ucs_status_ptr_t ucp_ep_flush_nbx(ucp_ep_h ep, const ucp_request_param_t *param)
{
    note("flush %u", ep->number);
    return start(FAKE_FLUSH, param);
}

API ucs_status_t ucp_ep_flush(ucp_ep_h ep)
{
    note("flush %u", ep->number);
    fake_complete_all();
    return outcome_of(FAKE_FLUSH);
}

static ucs_status_ptr_t transfer(enum fake_call call, const char *name, ucp_ep_h ep, size_t bytes,
                                 uint64_t remote_addr, const ucp_request_param_t *param)
{
    if (fake_in_put)
        fake_in_put(ep);
    note("%s %u %llu +%zu", name, ep->number, (unsigned long long)remote_addr, bytes);
    return fake_fail != UCS_OK ? UCS_STATUS_PTR(fake_fail) : start(call, param);
}

API ucs_status_ptr_t ucp_put_nbx(ucp_ep_h ep, const void *buffer, size_t count,
                                 uint64_t remote_addr, ucp_rkey_h rkey,
                                 const ucp_request_param_t *param)
{
    (void)buffer, (void)rkey;
    return transfer(FAKE_POST, "put", ep, count, remote_addr, param);
}

API ucs_status_ptr_t ucp_get_nbx(ucp_ep_h ep, void *buffer, size_t count, uint64_t remote_addr,
                                 ucp_rkey_h rkey, const ucp_request_param_t *param)
{
    (void)buffer, (void)rkey;
    return transfer(FAKE_POST, "get", ep, count, remote_addr, param);
}

API ucs_status_t ucp_put_nbi(ucp_ep_h ep, const void *buffer, size_t bytes, uint64_t remote_addr,
                             ucp_rkey_h rkey)
{
    const ucp_request_param_t param = {0};
    ucs_status_ptr_t result = ucp_put_nbx(ep, buffer, bytes, remote_addr, rkey, &param);

    if (!UCS_PTR_IS_PTR(result))
        return UCS_PTR_STATUS(result);
    ucp_request_free(result);
    return UCS_INPROGRESS;
}

API ucs_status_t ucp_request_check_status(void *request)
{
    return ((struct request *)request)->status;
}

/* In progress: no callback any more. */
API void ucp_request_free(void *handle)
{
    struct request *request = handle;

    if (request->status == UCS_INPROGRESS)
        request->callback = NULL;
    ucp_request_release(handle);
}

API void ucp_request_release(void *handle)
{
    struct request *request = handle;

    if (request->status == UCS_INPROGRESS || request->completing)
        request->freed = true;
    else
        free(request);
}

API void ucp_request_cancel(ucp_worker_h worker, void *request)
{
    (void)worker, (void)request;
}

API ucs_status_t ucp_get_nbi(ucp_ep_h ep, void *buffer, size_t bytes, uint64_t remote_addr,
                             ucp_rkey_h rkey)
{
    return ucp_put_nbi(ep, buffer, bytes, remote_addr, rkey);
}

API ucs_status_t ucp_put(ucp_ep_h ep, const void *buffer, size_t bytes, uint64_t remote_addr,
                         ucp_rkey_h rkey)
{
    ucs_status_t status = ucp_put_nbi(ep, buffer, bytes, remote_addr, rkey);

    fake_complete_all();
    return status == UCS_INPROGRESS ? UCS_OK : status;
}

API ucs_status_t ucp_get(ucp_ep_h ep, void *buffer, size_t bytes, uint64_t remote_addr,
                         ucp_rkey_h rkey)
{
    return ucp_put(ep, buffer, bytes, remote_addr, rkey);
}

API ucs_status_ptr_t ucp_put_nb(ucp_ep_h ep, const void *buffer, size_t bytes, uint64_t remote_addr,
                                ucp_rkey_h rkey, ucp_send_callback_t callback)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK};

    memcpy(&param.cb.send, &callback, sizeof(callback));
    return ucp_put_nbx(ep, buffer, bytes, remote_addr, rkey, &param);
}

API ucs_status_ptr_t ucp_get_nb(ucp_ep_h ep, void *buffer, size_t bytes, uint64_t remote_addr,
                                ucp_rkey_h rkey, ucp_send_callback_t callback)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK};

    memcpy(&param.cb.send, &callback, sizeof(callback));
    return ucp_get_nbx(ep, buffer, bytes, remote_addr, rkey, &param);
}

API ucs_status_ptr_t ucp_ep_flush_nb(ucp_ep_h ep, unsigned flags, ucp_send_callback_t callback)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK};

    (void)flags;
    memcpy(&param.cb.send, &callback, sizeof(callback));
    return ucp_ep_flush_nbx(ep, &param);
}

API ucs_status_ptr_t ucp_worker_flush_nb(ucp_worker_h worker, unsigned flags,
                                         ucp_send_callback_t callback)
{
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK};

    (void)flags;
    memcpy(&param.cb.send, &callback, sizeof(callback));
    return ucp_worker_flush_nbx(worker, &param);
}

API void ucp_ep_destroy(ucp_ep_h ep)
{
    (void)ucp_ep_close_nb(ep, UCP_EP_CLOSE_MODE_FLUSH);
}

API void ucp_worker_wait_mem(ucp_worker_h worker, void *address)
{
    (void)worker, (void)address;
}

API int ucp_request_is_completed(void *request)
{
    return ucp_request_check_status(request) != UCS_INPROGRESS;
}

API ucs_status_t ucp_request_test(void *request, ucp_tag_recv_info_t *info)
{
    (void)info;
    return ucp_request_check_status(request);
}

API ucs_status_t ucp_request_query(void *request, ucp_request_attr_t *attributes)
{
    attributes->status = ucp_request_check_status(request);
    return UCS_OK;
}

/* --- what passes --- */

API ucs_status_ptr_t ucp_tag_send_nbx(ucp_ep_h ep, const void *buffer, size_t count, ucp_tag_t tag,
                                      const ucp_request_param_t *param)
{
    (void)buffer;
    return transfer(FAKE_SEND, "tag", ep, count, tag, param);
}

/* Through another exported function, as in the real one: counted once all the same. */
API ucs_status_ptr_t ucp_tag_send_nb(ucp_ep_h ep, const void *buffer, size_t count,
                                     ucp_datatype_t datatype, ucp_tag_t tag,
                                     ucp_send_callback_t callback)
{
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                       .datatype = datatype};

    (void)callback;
    return ucp_tag_send_nbx(ep, buffer, count, tag, &param);
}

API ucs_status_ptr_t ucp_tag_send_sync_nbx(ucp_ep_h ep, const void *buffer, size_t count,
                                           ucp_tag_t tag, const ucp_request_param_t *param)
{
    (void)buffer;
    return transfer(FAKE_SEND, "sync", ep, count, tag, param);
}

API ucs_status_ptr_t ucp_tag_send_sync_nb(ucp_ep_h ep, const void *buffer, size_t count,
                                          ucp_datatype_t datatype, ucp_tag_t tag,
                                          ucp_send_callback_t callback)
{
    const ucp_request_param_t param = {0};

    (void)buffer, (void)datatype, (void)callback;
    return transfer(FAKE_SEND, "sync", ep, count, tag, &param);
}

API ucs_status_t ucp_tag_send_nbr(ucp_ep_h ep, const void *buffer, size_t count,
                                  ucp_datatype_t datatype, ucp_tag_t tag, void *request)
{
    (void)buffer, (void)datatype, (void)request;
    note("tag %u %llu +%zu", ep->number, (unsigned long long)tag, count);
    return UCS_OK;
}

API ucs_status_ptr_t ucp_am_send_nbx(ucp_ep_h ep, unsigned id, const void *header,
                                     size_t header_length, const void *buffer, size_t count,
                                     const ucp_request_param_t *param)
{
    (void)header, (void)header_length, (void)buffer;
    return transfer(FAKE_SEND, "am", ep, count, id, param);
}

API ucs_status_ptr_t ucp_am_send_nb(ucp_ep_h ep, uint16_t id, const void *buffer, size_t count,
                                    ucp_datatype_t datatype, ucp_send_callback_t callback,
                                    unsigned flags)
{
    const ucp_request_param_t param = {0};

    (void)buffer, (void)datatype, (void)callback, (void)flags;
    return transfer(FAKE_SEND, "am", ep, count, id, &param);
}

API ucs_status_ptr_t ucp_stream_send_nbx(ucp_ep_h ep, const void *buffer, size_t count,
                                         const ucp_request_param_t *param)
{
    (void)buffer;
    return transfer(FAKE_SEND, "stream", ep, count, 0, param);
}

API ucs_status_ptr_t ucp_stream_send_nb(ucp_ep_h ep, const void *buffer, size_t count,
                                        ucp_datatype_t datatype, ucp_send_callback_t callback,
                                        unsigned flags)
{
    const ucp_request_param_t param = {0};

    (void)buffer, (void)datatype, (void)callback, (void)flags;
    return transfer(FAKE_SEND, "stream", ep, count, 0, &param);
}

API ucs_status_t ucp_device_local_mem_list_create(const void *params, void *list)
{
    (void)params, (void)list;
    note("local list");
    return UCS_OK;
}

API ucs_status_t ucp_device_remote_mem_list_create(const void *params, void *list)
{
    (void)params, (void)list;
    note("remote list");
    return UCS_OK;
}
