/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shim before a UCX that does nothing (fake_ucp.c): what is handed on, in which
 * order, and what the caller is told. `order CASE [single]` runs one case, with a worker
 * for several threads or for a single one; exit 0: it holds. The environment (policy, window of two
 * chunks of 128 bytes) comes from the caller.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake_ucp.h"
#include "host/config.h"
#include "host/host.h"
#include "host/port.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static ucp_context_h context;
static ucp_worker_params_t worker_params = {
    .field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
    .thread_mode = UCS_THREAD_MODE_MULTI,
};
static ucp_worker_h worker;
static ucp_ep_h ep;
static char memory[1 << 16];

static void log_is(const char *expected, int line)
{
    const char *found = fake_log();

    if (strcmp(found, expected) != 0) {
        fprintf(stderr, "line %d:\n  expected %s\n  found    %s\n", line, expected, found);
        exit(1);
    }
}
#define LOG_IS(expected) log_is(expected, __LINE__)

static void tag(const char *request, unsigned layer)
{
    const struct mfs_tag value = {request ? mfs_request_key(request) : MFS_REQUEST_NONE, layer,
                                  request ? MFS_STAGE_P2D : MFS_STAGE_NONE};

    mfs_tag_set(&value);
}

static void deadline(const char *request, int64_t after_ns)
{
    struct mfs_facts facts;

    mfs_facts_init(&facts);
    facts.deadline_ns = mfs_now_ns() + after_ns;
    CHECK(mfs_request_put(mfs_host_get(), mfs_request_key(request), request, &facts) == 0);
}

static ucs_status_ptr_t put(uint64_t at, size_t bytes)
{
    /* garbage in what the mask does not name must not matter */
    ucp_request_param_t param;

    memset(&param, 0xa5, sizeof(param));
    param.op_attr_mask = 0;
    return ucp_put_nbx(ep, memory + at, bytes, at, NULL, &param);
}

static ucs_status_ptr_t get(uint64_t at, size_t bytes)
{
    const ucp_request_param_t param = {0};

    return ucp_get_nbx(ep, memory + at, bytes, at, NULL, &param);
}

struct outcome {
    unsigned calls;
    ucs_status_t status;
    void *request;
};

static void called(void *request, ucs_status_t status, void *user_data)
{
    struct outcome *outcome = user_data;

    outcome->calls++;
    outcome->status = status;
    outcome->request = request;
}

static ucp_request_param_t with_callback(struct outcome *outcome)
{
    return (ucp_request_param_t){
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = called,
        .user_data = outcome,
    };
}

static ucs_status_ptr_t put_cb(uint64_t at, size_t bytes, struct outcome *outcome)
{
    const ucp_request_param_t param = with_callback(outcome);

    return ucp_put_nbx(ep, memory + at, bytes, at, NULL, &param);
}

static ucs_status_ptr_t flush(void)
{
    const ucp_request_param_t param = {0};

    return ucp_ep_flush_nbx(ep, &param);
}

static ucs_status_ptr_t close_ep(bool force)
{
    const ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
        .flags = force ? UCP_EP_CLOSE_FLAG_FORCE : 0,
    };

    return ucp_ep_close_nbx(ep, &param);
}

static ucs_status_t status(ucs_status_ptr_t request)
{
    return UCS_PTR_IS_PTR(request) ? ucp_request_check_status(request) : UCS_PTR_STATUS(request);
}

static void progress(void)
{
    while (ucp_worker_progress(worker))
        ;
}

/* Complete and progress, oldest first, until nothing is open. */
static void finish_all(void)
{
    while (fake_open() > 0) {
        fake_complete(0, UCS_OK);
        progress();
    }
    progress();
}

/* --- order --- */

/* Three requests, posted in the order late, none, soon; puts longer than the window. */
static void post_three(void)
{
    deadline("late", INT64_C(60000000000));
    deadline("soon", INT64_C(30000000000));
    tag("late", 1);
    put(0, 512);
    tag(NULL, 0);
    put(1000, 200);
    tag("soon", 1);
    put(2000, 256);
    tag(NULL, 0);
    flush();
    finish_all();
}

static void order_off(void)
{
    post_three();
    get(0, 64);
    put(3000, 1 << 15);
    put(0, 0);
    LOG_IS("put 1 0 +512, put 1 1000 +200, put 1 2000 +256, flush 1, get 1 0 +64, "
           "put 1 3000 +32768, put 1 0 +0");
}

static void order_fifo(void)
{
    post_three();
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +128, put 1 384 +128, put 1 1000 +128, "
           "put 1 1128 +72, put 1 2000 +128, put 1 2128 +128, flush 1");
}

