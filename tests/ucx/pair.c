/* SPDX-License-Identifier: Apache-2.0 */
#include "pair.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct side sides[2];

static unsigned threaded = 2; /* sides from here on make progress by themselves */
static pthread_t threads[2];
static _Atomic bool stop;

/* Of the shim's library; absent in a program that runs without it. */
struct tag {
    uint64_t request;
    uint32_t layer, stage;
};
__attribute__((weak)) void mfs_tag_set(const struct tag *tag);

void tag_next(void)
{
    static _Atomic unsigned count;
    const unsigned n = count++;
    const struct tag tag = {n % 7, n % 5, n % 4};

    if (mfs_tag_set)
        mfs_tag_set(&tag);
}

void tag_none(void)
{
    if (mfs_tag_set)
        mfs_tag_set(NULL);
}

static void side_open(struct side *side, const struct pair_options *options)
{
    const ucp_params_t params = {
        .field_mask = UCP_PARAM_FIELD_FEATURES |
                      (options->request_bytes ? UCP_PARAM_FIELD_REQUEST_SIZE : 0) |
                      (options->request_init ? UCP_PARAM_FIELD_REQUEST_INIT : 0),
        .features = UCP_FEATURE_RMA | UCP_FEATURE_AMO64 | UCP_FEATURE_TAG | UCP_FEATURE_AM |
                    UCP_FEATURE_STREAM | UCP_FEATURE_WAKEUP,
        .request_size = options->request_bytes,
        .request_init = options->request_init,
    };
    const ucp_worker_params_t worker_params = {
        .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
        .thread_mode = options->mode,
    };
    ucp_mem_map_params_t memory = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                      UCP_MEM_MAP_PARAM_FIELD_FLAGS,
        .length = MEMORY_BYTES,
        .flags = UCP_MEM_MAP_ALLOCATE,
    };
    ucp_mem_attr_t attributes = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};

    CHECK_OK(ucp_init(&params, NULL, &side->context));
    CHECK_OK(ucp_worker_create(side->context, &worker_params, &side->worker));
    CHECK_OK(ucp_mem_map(side->context, &memory, &side->memh));
    CHECK_OK(ucp_mem_query(side->memh, &attributes));
    side->memory = attributes.address;
}

ucp_ep_h pair_ep(unsigned from, const struct pair_options *options)
{
    const ucp_worker_h to = sides[1 - from].worker;
    ucp_address_t *address;
    size_t length;
    ucp_ep_h ep;

    CHECK_OK(ucp_worker_get_address(to, &address, &length));
    {
        const ucp_ep_params_t params = {
            .field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS |
                          (options->peer_errors ? UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE : 0) |
                          (options->error_handler ? UCP_EP_PARAM_FIELD_ERR_HANDLER : 0),
            .address = address,
            .err_mode = UCP_ERR_HANDLING_MODE_PEER,
            .err_handler.cb = options->error_handler,
        };

        CHECK_OK(ucp_ep_create(sides[from].worker, &params, &ep));
    }
    ucp_worker_release_address(to, address);
    return ep;
}

void pair_open(const struct pair_options *options)
{
    side_open(&sides[0], options);
    side_open(&sides[1], options);
    for (unsigned i = 0; i < 2; i++) {
        const struct side *other = &sides[1 - i];
        void *packed;
        size_t length;

        sides[i].ep = pair_ep(i, options);
        CHECK_OK(ucp_rkey_pack(other->context, other->memh, &packed, &length));
        CHECK_OK(ucp_ep_rkey_unpack(sides[i].ep, packed, &sides[i].rkey));
        ucp_rkey_buffer_release(packed);
    }
    CHECK_OK(wait_for(flush_ep(NULL))); /* connected */
    pair_fill(1);
}

void pair_close(void)
{
    ucs_status_ptr_t closing[2] = {NULL, NULL};

    for (unsigned i = 0; i < 2; i++) {
        if (sides[i].rkey)
            ucp_rkey_destroy(sides[i].rkey);
        if (sides[i].ep)
            closing[i] = close_ep(sides[i].ep, true);
    }
    for (unsigned i = 0; i < 2; i++)
        (void)wait_for(closing[i]);
    for (unsigned i = 0; i < 2; i++) {
        if (sides[i].memh)
            ucp_mem_unmap(sides[i].context, sides[i].memh);
        if (sides[i].worker)
            ucp_worker_destroy(sides[i].worker);
        ucp_cleanup(sides[i].context);
    }
}

