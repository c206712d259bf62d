/* SPDX-License-Identifier: Apache-2.0 */
/* The other forms of the calls, and what a context asks of its requests. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "order.h"

static void implicit_forms(void)
{
    fake_mode = FAKE_PROGRESS;
    CHECK(ucp_put_nbi(ep, memory, 384, 0, NULL) == UCS_INPROGRESS);
    CHECK(ucp_get_nbi(ep, memory, 384, 1000, NULL) == UCS_INPROGRESS);
    CHECK(ucp_put(ep, memory, 256, 2000, NULL) == UCS_OK);
    CHECK(ucp_get(ep, memory, 256, 3000, NULL) == UCS_OK);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +128, get 1 1000 +128, get 1 1128 +128, "
           "get 1 1256 +128, put 1 2000 +128, put 1 2128 +128, get 1 3000 +128, get 1 3128 +128");
}

static ucs_status_ptr_t called_with;

static void old_callback(void *request, ucs_status_t result)
{
    CHECK(result == UCS_OK);
    called_with = request;
}

static void old_forms(void)
{
    ucs_status_ptr_t request = ucp_put_nb(ep, memory, 384, 0, NULL, old_callback);

    CHECK(UCS_PTR_IS_PTR(request));
    finish_all();
    CHECK(called_with == request && status(request) == UCS_OK);
    ucp_request_free(request);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +128");
}

static unsigned areas_made, areas_cleaned;

static void area_init(void *request)
{
    areas_made++;
    memset(request, 0x5a, 100);
}

static void area_cleanup(void *request)
{
    CHECK(((unsigned char *)request)[99] == 0x5a);
    areas_cleaned++;
}

/* The room that a context asks for in each request is there, made once, and cleaned up. */
static void request_area(void)
{
    const ucp_params_t params = {
        .field_mask = UCP_PARAM_FIELD_REQUEST_SIZE | UCP_PARAM_FIELD_REQUEST_INIT |
                      UCP_PARAM_FIELD_REQUEST_CLEANUP,
        .request_size = 100,
        .request_init = area_init,
        .request_cleanup = area_cleanup,
    };
    const ucp_ep_params_t ep_params = {0};
    unsigned char *one, *two;

    ucp_worker_destroy(worker);
    ucp_cleanup(context);
    CHECK(ucp_init_version(1, 0, &params, NULL, &context) == UCS_OK);
    CHECK(ucp_worker_create(context, &worker_params, &worker) == UCS_OK);
    CHECK(ucp_ep_create(worker, &ep_params, &ep) == UCS_OK);
    one = put(0, 512);
    two = put(1000, 512);
    CHECK(UCS_PTR_IS_PTR(one) && UCS_PTR_IS_PTR(two));
    CHECK(one[0] == 0x5a && one[99] == 0x5a && two[0] == 0x5a && two[99] == 0x5a);
    memset(one, 1, 99);
    memset(two, 2, 99);
    finish_all();
    CHECK(one[0] == 1 && one[98] == 1 && two[0] == 2 && two[98] == 2);
    CHECK(status(one) == UCS_OK && status(two) == UCS_OK);
    ucp_request_free(one);
    ucp_request_free(two);
    CHECK(areas_made >= 2);
    ucp_worker_destroy(worker);
    CHECK(areas_cleaned == areas_made);
    worker = NULL;
}

/* Requests are used again: as many as ever waited at one time, no more. */
static void requests_are_reused(void)
{
    ucs_status_ptr_t first = put(0, 512);

    finish_all();
    ucp_request_free(first);
    for (int i = 0; i < 100000; i++) {
        ucs_status_ptr_t request = put(0, 384);

        fake_log();
        finish_all();
        CHECK(request == first && status(request) == UCS_OK);
        ucp_request_free(request);
    }
}

/* More tags at one time than there are flows: those beyond share one with their request. */
static void many_flows(void)
{
    enum { MANY = 6000 };
    ucs_status_ptr_t requests[MANY];

    deadline("r", INT64_C(30000000000));
    tag("r", 0);
    put(0, 512);
    for (unsigned i = 0; i < MANY; i++) {
        tag("r", i);
        requests[i] = put(i, 128);
        CHECK(UCS_PTR_IS_PTR(requests[i]));
    }
    LOG_IS("put 1 0 +128, put 1 128 +128"); /* nothing was pushed out */
    CHECK(mfs_count_process(mfs_host_get(), MFS_COUNT_FAULTS) == 0);
    fake_mode = FAKE_AT_ONCE;
    fake_complete_all();
    while (status(requests[MANY - 1]) == UCS_INPROGRESS) {
        progress();
        fake_log();
    }
    for (unsigned i = 0; i < MANY; i++)
        CHECK(status(requests[i]) == UCS_OK);
}

/* A child of fork has no part in its parent's queue: its calls pass straight on. */
static void fork_passes(void)
{
    int outcome;
    pid_t child;

    put(0, 512);
    fake_log();
    child = fork();
    if (child == 0) {
        put(5000, 512);
        LOG_IS("put 1 5000 +512");
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &outcome, 0) == child);
    CHECK(WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0);
    finish_all();
    LOG_IS("put 1 256 +128, put 1 384 +128");
}

/* Copies of small ones, as many as there is room for: what finds none goes at once, in order. */
static void implicit_many(void)
{
    const unsigned count = 600; /* more than there are copies */
    const char *log;

    put(60000, 256); /* fills the window */
    (void)fake_log();
    for (unsigned i = 0; i < 512; i++)
        CHECK(ucp_put_nbi(ep, memory, 64, 64 * i, NULL) == UCS_INPROGRESS);
    LOG_IS("");
    for (unsigned i = 512; i < count; i++)
        CHECK(ucp_put_nbi(ep, memory, 64, 64 * i, NULL) == UCS_INPROGRESS);
    log = fake_log();
    for (unsigned i = 0; i < count; i++) {
        char expected[32];
        const size_t length = (size_t)snprintf(expected, sizeof(expected), "put 1 %u +64", 64 * i);

        CHECK(strncmp(log, expected, length) == 0);
        log += length + 2;
    }
    CHECK(mfs_count_process(mfs_host_get(), MFS_COUNT_FAULTS) == 0);
    finish_all();
    (void)fake_log();
}

const struct order_case order_forms_cases[] = {
    CASE(implicit_forms),      CASE(implicit_many), CASE(old_forms),   CASE(request_area),
    CASE(requests_are_reused), CASE(many_flows),    CASE(fork_passes), {NULL, NULL},
};
