/* SPDX-License-Identifier: Apache-2.0 */
/* Closing endpoints, and the end of a worker. */
#include <pthread.h>

#include "order.h"

static void close_drains(void)
{
    struct outcome outcome = {0};
    ucs_status_ptr_t flushed;

    put_cb(0, 512, &outcome);
    flushed = flush();
    CHECK(close_ep(false) == NULL);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +256, flush 1, close 1");
    finish_all();
    CHECK(outcome.calls == 1 && outcome.status == UCS_OK && status(flushed) == UCS_OK);
    ucp_request_free(flushed);
}

static void close_forced(void)
{
    struct outcome sent = {0}, queued = {0};

    put_cb(0, 256, &sent);
    put_cb(1000, 256, &queued);
    CHECK(close_ep(true) == NULL);
    LOG_IS("put 1 0 +128, put 1 128 +128, close! 1");
    progress();
    CHECK(queued.calls == 1 && queued.status == UCS_ERR_CANCELED && sent.calls == 0);
    finish_all();
    CHECK(sent.calls == 1 && queued.calls == 1);
}

static void close_old_forms(void)
{
    put(0, 512);
    CHECK(ucp_disconnect_nb(ep) == NULL);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +256, close 1");
    finish_all();
}

/* The address of a closed endpoint comes back at once: nothing is inherited. */
static void close_reuses_address(void)
{
    const ucp_ep_params_t params = {0};
    const ucp_ep_h old = ep;
    ucs_status_ptr_t flushed;

    put(0, 256);
    ucp_request_free(put(1000, 128));
    CHECK(close_ep(true) == NULL);
    CHECK(ucp_ep_create(worker, &params, &ep) == UCS_OK && ep == old);
    put(3000, 384);
    flushed = flush();
    finish_all();
    LOG_IS("put 1 0 +128, put 1 128 +128, close! 1, put 2 3000 +128, put 2 3128 +128, "
           "put 2 3256 +128, flush 2");
    CHECK(status(flushed) == UCS_OK);
}

static ucs_status_ptr_t close_result;

static void *close_in_thread(void *unused)
{
    close_result = close_ep(true);
    return unused;
}

static void close_from_other_thread(ucp_ep_h posting)
{
    pthread_t thread;

    CHECK(posting == ep);
    fake_in_put = NULL;
    CHECK(pthread_create(&thread, NULL, close_in_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* While one thread is inside a put of the endpoint, another closes it: UCX must not
 * close under the put, and the closing thread must not wait (it may hold UCX's lock). */
static void close_while_posting(void)
{
    fake_in_put = close_from_other_thread;
    put(0, 256);
    LOG_IS("put 1 0 +128, close! 1");
    CHECK(UCS_PTR_IS_PTR(close_result) && status(close_result) == UCS_OK);
    ucp_request_free(close_result);
    fake_complete_all();
}

static void destroy_leaves_nothing(void)
{
    struct outcome sent = {0}, queued = {0}, flushed = {0};
    const ucp_request_param_t param = with_callback(&flushed);
    ucs_status_ptr_t request, other;

    put_cb(0, 256, &sent);
    request = put_cb(1000, 256, &queued);
    other = ucp_ep_flush_nbx(ep, &param);
    ucp_worker_destroy(worker);
    LOG_IS("put 1 0 +128, put 1 128 +128, destroy"); /* and no flush of what is going away */
    CHECK(sent.calls == 1 && queued.calls == 1 && flushed.calls == 1);
    CHECK(queued.status == UCS_ERR_CANCELED && flushed.status == UCS_ERR_CANCELED);
    ucp_request_free(request); /* late: must do no harm */
    ucp_request_free(other);
    worker = NULL;
}

const struct order_case order_close_cases[] = {
    CASE(close_drains),
    CASE(close_forced),
    CASE(close_old_forms),
    CASE(close_reuses_address),
    CASE(close_while_posting),
    CASE(destroy_leaves_nothing),
    {NULL, NULL},
};
