/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim before a UCX that does nothing (fake_ucp.c): what is handed on, in which
 * order, and what the caller is told. `order CASE [single]` runs one case, with a worker
 * for several threads or for a single one; exit 0: it holds. The environment (policy, window
 * of two chunks of 128 bytes) comes from the caller.
 */
#include "order.h"

#include "host/port.h"

#include <string.h>

#include "allocations.h"

ucp_context_h context;
ucp_worker_params_t worker_params = {
    .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
    .thread_mode = UCS_THREAD_MODE_MULTI,
};
ucp_worker_h worker;
ucp_ep_h ep;
char memory[1 << 16];

void log_is(const char *expected, const char *file, int line)
{
    const char *found = fake_log();

    if (strcmp(found, expected) != 0) {
        fprintf(stderr, "%s:%d:\n  expected %s\n  found    %s\n", file, line, expected, found);
        exit(1);
    }
}

const char *port_own(void)
{
    static char name[MFS_PORT_NAME_MAX + 1];

    mfs_port_own(name);
    return name;
}

void tag(const char *request, unsigned layer)
{
    const struct mfs_tag value = {request ? mfs_request_key(request) : MFS_REQUEST_NONE, layer,
                                  request ? MFS_STAGE_P2D : MFS_STAGE_NONE};

    mfs_tag_set(&value);
}

void deadline(const char *request, int64_t after_ns)
{
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.deadline_ns = mfs_now_ns() + after_ns;
    CHECK(mfs_request_put(mfs_host_get(), mfs_request_key(request), request, &facts) == 0);
}

ucs_status_ptr_t put(uint64_t at, size_t bytes)
{
    /* garbage in what the mask does not name must not matter */
    ucp_request_param_t param;

    memset(&param, 0xa5, sizeof(param));
    param.op_attr_mask = 0;
    return ucp_put_nbx(ep, memory + at, bytes, at, NULL, &param);
}

ucs_status_ptr_t get(uint64_t at, size_t bytes)
{
    const ucp_request_param_t param = {0};

    return ucp_get_nbx(ep, memory + at, bytes, at, NULL, &param);
}

void called(void *request, ucs_status_t status, void *user_data)
{
    struct outcome *outcome = user_data;

    outcome->calls++;
    outcome->status = status;
    outcome->request = request;
}

ucp_request_param_t with_callback(struct outcome *outcome)
{
    return (ucp_request_param_t){
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = called,
        .user_data = outcome,
    };
}

ucs_status_ptr_t put_cb(uint64_t at, size_t bytes, struct outcome *outcome)
{
    const ucp_request_param_t param = with_callback(outcome);

    return ucp_put_nbx(ep, memory + at, bytes, at, NULL, &param);
}

ucs_status_ptr_t flush(void)
{
    const ucp_request_param_t param = {0};

    return ucp_ep_flush_nbx(ep, &param);
}

ucs_status_ptr_t close_ep(bool force)
{
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
        .flags = force ? UCP_EP_CLOSE_FLAG_FORCE : 0,
    };

    return ucp_ep_close_nbx(ep, &param);
}

ucs_status_t status(ucs_status_ptr_t request)
{
    return UCS_PTR_IS_PTR(request) ? ucp_request_check_status(request) : UCS_PTR_STATUS(request);
}

void progress(void)
{
    while (ucp_worker_progress(worker))
        ;
}

void finish_all(void)
{
    while (fake_open() > 0) {
        fake_complete(0, UCS_OK);
        progress();
    }
    progress();
}

static const struct order_case *const lists[] = {
    order_queue_cases,   order_flush_cases,  order_request_cases,
    order_express_cases, order_close_cases,  order_forms_cases,
    order_abort_cases,   order_faults_cases, order_port_cases,
};

int main(int argc, char **argv)
{
    const ucp_params_t params = {0};
    const ucp_ep_params_t ep_params = {0};

    if (getenv("ALLOCATIONS_FAIL"))
        allocations_fail_at = strtoul(getenv("ALLOCATIONS_FAIL"), NULL, 10);
    if (argc > 2 && strcmp(argv[2], "single") == 0)
        worker_params.thread_mode = UCS_THREAD_MODE_SINGLE;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        for (const struct order_case *at = lists[i]; at->name; at++) {
            if (argc < 2) {
                puts(at->name);
                continue;
            }
            if (strcmp(at->name, argv[1]) != 0)
                continue;
            CHECK(ucp_init_version(1, 0, &params, NULL, &context) == UCS_OK);
            CHECK(ucp_worker_create(context, &worker_params, &worker) == UCS_OK);
            CHECK(ucp_ep_create(worker, &ep_params, &ep) == UCS_OK);
            at->run();
            if (worker)
                ucp_worker_destroy(worker);
            ucp_cleanup(context);
            return 0;
        }
    }
    if (argc >= 2)
        fprintf(stderr, "no case %s\n", argv[1]);
    return argc >= 2;
}
