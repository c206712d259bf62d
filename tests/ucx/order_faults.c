/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults by table: one program that calls every function the shim stands in front of, again and
 * again, and in each run another call of UCX's, or another allocation of ours, fails.
 *
 * Whatever fails: each operation is told its end once; one that ended well was handed to UCX to the
 * byte; of one that nobody holds a request of the error is told by a flush; and the next run
 * finds everything as it should be.
 */
#include <string.h>

#include "allocations.h"
#include "order.h"

#define OPERATIONS 16u
#define APART 1000u /* remote addresses */

static struct operation {
    ucs_status_ptr_t request; /* what the post returned */
    size_t bytes;
    bool posted, detached, ended;
    unsigned calls; /* of its callback */
    ucs_status_t status;
} operations[OPERATIONS];
static unsigned old_calls, old_due;
static bool flush_told;
static ucp_context_h own_context;
static ucp_worker_h own_worker;
static ucp_ep_h eps[3];

static void flush_ended(ucs_status_t result)
{
    if (UCS_STATUS_IS_ERR(result))
        flush_told = true;
}

static void ended(void *request, ucs_status_t result, void *user_data)
{
    struct operation *operation = user_data;

    operation->calls++;
    operation->status = result;
    operation->ended = true;
    ucp_request_free(request);
}

static void ended_old(void *request, ucs_status_t result)
{
    (void)request, (void)result;
    old_calls++;
}

/* What a post returned, of an operation that tells its end by callback. */
static void posted(unsigned at, size_t bytes, ucs_status_ptr_t request)
{
    operations[at].request = request;
    operations[at].bytes = bytes;
    operations[at].posted = true;
    if (UCS_PTR_IS_PTR(request))
        return;
    operations[at].status = UCS_PTR_STATUS(request);
    operations[at].ended = true;
}

static void posted_detached(unsigned at, size_t bytes, ucs_status_ptr_t request)
{
    posted(at, bytes, request);
    operations[at].detached = UCS_PTR_IS_PTR(request);
    if (operations[at].detached)
        ucp_request_free(request);
}

static void posted_implicit(unsigned at, size_t bytes, ucs_status_t result)
{
    posted(at, bytes, UCS_STATUS_PTR(result));
    operations[at].detached = result == UCS_INPROGRESS;
}

static void forget(ucs_status_ptr_t request)
{
    if (UCS_PTR_IS_PTR(request))
        ucp_request_free(request);
}

/* Progress until it is over; no more than can be needed. */
static ucs_status_t wait_for(ucs_status_ptr_t request)
{
    ucs_status_t result = UCS_PTR_STATUS(request);

    if (!UCS_PTR_IS_PTR(request))
        return result;
    for (unsigned i = 0; (result = ucp_request_check_status(request)) == UCS_INPROGRESS; i++) {
        CHECK(i < 10000);
        (void)ucp_worker_progress(own_worker);
    }
    ucp_request_free(request);
    return result;
}

static ucp_request_param_t ends_at(unsigned at)
{
    return (ucp_request_param_t){
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = ended,
        .user_data = &operations[at],
    };
}

static void post_scheduled(void)
{
    const ucp_request_param_t none = {0};
    ucp_request_param_t param = ends_at(0);
    ucs_status_ptr_t flushed;

    tag("faults", 1);
    posted(0, 512, ucp_put_nbx(eps[0], memory, 512, 0, NULL, &param));
    param = ends_at(1);
    posted(1, 512, ucp_get_nbx(eps[0], memory, 512, APART, NULL, &param));
    posted_detached(2, 512, ucp_put_nbx(eps[0], memory, 512, 2 * APART, NULL, &none));
    flushed = ucp_ep_flush_nbx(eps[0], &none);
    tag(NULL, 0);
    posted_implicit(3, 256, ucp_put_nbi(eps[1], memory, 256, 3 * APART, NULL));
    posted_implicit(4, 256, ucp_get_nbi(eps[1], memory, 256, 4 * APART, NULL));
    posted(5, 300, ucp_put_nb(eps[1], memory, 300, 5 * APART, NULL, ended_old));
    posted(6, 300, ucp_get_nb(eps[1], memory, 300, 6 * APART, NULL, ended_old));
    old_due += UCS_PTR_IS_PTR(operations[5].request) + UCS_PTR_IS_PTR(operations[6].request);
    param = ends_at(7);
    posted(7, 512, ucp_put_nbx(eps[2], memory, 512, 7 * APART, NULL, &param));
    if (UCS_PTR_IS_PTR(operations[7].request)) {
        ucp_request_attr_t attributes = {.field_mask = UCP_REQUEST_ATTR_FIELD_STATUS};

        CHECK(ucp_request_query(operations[7].request, &attributes) == UCS_OK);
        (void)ucp_request_is_completed(operations[7].request);
        (void)ucp_request_test(operations[7].request, NULL);
        ucp_request_cancel(own_worker, operations[7].request);
    }
    flush_ended(wait_for(flushed));
    for (unsigned at = 5; at < 7; at++) {
        operations[at].status = wait_for(operations[at].request);
        operations[at].ended = true;
    }
}

