/* SPDX-License-Identifier: Apache-2.0 */
/* Flushes and fences: what they wait for. */
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "allocations.h"
#include "order.h"

static void flush_waits(void)
{
    ucs_status_ptr_t first = put(0, 384), flushed, second, nothing;

    ucp_request_free(first); /* as NIXL does: it goes on, and still holds back the flush */
    flushed = flush();
    second = put(1000, 256);
    LOG_IS("put 1 0 +128, put 1 128 +128");
    CHECK(status(flushed) == UCS_INPROGRESS);
    fake_complete(0, UCS_OK);
    progress();
    LOG_IS("put 1 256 +128, flush 1"); /* the later put is not waited for */
    CHECK(status(flushed) == UCS_INPROGRESS);
    fake_complete(2, UCS_OK); /* the flush itself */
    CHECK(status(flushed) == UCS_OK && status(second) == UCS_INPROGRESS);
    ucp_request_free(flushed);
    finish_all();
    CHECK(status(second) == UCS_OK);
    LOG_IS("put 1 1000 +128, put 1 1128 +128");
    ucp_request_free(second);
    nothing = flush(); /* nothing is queued: UCX's own */
    LOG_IS("flush 1");
    fake_complete(0, UCS_OK);
    CHECK(status(nothing) == UCS_OK);
}

/* Under a tag it asks for that transfer alone; without one, and of a worker, for all. */
static void flush_of_tag(void)
{
    const ucp_request_param_t param = {0};
    ucs_status_ptr_t one, other, every, all;

    deadline("late", INT64_C(60000000000));
    deadline("soon", INT64_C(30000000000));
    tag("late", 1);
    put(0, 512);
    one = flush();
    tag("soon", 1);
    put(2000, 128);
    put(3000, 128);
    other = flush();
    tag(NULL, 0);
    every = flush();
    all = ucp_worker_flush_nbx(worker, &param);
    LOG_IS("put 1 0 +128, put 1 128 +128");
    fake_complete(0, UCS_OK);
    progress();
    fake_complete(0, UCS_OK);
    progress();
    LOG_IS("put 1 2000 +128, put 1 3000 +128, flush 1"); /* the one of "soon" */
    fake_complete(2, UCS_OK);
    CHECK(status(other) == UCS_OK && status(one) == UCS_INPROGRESS);
    CHECK(status(every) == UCS_INPROGRESS && status(all) == UCS_INPROGRESS);
    tag("soon", 1);
    (void)flush(); /* nothing of it waits: UCX's own */
    LOG_IS("flush 1");
    finish_all();
    LOG_IS("put 1 256 +128, put 1 384 +128, flush 1, flush, flush 1");
    CHECK(status(one) == UCS_OK && status(every) == UCS_OK && status(all) == UCS_OK);
}

/* Transfers under tags of their own, four at a time, each with its flush. */
static void transfers(unsigned first, unsigned count)
{
    ucs_status_ptr_t flushes[4];

    for (unsigned i = first; i < first + count; i++) {
        tag("many", i);
        ucp_request_free(put(0, 384));
        flushes[i % 4] = flush();
        if (i % 4 < 3)
            continue;
        finish_all();
        for (int j = 0; j < 4; j++) {
            CHECK(status(flushes[j]) == UCS_OK);
            ucp_request_free(flushes[j]);
        }
    }
}

static void tags_allocate_nothing(void)
{
    unsigned long before;

    transfers(0, 8);
    before = allocations;
    CHECK(before > 0 || !allocations_are_seen);
    transfers(8, 400);
    CHECK(allocations == before);
    tag(NULL, 0);
    (void)fake_log();
}

static void flush_of_worker(void)
{
    const ucp_request_param_t param = {0};
    ucs_status_ptr_t all, one;

    put(0, 512);
    one = flush();
    all = ucp_worker_flush_nbx(worker, &param);
    LOG_IS("put 1 0 +128, put 1 128 +128");
    while (fake_open() > 0 && status(all) == UCS_INPROGRESS) {
        fake_complete(0, UCS_OK);
        progress();
    }
    CHECK(status(one) == UCS_OK && status(all) == UCS_OK);
    LOG_IS("put 1 256 +128, put 1 384 +128, flush 1, flush");
}