static void *progress_side(void *side)
{
    while (!atomic_load(&stop))
        (void)ucp_worker_progress(((struct side *)side)->worker);
    return NULL;
}

void pair_threads_begin(unsigned first)
{
    threaded = first;
    for (unsigned i = first; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, progress_side, &sides[i]) == 0);
}

void pair_threads_end(void)
{
    atomic_store(&stop, true);
    for (unsigned i = threaded; i < 2; i++)
        pthread_join(threads[i], NULL);
    threaded = 2;
}

void pair_progress(void)
{
    for (unsigned i = 0; i < threaded; i++) {
        if (sides[i].worker)
            (void)ucp_worker_progress(sides[i].worker);
    }
}

void pair_fill(unsigned seed)
{
    uint32_t value = seed * 2654435761u + 1;

    for (size_t i = 0; i < MEMORY_BYTES; i += sizeof(value)) {
        value = value * 1664525u + 1013904223u;
        memcpy(sides[0].memory + i, &value, sizeof(value));
    }
    memset(sides[1].memory, 0, MEMORY_BYTES);
}

bool pair_equal(size_t at, size_t bytes)
{
    return memcmp(sides[0].memory + at, sides[1].memory + at, bytes) == 0;
}

uint64_t remote(size_t at)
{
    return (uint64_t)(uintptr_t)(sides[1].memory + at);
}

static void called(void *request, ucs_status_t status, void *user_data)
{
    struct outcome *outcome = user_data;

    (void)request;
    outcome->status = status;
    outcome->calls++;
}

/* On the stack of each post, and wiped after it: nobody may look at it later. */
static void param_set(ucp_request_param_t *param, struct outcome *outcome, uint32_t flags)
{
    memset(param, 0x5a, sizeof(*param));
    param->op_attr_mask = flags;
    if (outcome) {
        param->op_attr_mask |= UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
        param->cb.send = called;
        param->user_data = outcome;
    }
}

ucs_status_ptr_t put(size_t at, size_t bytes, struct outcome *outcome, uint32_t flags)
{
    ucp_request_param_t param;
    ucs_status_ptr_t result;

    tag_next();
    param_set(&param, outcome, flags);
    param.memh = sides[0].memh;
    result =
        ucp_put_nbx(sides[0].ep, sides[0].memory + at, bytes, remote(at), sides[0].rkey, &param);
    memset(&param, 0xff, sizeof(param));
    tag_none();
    return result;
}

ucs_status_ptr_t get(size_t at, size_t bytes, struct outcome *outcome, uint32_t flags)
{
    ucp_request_param_t param;
    ucs_status_ptr_t result;

    tag_next();
    param_set(&param, outcome, flags);
    result =
        ucp_get_nbx(sides[0].ep, sides[0].memory + at, bytes, remote(at), sides[0].rkey, &param);
    memset(&param, 0xff, sizeof(param));
    tag_none();
    return result;
}

ucs_status_ptr_t flush_ep(struct outcome *outcome)
{
    ucp_request_param_t param;
    ucs_status_ptr_t result;

    param_set(&param, outcome, 0);
    result = ucp_ep_flush_nbx(sides[0].ep, &param);
    memset(&param, 0xff, sizeof(param));
    tag_none();
    return result;
}

ucs_status_ptr_t flush_worker(void)
{
    const ucp_request_param_t param = {0};

    return ucp_worker_flush_nbx(sides[0].worker, &param);
}

ucs_status_ptr_t close_ep(ucp_ep_h ep, bool force)
{
    const ucp_request_param_t param = {
        .op_attr_mask = force ? UCP_OP_ATTR_FIELD_FLAGS : 0,
        .flags = UCP_EP_CLOSE_FLAG_FORCE,
    };

    return ucp_ep_close_nbx(ep, &param);
}

ucs_status_t wait_for(ucs_status_ptr_t request)
{
    ucs_status_t status;

    if (!UCS_PTR_IS_PTR(request))
        return UCS_PTR_STATUS(request);
    while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS)
        pair_progress();
    ucp_request_free(request);
    return status;
}