/* The two chunks that the window took at the post are gone; then by deadline. */
static void order_deadline(void)
{
    post_three();
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 2000 +128, put 1 2128 +128, put 1 256 +128, "
           "put 1 384 +128, put 1 1000 +128, put 1 1128 +72, flush 1");
}

/* A change of policy while operations wait: from then on as they are posted. */
static void order_switched_off(void)
{
    tag("a", 1);
    put(0, 512);
    tag("b", 1);
    put(1000, 128);
    CHECK(mfs_host_set_policy(mfs_host_get(), "off") == 0);
    put(2000, 512);
    finish_all();
    LOG_IS("put 1 0 +128, put 1 128 +128, put 1 256 +256, put 1 1000 +128, put 1 2000 +512");
}

/* Another queue of the host always has a better rank; what it sends earns this one its share,
 * which is half. Its tagged traffic waits. */
static void order_untagged_share(void)
{
    struct mfs_member *other;
    struct mfs_port *port;

    CHECK(mfs_port_open(mfs_host_get(), mfs_config_get()->port, MFS_EGRESS, &port) == 0);
    CHECK(mfs_port_join(mfs_host_get(), port, &other) == 0);
    mfs_member_publish(other, 0, mfs_now_ns());
    deadline("late", INT64_C(60000000000));
    tag("late", 1);
    put(0, 128);
    tag(NULL, 0);
    put(1000, 256);
    progress();
    LOG_IS("");
    for (unsigned i = 0; i < 4; i++) {
        const int64_t now_ns = mfs_now_ns();

        CHECK(mfs_member_acquire(other, 0, 64, now_ns) == 0);
        mfs_member_done(other, 64, now_ns);
        CHECK(mfs_member_acquire(other, 0, 64, now_ns) == 0);
        mfs_member_done(other, 64, now_ns);
        if (i < 2) /* it yields: there is enough for a chunk */
            CHECK(mfs_member_acquire(other, 0, 64, now_ns) == -EBUSY);
        finish_all();
        LOG_IS(i == 0 ? "put 1 1000 +128" : i == 1 ? "put 1 1128 +128" : "");
    }
    mfs_port_leave(other);
    progress();
    LOG_IS("put 1 0 +128");
    finish_all();
    mfs_port_close(port);
}

/* Lanes are of their own: a tagged get does not wait for the window of puts, nor one of
 * another endpoint. */
static void order_lanes(void)
{
    const ucp_ep_params_t params = {0};
    ucp_ep_h first = ep;

    put(0, 512);
    tag("a", 1);
    get(4000, 128);
    tag(NULL, 0);
    CHECK(ucp_ep_create(worker, &params, &ep) == UCS_OK);
    get(5000, 128);
    ep = first;
    LOG_IS("put 1 0 +128, put 1 128 +128, get 1 4000 +128, get 2 5000 +128");
    finish_all();
}

/* Who does not tag has one order: a put stays behind the gets of its endpoint, and they behind
 * it. When nothing of the kind waits any more, each goes its own way again. */
static void order_untagged_lanes(void)
{
    get(0, 512);
    put(4000, 128);
    get(5000, 128);
    put(6000, 0);
    LOG_IS("get 1 0 +128, get 1 128 +128, put 1 6000 +0");
    finish_all();
    LOG_IS("get 1 256 +128, get 1 384 +128, put 1 4000 +128, get 1 5000 +128");
    put(0, 512);
    tag("a", 1);
    get(4000, 128);
    LOG_IS("put 1 0 +128, put 1 128 +128, get 1 4000 +128");
    finish_all();
}

/* What cannot be deferred passes untouched, at once. */
static void pass_through(void)
{
    const ucp_request_param_t iov = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                     .datatype = ucp_dt_make_iov()};
    const ucp_request_param_t now = {.op_attr_mask = UCP_OP_ATTR_FLAG_FORCE_IMM_CMPL};
    const ucp_request_param_t elements = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                          .datatype = ucp_dt_make_contig(64)};

    put(0, 512);
    LOG_IS("put 1 0 +128, put 1 128 +128");
    CHECK(!mfs_request_count(mfs_host_get()));
    ucp_put_nbx(ep, memory, 3, 5000, NULL, &iov);
    ucp_put_nbx(ep, memory, 300, 6000, NULL, &now);
    put(7000, 0);
    LOG_IS("put 1 5000 +3, put 1 6000 +300, put 1 7000 +0");
    ucp_put_nbx(ep, memory, 3, 8000, NULL, &elements); /* 3 x 64 bytes: contiguous */
    LOG_IS("");
    finish_all();
    LOG_IS("put 1 256 +128, put 1 384 +128, put 1 8000 +128, put 1 8128 +64");
}