static void post_passing(void)
{
    const ucp_datatype_t bytes = ucp_dt_make_contig(1);
    const ucp_request_param_t none = {0};

    forget(ucp_tag_send_nbx(eps[0], memory, 8, 1, &none));
    forget(ucp_tag_send_sync_nbx(eps[0], memory, 8, 1, &none));
    forget(ucp_tag_send_nb(eps[0], memory, 8, bytes, 1, ended_old));
    forget(ucp_tag_send_sync_nb(eps[0], memory, 8, bytes, 1, ended_old));
    (void)ucp_tag_send_nbr(eps[0], memory, 8, bytes, 1, NULL);
    forget(ucp_am_send_nbx(eps[0], 1, NULL, 0, memory, 8, &none));
    forget(ucp_am_send_nb(eps[0], 1, memory, 8, bytes, ended_old, 0));
    forget(ucp_stream_send_nbx(eps[0], memory, 8, &none));
    forget(ucp_stream_send_nb(eps[0], memory, 8, bytes, ended_old, 0));
    (void)ucp_device_local_mem_list_create(NULL, NULL);
    (void)ucp_device_remote_mem_list_create(NULL, NULL);
}

static void post_and_wait(void)
{
    const ucp_request_param_t none = {0};
    ucs_status_ptr_t released;

    flush_ended(wait_for(ucp_ep_flush_nb(eps[0], 0, ended_old)));
    flush_ended(wait_for(ucp_worker_flush_nb(own_worker, 0, ended_old)));
    posted(8, 256, UCS_STATUS_PTR(ucp_put(eps[0], memory, 256, 8 * APART, NULL)));
    posted(9, 256, UCS_STATUS_PTR(ucp_get(eps[0], memory, 256, 9 * APART, NULL)));
    posted_detached(10, 512, ucp_put_nbx(eps[1], memory, 512, 10 * APART, NULL, &none));
    (void)ucp_worker_fence(own_worker);
    posted_detached(11, 512, ucp_put_nbx(eps[1], memory, 512, 11 * APART, NULL, &none));
    flush_ended(ucp_ep_flush(eps[1]));
    flush_ended(ucp_worker_flush(own_worker));
    released = ucp_worker_flush_nbx(own_worker, &none);
    if (UCS_PTR_IS_PTR(released)) {
        while (!ucp_request_is_completed(released))
            (void)ucp_worker_progress(own_worker);
        ucp_request_release(released);
    }
    (void)ucp_worker_arm(own_worker);
    (void)ucp_worker_wait(own_worker);
    ucp_worker_wait_mem(own_worker, memory);
}

static void close_all(unsigned form)
{
    const ucp_request_param_t none = {0};
    ucs_status_ptr_t closed = UCS_STATUS_PTR(UCS_OK);

    for (unsigned i = 0; i < 3; i++)
        flush_ended(wait_for(ucp_ep_flush_nbx(eps[i], &none)));
    posted_detached(12, 512, ucp_put_nbx(eps[0], memory, 512, 12 * APART, NULL, &none));
    if (form % 4 == 0)
        closed = ucp_ep_close_nbx(eps[0], &none);
    else if (form % 4 == 1)
        closed = ucp_ep_close_nb(eps[0], UCP_EP_CLOSE_MODE_FLUSH);
    else if (form % 4 == 2)
        closed = ucp_disconnect_nb(eps[0]);
    else
        ucp_ep_destroy(eps[0]);
    (void)wait_for(closed);
    operations[12].detached = false; /* nobody asked for its end */
    flush_ended(wait_for(ucp_worker_flush_nbx(own_worker, &none)));
}

