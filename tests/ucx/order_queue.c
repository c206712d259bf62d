/* SPDX-License-Identifier: Apache-2.0 */
/* The order of chunks, and what is not put into an order. */
#include <errno.h>

#include "order.h"

#include "../c/rival.h"

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

/* Another sender of the host always has a better rank; what it sends earns this one its share,
 * which is half. Its tagged traffic waits. */
static void order_untagged_share(void)
{
    struct rival other;

    rival_join(&other, mfs_host_get(), port_own());
    rival_waits(&other, 0, 1 << 20, mfs_now_ns());
    deadline("late", INT64_C(60000000000));
    tag("late", 1);
    put(0, 128);
    tag(NULL, 0);
    put(1000, 256);
    progress();
    LOG_IS("");
    for (unsigned i = 0; i < 4; i++) {
        const int64_t now_ns = mfs_now_ns();

        CHECK(rival_next(&other, 128, now_ns) == 0);
        rival_done(&other, 128, now_ns);
        if (i < 2) /* it yields: there is enough for a chunk */
            CHECK(rival_next(&other, 128, now_ns) == -EBUSY);
        finish_all();
        LOG_IS(i == 0 ? "put 1 1000 +128" : i == 1 ? "put 1 1128 +128" : "");
    }
    rival_leave(&other);
    progress();
    LOG_IS("put 1 0 +128");
    finish_all();
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

static uint64_t calls(void)
{
    return mfs_count_process(mfs_host_get(), MFS_COUNT_CALLS);
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
    finish_all();
    CHECK(calls() == 1);
    LOG_IS("put 1 256 +128, put 1 384 +128");
}

/* At once, also those of the one worker more than there are rows for (host/counters.h). */
static void counts_are_seen(void)
{
    const ucp_worker_params_t one_thread = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                            .thread_mode = UCS_THREAD_MODE_SINGLE};
    const ucp_ep_params_t ep_params = {0};
    ucp_worker_h more[9];

    put(0, 512);
    CHECK(calls() == 1);
    finish_all();
    CHECK(mfs_count_process(mfs_host_get(), MFS_COUNT_CHUNKS) == 4);
    for (unsigned i = 0; i < 9; i++) {
        const ucp_request_param_t plain = {0};
        ucp_ep_h other;

        CHECK(ucp_worker_create(context, &one_thread, &more[i]) == UCS_OK);
        CHECK(ucp_ep_create(more[i], &ep_params, &other) == UCS_OK);
        CHECK(!UCS_PTR_IS_ERR(ucp_put_nbx(other, memory, 8, 0, NULL, &plain)));
        CHECK(calls() == i + 2);
    }
    for (unsigned i = 0; i < 9; i++)
        ucp_worker_destroy(more[i]);
    put(0, 128);
    CHECK(calls() == 11); /* nothing goes with a worker */
}

/* Ended without giving the worker back. */
static void counts_at_exit(void)
{
    put(0, 128);
    exit(0);
}

static void gpu_is_said(void)
{
    for (int i = 0; i < 3; i++) {
        CHECK(ucp_device_local_mem_list_create(NULL, NULL) == UCS_OK);
        CHECK(ucp_device_remote_mem_list_create(NULL, NULL) == UCS_OK);
    }
    CHECK(mfs_count_process(mfs_host_get(), MFS_COUNT_GPU_LISTS) == 6);
}

const struct order_case order_queue_cases[] = {
    CASE(order_off),
    CASE(order_fifo),
    CASE(order_deadline),
    CASE(order_switched_off),
    CASE(order_untagged_share),
    CASE(order_lanes),
    CASE(order_untagged_lanes),
    CASE(pass_through),
    CASE(sends_pass),
    CASE(counts_are_seen),
    CASE(counts_at_exit),
    CASE(gpu_is_said),
    {NULL, NULL},
};