/* Sends go by what waits, at once and as they are; each is counted once. */
static void sends_pass(void)
{
    static const ucp_dt_iov_t parts[] = {{memory, 100}, {memory, 28}};
    const ucp_request_param_t bytes = {0};
    const ucp_request_param_t words = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                       .datatype = ucp_dt_make_contig(4)};
    const ucp_request_param_t iov = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                     .datatype = ucp_dt_make_iov()};
    struct mfs_host *host = mfs_host_get();

    put(0, 512);
    LOG_IS("put 1 0 +128, put 1 128 +128");
    ucp_tag_send_nbx(ep, memory, 1000, 1, &bytes);
    ucp_tag_send_sync_nbx(ep, memory, 5, 2, &words);
    ucp_am_send_nbx(ep, 3, memory, 16, parts, 2, &iov);
    ucp_stream_send_nbx(ep, memory, 7, &bytes);
    LOG_IS("tag 1 1 +1000, sync 1 2 +5, am 1 3 +2, stream 1 0 +7");
    CHECK(mfs_count_process(host, MFS_COUNT_PASSED) == 4);
    CHECK(mfs_count_process(host, MFS_COUNT_PASSED_BYTES) == 1000 + 5 * 4 + 16 + 128 + 7);
    ucp_tag_send_nb(ep, memory, 2, ucp_dt_make_contig(8), 4, NULL); /* two calls inside UCX */
    ucp_tag_send_sync_nb(ep, memory, 1, ucp_dt_make_contig(8), 5, NULL);
    CHECK(ucp_tag_send_nbr(ep, memory, 1, ucp_dt_make_contig(8), 6, NULL) == UCS_OK);
    ucp_am_send_nb(ep, 7, memory, 1, ucp_dt_make_contig(8), NULL, 0);
    ucp_stream_send_nb(ep, memory, 1, ucp_dt_make_contig(8), NULL, 0);
    LOG_IS("tag 1 4 +2, sync 1 5 +1, tag 1 6 +1, am 1 7 +1, stream 1 0 +1");
    CHECK(mfs_count_process(host, MFS_COUNT_PASSED) == 9);
    CHECK(mfs_count_process(host, MFS_COUNT_PASSED_BYTES) == 1171 + 6 * 8);
    CHECK(mfs_count_process(host, MFS_COUNT_CALLS) == 1);
    finish_all();
    LOG_IS("put 1 256 +128, put 1 384 +128");
}

static void gpu_is_said(void)
{
    for (int i = 0; i < 3; i++) {
        CHECK(ucp_device_local_mem_list_create(NULL, NULL) == UCS_OK);
        CHECK(ucp_device_remote_mem_list_create(NULL, NULL) == UCS_OK);
    }
    CHECK(mfs_count_process(mfs_host_get(), MFS_COUNT_GPU_LISTS) == 6);
}

/* --- flush --- */

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

/* --- completion --- */

static void callback_once(void)
{
    struct outcome first = {0}, second = {0};
    ucs_status_ptr_t one = put_cb(0, 256, &first), two = put_cb(1000, 256, &second), three;

    CHECK(UCS_PTR_IS_PTR(one) && UCS_PTR_IS_PTR(two));
    fake_complete(0, UCS_OK);
    fake_complete(0, UCS_OK);
    CHECK(first.calls == 0 && status(one) == UCS_INPROGRESS); /* it looks done with the callback */
    three = put(2000, 128); /* sends; and must not call back */
    CHECK(first.calls == 0 && status(one) == UCS_INPROGRESS);
    CHECK(ucp_worker_arm(worker) == UCS_ERR_BUSY);
    CHECK(ucp_worker_progress(worker) > 0);
    CHECK(first.calls == 1 && first.status == UCS_OK && first.request == one);
    CHECK(status(one) == UCS_OK && second.calls == 0);
    ucp_request_free(two); /* in progress: no callback any more */
    finish_all();
    CHECK(first.calls == 1 && second.calls == 0 && status(three) == UCS_OK);
}