static void flush_blocking(void)
{
    fake_mode = FAKE_PROGRESS;
    put(0, 512);
    CHECK(ucp_ep_flush(ep) == UCS_OK);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +128, put 1 384 +128, flush 1");
    put(0, 256);
    put(1000, 128);
    CHECK(ucp_worker_flush(worker) == UCS_OK);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 1000 +128, flush");
}

static void fence_keeps_order(void)
{
    put(0, 512);
    put(1000, 512);
    CHECK(ucp_worker_fence(worker) == UCS_OK);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +256, put 1 1000 +512, fence");
    finish_all();
}

static void *fence_in_thread(void *unused)
{
    CHECK(ucp_worker_fence(worker) == UCS_OK);
    return unused;
}

static pthread_t fencing;

/* Another thread's fence, longer before our post than anybody would wait for luck. */
static void fence_from_other_thread(ucp_ep_h posting)
{
    const struct timespec delay = {.tv_nsec = 100000000};

    CHECK(posting == ep);
    fake_in_put = NULL;
    CHECK(pthread_create(&fencing, NULL, fence_in_thread, NULL) == 0);
    nanosleep(&delay, NULL);
}

/* A chunk that one thread is just posting comes before the fence of another. */
static void fence_waits_for_post(void)
{
    put(0, 384);
    fake_complete(0, UCS_OK);
    fake_in_put = fence_from_other_thread;
    progress();
    CHECK(pthread_join(fencing, NULL) == 0);
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +128, fence");
    for (int i = 0; i < 3; i++) /* both sides, and nothing is left over */
        CHECK(ucp_worker_fence(worker) == UCS_OK);
    CHECK(mfs_count_process(mfs_host_get(), MFS_COUNT_FAULTS) == 0);
    LOG_IS("fence, fence, fence");
    finish_all();
}

static sem_t is_posting, may_post;

static void wait_in_put(ucp_ep_h posting)
{
    CHECK(posting == ep);
    CHECK(sem_post(&is_posting) == 0 && sem_wait(&may_post) == 0);
}

static void *progress_in_thread(void *unused)
{
    (void)ucp_worker_progress(worker);
    return unused;
}

static void fence_in_callback(void *request, ucs_status_t result, void *user_data)
{
    (void)request, (void)result;
    CHECK(ucp_worker_fence(worker) == UCS_OK);
    *(bool *)user_data = true;
}

/* The posting thread may wait for a lock that UCX holds around the callback: no deadlock. */
static void fence_gives_up(void)
{
    bool fenced = false;
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = fence_in_callback,
        .user_data = &fenced,
    };
    pthread_t thread;

    CHECK(sem_init(&is_posting, 0, 0) == 0 && sem_init(&may_post, 0, 0) == 0);
    put(0, 384);
    ucp_tag_send_nbx(ep, memory, 1, 1, &param);
    fake_complete(0, UCS_OK);
    fake_in_put = wait_in_put;
    CHECK(pthread_create(&thread, NULL, progress_in_thread, NULL) == 0);
    CHECK(sem_wait(&is_posting) == 0);
    fake_in_put = NULL;
    fake_mode = FAKE_PROGRESS;
    while (!fenced)
        (void)ucp_worker_progress(worker);
    CHECK(mfs_count_process(mfs_host_get(), MFS_COUNT_FAULTS) == 1);
    CHECK(sem_post(&may_post) == 0 && pthread_join(thread, NULL) == 0);
    LOG_IS("put 1 0 +128, put 1 128 +128, tag 1 1 +1, fence, put 1 256 +128");
    finish_all();
}

const struct order_case order_flush_cases[] = {
    CASE(flush_waits),          CASE(flush_of_tag),   CASE(tags_allocate_nothing),
    CASE(flush_of_worker),      CASE(flush_blocking), CASE(fence_keeps_order),
    CASE(fence_waits_for_post), CASE(fence_gives_up), {NULL, NULL},
};
