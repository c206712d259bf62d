/* SPDX-License-Identifier: Apache-2.0 */
/* What is left of a transfer that its caller no longer wants: never behind what comes later. */
#include <pthread.h>
#include <semaphore.h>

#include "order.h"

/* As NIXL posts a transfer: operations whose requests it gives back, then a flush. */
static ucs_status_ptr_t transfer(const char *request, uint64_t at, unsigned count)
{
    ucs_status_ptr_t flushed;

    tag(request, 0);
    for (unsigned i = 0; i < count; i++)
        ucp_request_free(put(at + 1000 * i, 256));
    flushed = flush();
    tag(NULL, 0);
    CHECK(status(flushed) == UCS_INPROGRESS);
    return flushed;
}

/* As NIXL gives a transfer up. */
static void give_up(ucs_status_ptr_t request, bool aborts)
{
    mfs_abort_set(aborts);
    ucp_request_cancel(worker, request);
    mfs_abort_set(false);
}

static void two_deadlines(void)
{
    deadline("late", INT64_C(60000000000));
    deadline("soon", INT64_C(30000000000));
}

static void abort_takes_back(void)
{
    ucs_status_ptr_t given_up, other;

    two_deadlines();
    put(9000, 128); /* so that the transfer's first operation is half in UCX's hands */
    given_up = transfer("late", 0, 3);
    LOG_IS("put 1 9000 +128, put 1 0 +128");
    give_up(given_up, true);
    LOG_IS("flush 1"); /* the flush waits for what UCX has */
    ucp_request_free(given_up);
    other = transfer("soon", 0, 1);
    finish_all();
    LOG_IS("put 1 0 +128, put 1 128 +128, flush 1");
    CHECK(status(other) == UCS_OK);
    CHECK(status(flush()) == UCS_INPROGRESS); /* nothing was lost that nobody wanted */
    finish_all();
    LOG_IS("flush 1");
}

/* Somebody may wait for it, by another flush: it goes, in the order of posting. */
static void cancel_keeps_order(void)
{
    ucs_status_ptr_t canceled, other;

    two_deadlines();
    canceled = transfer("late", 0, 2);
    LOG_IS("put 1 0 +128, put 1 128 +128");
    give_up(canceled, false);
    LOG_IS("put 1 1000 +256, flush 1");
    ucp_request_free(canceled);
    other = transfer("soon", 0, 1);
    finish_all();
    LOG_IS("put 1 0 +128, put 1 128 +128, flush 1");
    CHECK(status(other) == UCS_OK);
}

/* An operation whose request the caller has kept, partly sent. */
static void cancel_of_the_rest(void)
{
    ucs_status_ptr_t one = put(0, 512), other;

    LOG_IS("put 1 0 +128, put 1 128 +128");
    give_up(one, false);
    LOG_IS("put 1 256 +256"); /* as UCX: it goes on, before what comes later */
    finish_all();
    CHECK(status(one) == UCS_OK);
    other = put(1000, 512);
    give_up(other, true);
    finish_all();
    CHECK(status(other) == UCS_ERR_CANCELED);
    LOG_IS("put 1 1000 +128, put 1 1128 +128");
    ucp_request_free(other);
    CHECK(status(flush()) == UCS_INPROGRESS);
    finish_all();
    LOG_IS("flush 1");
}

/* Two transfers of one tag, and others: each flush says which operations are its own. */
static void abort_is_of_one_transfer(void)
{
    ucs_status_ptr_t before, given_up, behind, other;

    two_deadlines();
    put(60000, 256); /* fills the window */
    before = transfer("late", 0, 1);
    given_up = transfer("late", 10000, 2);
    behind = transfer("late", 20000, 1);
    other = transfer("soon", 30000, 1);
    give_up(given_up, true);
    CHECK(status(given_up) == UCS_INPROGRESS);
    finish_all();
    LOG_IS("put 1 60000 +128, put 1 60128 +128, put 1 30000 +128, put 1 30128 +128, flush 1, "
           "put 1 0 +128, put 1 128 +128, flush 1, flush 1, " /* nothing of the one in between */
           "put 1 20000 +128, put 1 20128 +128, flush 1");
    CHECK(status(before) == UCS_OK && status(behind) == UCS_OK && status(other) == UCS_OK);
    CHECK(status(given_up) == UCS_ERR_CANCELED);
}

/* Without a tag it is what was posted without one since the flush before. */
static void abort_without_tag(void)
{
    ucs_status_ptr_t before, tagged, given_up;

    two_deadlines();
    put(60000, 256); /* fills the window */
    before = transfer(NULL, 0, 1);
    tagged = transfer("late", 10000, 1);
    given_up = transfer(NULL, 20000, 2);
    LOG_IS("put 1 60000 +128, put 1 60128 +128");
    give_up(given_up, true);
    finish_all();
    LOG_IS("put 1 10000 +128, put 1 10128 +128, flush 1, put 1 0 +128, put 1 128 +128, flush 1, "
           "flush 1");
    CHECK(status(before) == UCS_OK && status(tagged) == UCS_OK);
    CHECK(status(given_up) == UCS_ERR_CANCELED);
}

static void abort_too_late(void)
{
    ucs_status_ptr_t request = put(0, 256), flushed;

    give_up(request, true);
    flushed = flush();
    LOG_IS("put 1 0 +128, put 1 128 +128, flush 1");
    give_up(flushed, true);
    finish_all();
    CHECK(status(request) == UCS_OK);
    ucp_request_free(request);
    request = put(0, 256);
    finish_all();
    ucp_worker_destroy(worker);
    worker = NULL;
    give_up(request, true); /* and after its worker */
    give_up(request, false);
    ucp_request_free(request);
}

static sem_t is_posting;
static _Atomic bool has_posted;

static void slow_put(ucp_ep_h posting)
{
    CHECK(posting == ep);
    fake_in_put = NULL;
    CHECK(sem_post(&is_posting) == 0);
    for (int i = 0; i < 100; i++)
        sched_yield();
    has_posted = true;
}

static void *progress_in_thread(void *unused)
{
    (void)ucp_worker_progress(worker);
    return unused;
}

/* Another thread is just handing a chunk of it to UCX: that must not come behind either. */
static void abort_waits_for_post(void)
{
    ucs_status_ptr_t given_up;
    pthread_t thread;

    CHECK(sem_init(&is_posting, 0, 0) == 0);
    two_deadlines();
    given_up = transfer("late", 0, 4);
    fake_complete(0, UCS_OK);
    fake_in_put = slow_put;
    CHECK(pthread_create(&thread, NULL, progress_in_thread, NULL) == 0);
    CHECK(sem_wait(&is_posting) == 0);
    give_up(given_up, true);
    CHECK(has_posted);
    CHECK(pthread_join(thread, NULL) == 0);
    finish_all();
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 1000 +128, flush 1");
}

const struct order_case order_abort_cases[] = {
    CASE(abort_takes_back),     CASE(cancel_keeps_order),
    CASE(cancel_of_the_rest),   CASE(abort_is_of_one_transfer),
    CASE(abort_without_tag),    CASE(abort_too_late),
    CASE(abort_waits_for_post), {NULL, NULL},
};