/* Done when the post returns: no request, no callback; NO_IMM_CMPL asks for both. */
static void completes_at_once(void)
{
    struct outcome outcome = {0};
    ucp_request_param_t param = with_callback(&outcome);
    ucs_status_ptr_t request;

    fake_mode = FAKE_AT_ONCE;
    CHECK(put_cb(0, 512, &outcome) == NULL);
    progress();
    CHECK(outcome.calls == 0);
    param.op_attr_mask |= UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
    request = ucp_put_nbx(ep, memory, 512, 0, NULL, &param);
    CHECK(UCS_PTR_IS_PTR(request) && outcome.calls == 0 && status(request) == UCS_INPROGRESS);
    CHECK(ucp_worker_progress(worker) == 1);
    CHECK(outcome.calls == 1 && outcome.request == request && status(request) == UCS_OK);
    ucp_request_free(request);
}

/* The completion comes on another thread before the post has returned. */
static void completes_early(void)
{
    struct outcome outcome = {0};

    fake_mode = FAKE_EARLY;
    CHECK(put_cb(0, 512, &outcome) == NULL);
    CHECK(put(1000, 1024) == NULL);
    progress();
    CHECK(outcome.calls == 0);
    fake_mode = FAKE_BY_HAND;
    put(0, 256);
    CHECK(UCS_PTR_IS_PTR(put_cb(1000, 512, &outcome))); /* queued: the caller holds it */
    fake_mode = FAKE_EARLY;
    finish_all();
    CHECK(outcome.calls == 1 && outcome.status == UCS_OK);
}

static ucs_status_ptr_t reposted;

static void repost(void *request, ucs_status_t result, void *user_data)
{
    unsigned *left = user_data;
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = repost,
        .user_data = left,
    };

    CHECK(result == UCS_OK);
    ucp_request_free(request); /* its own, inside its callback */
    if (--*left > 0) {
        reposted = ucp_put_nbx(ep, memory, 384, *left * 1000, NULL, &param);
        CHECK(UCS_PTR_IS_PTR(reposted));
        (void)ucp_worker_progress(worker);
    }
}

static void callback_posts(void)
{
    unsigned left = 5;
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
        .cb.send = repost,
        .user_data = &left,
    };

    CHECK(UCS_PTR_IS_PTR(ucp_put_nbx(ep, memory, 384, 0, NULL, &param)));
    finish_all();
    CHECK(left == 0);
}

static void release_waits_for_callback(void)
{
    struct outcome outcome = {0};
    ucs_status_ptr_t request = put_cb(0, 256, &outcome);

    ucp_request_release(request); /* unlike free: the callback still comes */
    finish_all();
    CHECK(outcome.calls == 1);
}

static void cancel_queued(void)
{
    struct outcome outcome = {0};
    ucs_status_ptr_t sent = put(0, 256), queued = put_cb(1000, 256, &outcome), flushed;

    ucp_request_cancel(worker, queued);
    ucp_request_cancel(worker, sent); /* too late: as in UCX, it goes on */
    progress();
    CHECK(outcome.calls == 1 && outcome.status == UCS_ERR_CANCELED);
    CHECK(status(queued) == UCS_ERR_CANCELED && status(sent) == UCS_INPROGRESS);
    ucp_request_free(queued);
    flushed = flush();
    finish_all();
    CHECK(status(sent) == UCS_OK && status(flushed) == UCS_OK);
    LOG_IS("put 1 0 +128, put 1 128 +128, flush 1");
}

static void arm_is_busy(void)
{
    put(0, 512);
    CHECK(ucp_worker_arm(worker) == UCS_OK); /* waits for our own bytes: UCX tells of those */
    fake_complete(0, UCS_OK);
    CHECK(ucp_worker_arm(worker) == UCS_ERR_BUSY); /* it sent a chunk */
    CHECK(fake_arms == 1);
    finish_all();
    CHECK(ucp_worker_arm(worker) == UCS_OK && fake_arms == 2);
}

/* Held back by the pacer, nothing in flight: no event will come. */
static void arm_is_busy_when_paced(void)
{
    fake_mode = FAKE_AT_ONCE;
    put(0, 1024);
    CHECK(ucp_worker_arm(worker) == UCS_ERR_BUSY && fake_arms == 0);
    CHECK(ucp_worker_wait(worker) == UCS_OK && fake_arms == 0);
}

/* --- errors --- */

static void error_is_told(void)
{
    struct outcome outcome = {0};
    ucs_status_ptr_t request = put_cb(0, 1024, &outcome), flushed;

    fake_complete(0, UCS_ERR_IO_ERROR);
    progress();
    CHECK(outcome.calls == 0); /* one chunk is still on its way */
    fake_complete(0, UCS_OK);
    progress();
    CHECK(outcome.calls == 1 && outcome.status == UCS_ERR_IO_ERROR);
    LOG_IS("put 1 0 +128, put 1 128 +128"); /* the rest was not sent */
    ucp_request_free(request);
    flushed = flush(); /* the caller has been told: nothing more to say */
    finish_all();
    CHECK(status(flushed) == UCS_OK);
}