/* Bytes of each operation that UCX was given. */
static void log_counted(size_t *sent)
{
    for (const char *at = fake_log(); *at; at += strcspn(at, ",") + (strchr(at, ',') ? 2 : 0)) {
        unsigned number, bytes;
        unsigned long address;
        char name[8];

        if (sscanf(at, "%7s %u %lu +%u", name, &number, &address, &bytes) == 4 &&
            (strcmp(name, "put") == 0 || strcmp(name, "get") == 0)) {
            CHECK(address / APART < OPERATIONS);
            sent[address / APART] += bytes;
        }
    }
}

static void judge(void)
{
    size_t sent[OPERATIONS] = {0};

    log_counted(sent);
    for (unsigned i = 0; i < OPERATIONS; i++) {
        const struct operation *operation = &operations[i];
        const bool by_callback = operation->posted && (i <= 1 || i == 7);

        CHECK(sent[i] <= operation->bytes);
        if (operation->detached)
            CHECK(sent[i] == operation->bytes || flush_told);
        else if (operation->posted && operation->ended && operation->status == UCS_OK)
            CHECK(sent[i] == operation->bytes);
        if (by_callback)
            CHECK(operation->ended &&
                  operation->calls == (unsigned)UCS_PTR_IS_PTR(operation->request));
    }
    CHECK(old_calls >= old_due);
}

/* Everything once; false: it could not even begin. */
static bool workload(unsigned form)
{
    const ucp_params_t params = {0};
    const ucp_ep_params_t ep_params = {0};
    unsigned made = 0;
    bool begun;

    memset(operations, 0, sizeof(operations));
    old_calls = old_due = 0;
    flush_told = false;
    (void)fake_log();
    if (ucp_init_version(1, 0, &params, NULL, &own_context) != UCS_OK)
        return false;
    begun = ucp_worker_create(own_context, &worker_params, &own_worker) == UCS_OK;
    while (begun && made < 3 && ucp_ep_create(own_worker, &ep_params, &eps[made]) == UCS_OK)
        made++;
    if (made == 3) {
        post_scheduled();
        post_passing();
        post_and_wait();
        for (unsigned i = 0; i < 200; i++)
            (void)ucp_worker_progress(own_worker);
        close_all(form);
    }
    if (begun)
        ucp_worker_destroy(own_worker);
    ucp_cleanup(own_context);
    judge();
    return made == 3;
}

static void works_again(unsigned form)
{
    memset(fake_fails, 0, sizeof(fake_fails));
    allocations_fail_at = 0;
    CHECK(workload(form));
    CHECK(!flush_told);
    for (unsigned i = 0; i < OPERATIONS; i++)
        CHECK(operations[i].status == UCS_OK || operations[i].detached || i == 7 || i == 12);
}

static void faults_of_ucx(void)
{
    static const unsigned calls[FAKE_CALLS] = {
        /* of a kind in one run, and some more */
        [FAKE_INIT] = 2,   [FAKE_WORKER] = 2, [FAKE_EP] = 4,    [FAKE_POST] = 48, [FAKE_SEND] = 10,
        [FAKE_FLUSH] = 16, [FAKE_FENCE] = 2,  [FAKE_CLOSE] = 4, [FAKE_ARM] = 4,   [FAKE_END] = 64};
    static const ucs_status_t errors[] = {UCS_ERR_NO_MEMORY, UCS_ERR_CONNECTION_RESET};

    fake_mode = FAKE_PROGRESS;
    works_again(0);
    for (unsigned call = 0; call < FAKE_CALLS; call++) {
        for (unsigned n = 0; n < calls[call]; n++) {
            fake_fails_with = errors[n % 2];
            fake_fails[call] = UINT64_C(1) << n;
            (void)workload(n / 2);
            works_again(n);
        }
        fake_fails[call] = UINT64_MAX; /* all of them */
        (void)workload(call);
        works_again(call);
    }
}

static void faults_of_memory(void)
{
    fake_mode = FAKE_PROGRESS;
    works_again(0);
    for (unsigned n = 1; n < 100; n++) {
        allocations_fail_at = allocations + n;
        (void)workload(n);
        if (allocations < allocations_fail_at)
            break; /* it needs no more of them */
        works_again(n);
    }
    CHECK(!allocations_are_seen || allocations < allocations_fail_at);
    works_again(0);
}

/* ALLOCATIONS_FAIL: one of those before the first call of UCX returned. */
static void faults_of_set_up(void)
{
    fake_mode = FAKE_PROGRESS;
    works_again(0);
}

const struct order_case order_faults_cases[] = {
    CASE(faults_of_ucx),
    CASE(faults_of_memory),
    CASE(faults_of_set_up),
    {NULL, NULL},
};