/* Given back before its error: the flush tells, whether it waited or came later. */
static void error_of_detached(void)
{
    ucs_status_ptr_t flushed;

    put(0, 256);
    ucp_request_free(put(1000, 128));
    flushed = flush();
    fake_fail = UCS_ERR_NO_MEMORY;
    fake_complete(0, UCS_OK);
    progress();
    fake_fail = UCS_OK;
    finish_all();
    CHECK(status(flushed) == UCS_ERR_NO_MEMORY);
    ucp_request_free(flushed);
    CHECK(status(flush()) == UCS_ERR_NO_MEMORY);
}

static void peer_failure(void)
{
    struct outcome outcomes[3] = {{0}};
    ucs_status_ptr_t flushed;

    for (unsigned i = 0; i < 3; i++)
        CHECK(UCS_PTR_IS_PTR(put_cb(1000 * i, 512, &outcomes[i])));
    flushed = flush();
    fake_fail = UCS_ERR_CONNECTION_RESET; /* from now on each post fails */
    fake_complete(0, UCS_ERR_CONNECTION_RESET);
    fake_complete(0, UCS_ERR_CONNECTION_RESET);
    progress();
    for (unsigned i = 0; i < 3; i++)
        CHECK(outcomes[i].calls == 1 && outcomes[i].status == UCS_ERR_CONNECTION_RESET);
    CHECK(status(flushed) == UCS_INPROGRESS); /* UCX has it now */
    fake_complete(0, UCS_ERR_CONNECTION_RESET);
    CHECK(status(flushed) == UCS_ERR_CONNECTION_RESET);
}

/* --- close --- */

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

/* --- forms and contexts --- */

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

static void old_callback(void *request, ucs_status_t result)
{
    CHECK(result == UCS_OK);
    reposted = request;
}

static void old_forms(void)
{
    ucs_status_ptr_t request = ucp_put_nb(ep, memory, 384, 0, NULL, old_callback);

    CHECK(UCS_PTR_IS_PTR(request));
    finish_all();
    CHECK(reposted == request && status(request) == UCS_OK);
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

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
#define CASE(name) {#name, name}
    CASE(order_off),
    CASE(order_fifo),
    CASE(order_deadline),
    CASE(order_switched_off),
    CASE(order_untagged_share),
    CASE(order_lanes),
    CASE(order_untagged_lanes),
    CASE(pass_through),
    CASE(sends_pass),
    CASE(gpu_is_said),
    CASE(flush_waits),
    CASE(flush_of_tag),
    CASE(flush_of_worker),
    CASE(flush_blocking),
    CASE(fence_keeps_order),
    CASE(fence_waits_for_post),
    CASE(fence_gives_up),
    CASE(callback_once),
    CASE(completes_at_once),
    CASE(completes_early),
    CASE(callback_posts),
    CASE(release_waits_for_callback),
    CASE(cancel_queued),
    CASE(arm_is_busy),
    CASE(arm_is_busy_when_paced),
    CASE(error_is_told),
    CASE(error_of_detached),
    CASE(peer_failure),
    CASE(close_drains),
    CASE(close_forced),
    CASE(close_old_forms),
    CASE(close_reuses_address),
    CASE(close_while_posting),
    CASE(destroy_leaves_nothing),
    CASE(implicit_forms),
    CASE(old_forms),
    CASE(request_area),
    CASE(requests_are_reused),
    CASE(many_flows),
    CASE(fork_passes),
#undef CASE
};

int main(int argc, char **argv)
{
    const ucp_params_t params = {0};
    const ucp_ep_params_t ep_params = {0};

    if (argc < 2) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
            puts(cases[i].name);
        return 0;
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (strcmp(cases[i].name, argv[1]) != 0)
            continue;
        if (argc > 2 && strcmp(argv[2], "single") == 0)
            worker_params.thread_mode = UCS_THREAD_MODE_SINGLE;
        CHECK(ucp_init_version(1, 0, &params, NULL, &context) == UCS_OK);
        CHECK(ucp_worker_create(context, &worker_params, &worker) == UCS_OK);
        CHECK(ucp_ep_create(worker, &ep_params, &ep) == UCS_OK);
        cases[i].run();
        if (worker)
            ucp_worker_destroy(worker);
        ucp_cleanup(context);
        return 0;
    }
    fprintf(stderr, "no case %s\n", argv[1]);
    return 2;
}
