/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What UCX promises of puts, gets and what goes with them, as cases that hold on any
 * UCX, with the shim in the way or not: the same program judges both.
 * `conformance CASE`; exit 0: it holds, 77: this UCX or transport cannot do it.
 */
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "pair.h"

#define BLOCK ((size_t)100000) /* no multiple of a chunk */
#define BLOCKS (MEMORY_BYTES / BLOCK)

static const struct pair_options plain = {.mode = UCS_THREAD_MODE_SINGLE};

static void data(void)
{
    const size_t sizes[] = {1, 7, 8, 128, 1000, 8192, 8193, 65536, 100001, 1048583};

    pair_open(&plain);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const size_t at = i * 13;

        pair_fill((unsigned)i);
        CHECK_OK(wait_for(put(at, sizes[i], NULL, 0)));
        CHECK_OK(wait_for(flush_ep(NULL)));
        CHECK(pair_equal(at, sizes[i]));
        CHECK(sides[1].memory[at + sizes[i]] == 0); /* and not a byte more */
        memset(sides[0].memory, 0, MEMORY_BYTES);
        CHECK_OK(wait_for(get(at, sizes[i], NULL, 0)));
        CHECK(pair_equal(0, MEMORY_BYTES));
    }
    CHECK_OK(wait_for(put(0, 0, NULL, 0)));
    pair_close();
}

/* Many at once, both directions, with the registered memory given (as NIXL does). */
static void many(void)
{
    ucs_status_ptr_t requests[2 * BLOCKS];
    size_t half = BLOCKS / 2;

    pair_open(&plain);
    memcpy(sides[1].memory + half * BLOCK, sides[0].memory + half * BLOCK,
           MEMORY_BYTES - half * BLOCK);
    memset(sides[0].memory + half * BLOCK, 0, MEMORY_BYTES - half * BLOCK);
    for (size_t i = 0; i < half; i++) {
        requests[2 * i] = put(i * BLOCK, BLOCK, NULL, UCP_OP_ATTR_FIELD_MEMH);
        requests[2 * i + 1] = get((half + i) * BLOCK, BLOCK, NULL, UCP_OP_ATTR_FLAG_MULTI_SEND);
    }
    for (size_t i = 0; i < 2 * half; i++)
        CHECK_OK(wait_for(requests[i]));
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, 2 * half * BLOCK));
    pair_close();
}

/* NIXL's way: each request but the newest is given back in progress; the flush tells. */
static void detached(void)
{
    ucs_status_ptr_t last = NULL;

    pair_open(&plain);
    for (size_t i = 0; i < BLOCKS; i++) {
        if (UCS_PTR_IS_PTR(last))
            ucp_request_free(last);
        last = put(i * BLOCK, BLOCK, NULL, UCP_OP_ATTR_FIELD_MEMH | UCP_OP_ATTR_FLAG_MULTI_SEND);
        CHECK(!UCS_PTR_IS_ERR(last));
    }
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    CHECK_OK(wait_for(last));
    pair_close();
}

static void callbacks(void)
{
    static struct outcome outcomes[3 * BLOCKS];
    ucs_status_ptr_t requests[BLOCKS];
    unsigned called = 0;

    pair_open(&plain);
    for (size_t i = 0; i < BLOCKS; i++) {
        const bool always = i % 2;
        const unsigned before = called;

        requests[i] =
            put(i * BLOCK, BLOCK, &outcomes[i], always ? UCP_OP_ATTR_FLAG_NO_IMM_CMPL : 0);
        called = 0;
        for (size_t j = 0; j <= i; j++)
            called += outcomes[j].calls;
        CHECK(called == before); /* never from inside a post */
        CHECK(!always || UCS_PTR_IS_PTR(requests[i]));
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        const unsigned due = UCS_PTR_IS_PTR(requests[i]) ? 1 : 0;

        CHECK_OK(wait_for(requests[i])); /* once the status says so, it has been called */
        CHECK(outcomes[i].calls == due && outcomes[i].status == UCS_OK);
    }
    CHECK_OK(wait_for(flush_ep(&outcomes[BLOCKS])));
    for (int i = 0; i < 1000; i++)
        pair_progress();
    for (size_t i = 0; i <= BLOCKS; i++)
        CHECK(outcomes[i].calls <= 1);
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

static size_t posted;

static void post_next(void *request, ucs_status_t status, void *user_data)
{
    ucp_request_param_t param = {
        .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FLAG_NO_IMM_CMPL,
        .cb.send = post_next,
    };

    (void)user_data;
    CHECK_OK(status);
    if (request)
        ucp_request_free(request);
    if (posted == BLOCKS)
        return;
    posted++;
    tag_next();
    CHECK(UCS_PTR_IS_PTR(ucp_put_nbx(sides[0].ep, sides[0].memory + (posted - 1) * BLOCK, BLOCK,
                                     remote((posted - 1) * BLOCK), sides[0].rkey, &param)));
}

static void callback_posts(void)
{
    pair_open(&plain);
    post_next(NULL, UCS_OK, NULL);
    while (posted < BLOCKS)
        pair_progress();
    tag_none();
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

static void request_calls(void)
{
    char text[200];
    ucp_request_attr_t attributes = {
        .field_mask = UCP_REQUEST_ATTR_FIELD_STATUS | UCP_REQUEST_ATTR_FIELD_INFO_STRING |
                      UCP_REQUEST_ATTR_FIELD_INFO_STRING_SIZE,
        .debug_string = text,
        .debug_string_size = sizeof(text),
    };
    ucs_status_ptr_t request;

    pair_open(&plain);
    request = put(0, MEMORY_BYTES, NULL, UCP_OP_ATTR_FLAG_NO_IMM_CMPL);
    CHECK(UCS_PTR_IS_PTR(request));
    CHECK_OK(ucp_request_query(request, &attributes));
    CHECK(strlen(text) > 0);
    while (!ucp_request_is_completed(request))
        pair_progress();
    CHECK_OK(ucp_request_check_status(request));
    CHECK_OK(ucp_request_query(request, &attributes));
    CHECK(attributes.status == UCS_OK);
    ucp_request_cancel(sides[0].worker, request); /* too late: nothing */
    ucp_request_release(request);
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, MEMORY_BYTES));
    pair_close();
}

static void canceled(void)
{
    ucs_status_ptr_t requests[BLOCKS];
    ucs_status_t status;

    pair_open(&plain);
    for (size_t i = 0; i < BLOCKS; i++)
        requests[i] = put(i * BLOCK, BLOCK, NULL, 0);
    for (size_t i = 0; i < BLOCKS; i += 2) {
        if (UCS_PTR_IS_PTR(requests[i]))
            ucp_request_cancel(sides[0].worker, requests[i]);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        status = wait_for(requests[i]);
        CHECK(status == UCS_OK || (i % 2 == 0 && status == UCS_ERR_CANCELED));
    }
    CHECK_OK(wait_for(flush_ep(NULL)));
    for (size_t i = 1; i < BLOCKS; i += 2)
        CHECK(pair_equal(i * BLOCK, BLOCK));
    pair_close();
}

static void *own_request_done;

static void own_called(void *request, ucs_status_t status, void *user_data)
{
    (void)user_data;
    CHECK_OK(status);
    own_request_done = request;
}

/* The caller's own memory for a request, in front of the pointer it gives. */
static void own_request(void)
{
    ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_REQUEST_SIZE};
    ucp_request_param_t param = {
        .op_attr_mask =
            UCP_OP_ATTR_FIELD_REQUEST | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FLAG_NO_IMM_CMPL,
        .cb.send = own_called,
    };
    char *room;

    pair_open(&plain);
    CHECK_OK(ucp_context_query(sides[0].context, &attributes));
    room = malloc(attributes.request_size + 64);
    param.request = room + attributes.request_size;
    (void)put(0, MEMORY_BYTES / 2, NULL, 0);
    CHECK(ucp_put_nbx(sides[0].ep, sides[0].memory + MEMORY_BYTES / 2, BLOCK,
                      remote(MEMORY_BYTES / 2), sides[0].rkey, &param) == param.request);
    while (!own_request_done)
        pair_progress();
    CHECK(own_request_done == param.request);
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, MEMORY_BYTES / 2 + BLOCK));
    free(room);
    pair_close();
}

static void area_init(void *request)
{
    memset(request, 0x77, 40);
}

static void request_area(void)
{
    const struct pair_options options = {UCS_THREAD_MODE_SINGLE, false, NULL, 40, area_init};
    unsigned char *requests[BLOCKS];

    pair_open(&options);
    for (size_t i = 0; i < BLOCKS; i++) {
        requests[i] = put(i * BLOCK, BLOCK, NULL, UCP_OP_ATTR_FLAG_NO_IMM_CMPL);
        CHECK(UCS_PTR_IS_PTR((void *)requests[i]));
        memset(requests[i], (int)i, 40);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        while (ucp_request_check_status(requests[i]) == UCS_INPROGRESS)
            pair_progress();
        CHECK(requests[i][0] == (unsigned char)i && requests[i][39] == (unsigned char)i);
        ucp_request_free(requests[i]);
    }
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

static unsigned old_calls;

static void old_called(void *request, ucs_status_t status)
{
    CHECK(request && status == UCS_OK);
    old_calls++;
}

static void flush_forms(void)
{
    pair_open(&plain);
    for (unsigned form = 0; form < 3; form++) {
        pair_fill(form);
        for (size_t i = 0; i < BLOCKS; i++) {
            ucs_status_ptr_t request = put(i * BLOCK, BLOCK, NULL, 0);

            if (UCS_PTR_IS_PTR(request))
                ucp_request_free(request);
        }
        if (form == 0)
            CHECK_OK(wait_for(flush_worker()));
        else if (form == 1)
            CHECK_OK(wait_for(ucp_ep_flush_nb(sides[0].ep, 0, old_called)));
        else
            CHECK_OK(wait_for(ucp_worker_flush_nb(sides[0].worker, 0, old_called)));
        CHECK(pair_equal(0, BLOCKS * BLOCK));
    }
    pair_close();
}

static _Atomic bool stop;

static void *progress_other(void *side)
{
    while (!atomic_load(&stop))
        (void)ucp_worker_progress(((struct side *)side)->worker);
    return NULL;
}

static pthread_t other_thread;

/* From here on the other side makes progress in a thread of its own. */
static void other_begin(void)
{
    pair_alone = true;
    CHECK(pthread_create(&other_thread, NULL, progress_other, &sides[1]) == 0);
}

static void other_end(void)
{
    atomic_store(&stop, true);
    pthread_join(other_thread, NULL);
    pair_alone = false;
}

static void blocking_forms(void)
{
    pair_open(&plain);
    other_begin();
    for (size_t i = 0; i < 8; i++)
        (void)put(i * BLOCK, BLOCK, NULL, 0);
    tag_next();
    CHECK_OK(
        ucp_put(sides[0].ep, sides[0].memory + 8 * BLOCK, BLOCK, remote(8 * BLOCK), sides[0].rkey));
    CHECK_OK(ucp_ep_flush(sides[0].ep));
    CHECK(pair_equal(0, 9 * BLOCK));
    memset(sides[0].memory, 0, 9 * BLOCK);
    for (size_t i = 0; i < 9; i++)
        CHECK_OK(ucp_get(sides[0].ep, sides[0].memory + i * BLOCK, BLOCK, remote(i * BLOCK),
                         sides[0].rkey));
    CHECK(pair_equal(0, 9 * BLOCK));
    CHECK_OK(ucp_worker_flush(sides[0].worker));
    other_end();
    pair_close();
}

static void implicit_forms(void)
{
    pair_open(&plain);
    for (size_t i = 0; i < BLOCKS; i++) {
        ucs_status_t status;

        tag_next();
        status = ucp_put_nbi(sides[0].ep, sides[0].memory + i * BLOCK, BLOCK, remote(i * BLOCK),
                             sides[0].rkey);
        CHECK(status == UCS_OK || status == UCS_INPROGRESS);
    }
    tag_none();
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    memset(sides[0].memory, 0, MEMORY_BYTES);
    for (size_t i = 0; i < BLOCKS; i++)
        (void)ucp_get_nbi(sides[0].ep, sides[0].memory + i * BLOCK, BLOCK, remote(i * BLOCK),
                          sides[0].rkey);
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

static void old_forms(void)
{
    unsigned due = 0;

    pair_open(&plain);
    for (size_t i = 0; i < BLOCKS; i++) {
        ucs_status_ptr_t request = i % 2
                                       ? ucp_put_nb(sides[0].ep, sides[0].memory + i * BLOCK, BLOCK,
                                                    remote(i * BLOCK), sides[0].rkey, old_called)
                                       : ucp_get_nb(sides[0].ep, sides[0].memory + i * BLOCK, BLOCK,
                                                    remote(i * BLOCK), sides[0].rkey, old_called);

        due += UCS_PTR_IS_PTR(request) ? 1 : 0;
        CHECK_OK(wait_for(request));
        CHECK(old_calls == due);
    }
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

/* Scattered and counted data: in bytes as UCX counts them. */
static void datatypes(void)
{
    const ucp_request_param_t scattered = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                           .datatype = ucp_dt_make_iov()};
    const ucp_request_param_t counted = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                         .datatype = ucp_dt_make_contig(1000)};
    ucp_dt_iov_t iov[3];

    pair_open(&plain);
    for (size_t i = 0; i < 3; i++)
        iov[i] = (ucp_dt_iov_t){sides[0].memory + i * BLOCK, BLOCK};
    (void)put(MEMORY_BYTES / 2, MEMORY_BYTES / 2, NULL, 0);
    CHECK_OK(wait_for(ucp_put_nbx(sides[0].ep, iov, 3, remote(0), sides[0].rkey, &scattered)));
    CHECK_OK(wait_for(ucp_put_nbx(sides[0].ep, sides[0].memory + 3 * BLOCK, BLOCK / 1000,
                                  remote(3 * BLOCK), sides[0].rkey, &counted)));
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, 4 * BLOCK) && pair_equal(MEMORY_BYTES / 2, MEMORY_BYTES / 2));
    pair_close();
}

/* put, fence, atomic: whoever sees the atomic's effect sees the data. */
static void fence_and_atomic(void)
{
    volatile uint64_t *flag;
    static uint64_t one = 1;
    ucs_status_ptr_t request;
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                       .datatype = ucp_dt_make_contig(8)};

    pair_open(&plain);
    other_begin();
    flag = (volatile uint64_t *)(void *)(sides[1].memory + BLOCKS * BLOCK);
    for (unsigned round = 1; round <= 5; round++) {
        pair_fill(round);
        for (size_t i = 0; i < 8; i++)
            (void)put(i * BLOCK, BLOCK, NULL, 0);
        CHECK_OK(ucp_worker_fence(sides[0].worker));
        request = ucp_atomic_op_nbx(sides[0].ep, UCP_ATOMIC_OP_ADD, &one, 1, remote(BLOCKS * BLOCK),
                                    sides[0].rkey, &param);
        CHECK(!UCS_PTR_IS_ERR(request));
        while (*flag == 0)
            pair_progress();
        CHECK(*flag == 1 && pair_equal(0, 8 * BLOCK));
        CHECK_OK(wait_for(flush_ep(NULL)));
    }
    other_end();
    pair_close();
}

/* Messages keep their order while puts wait, and arrive whole. */
static void tag_messages(void)
{
    const ucp_request_param_t param = {0};
    static uint32_t sent[64][256], got[64][256];
    ucs_status_ptr_t sends[64], receives[64];

    pair_open(&plain);
    for (uint32_t i = 0; i < 64; i++) {
        (void)put(i * 60000, 60000, NULL, 0);
        for (uint32_t j = 0; j < 256; j++)
            sent[i][j] = i * 1000 + j;
        receives[i] =
            ucp_tag_recv_nbx(sides[1].worker, got[i], sizeof(got[i]), 5, UINT64_MAX, &param);
        sends[i] = ucp_tag_send_nbx(sides[0].ep, sent[i], sizeof(sent[i]), 5, &param);
    }
    for (size_t i = 0; i < 64; i++) {
        CHECK_OK(wait_for(sends[i]));
        CHECK_OK(wait_for(receives[i]));
    }
    CHECK(memcmp(sent, got, sizeof(sent)) == 0);
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, 64 * 60000));
    pair_close();
}

static void close_flushes(void)
{
    const struct pair_options options = {.mode = UCS_THREAD_MODE_SINGLE};
    static struct outcome outcomes[BLOCKS];

    pair_open(&options);
    for (size_t i = 0; i < BLOCKS; i++)
        outcomes[i].calls = UCS_PTR_IS_PTR(put(i * BLOCK, BLOCK, &outcomes[i], 0)) ? 0 : 1;
    ucp_rkey_destroy(sides[0].rkey);
    sides[0].rkey = NULL;
    CHECK_OK(wait_for(close_ep(sides[0].ep, false)));
    sides[0].ep = NULL;
    for (size_t i = 0; i < BLOCKS; i++)
        CHECK(outcomes[i].calls == 1 && outcomes[i].status == UCS_OK);
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

static void close_forced(void)
{
    static struct outcome outcomes[BLOCKS];

    pair_open(&plain);
    for (size_t i = 0; i < BLOCKS; i++)
        outcomes[i].calls = UCS_PTR_IS_PTR(put(i * BLOCK, BLOCK, &outcomes[i], 0)) ? 0 : 1;
    (void)wait_for(close_ep(sides[0].ep, true));
    sides[0].ep = NULL;
    for (size_t i = 0; i < BLOCKS; i++) {
        while (outcomes[i].calls == 0)
            pair_progress();
        CHECK(outcomes[i].calls == 1);
        CHECK(outcomes[i].status == UCS_OK || outcomes[i].status == UCS_ERR_CANCELED);
    }
    pair_close();
}

/* Endpoints come and go; their addresses are used again. */
static void close_many(void)
{
    pair_open(&plain);
    for (unsigned round = 0; round < 50; round++) {
        void *packed;
        size_t length;

        pair_fill(round);
        (void)put(0, BLOCK, NULL, 0);
        ucp_rkey_destroy(sides[0].rkey);
        CHECK_OK(wait_for(close_ep(sides[0].ep, false)));
        CHECK(pair_equal(0, BLOCK));
        sides[0].ep = pair_ep(0, &plain);
        CHECK_OK(ucp_rkey_pack(sides[1].context, sides[1].memh, &packed, &length));
        CHECK_OK(ucp_ep_rkey_unpack(sides[0].ep, packed, &sides[0].rkey));
        ucp_rkey_buffer_release(packed);
    }
    pair_close();
}

static unsigned failures;

static void failed(void *arg, ucp_ep_h ep, ucs_status_t status)
{
    (void)arg, (void)ep;
    CHECK(status != UCS_OK);
    failures++;
}

/* The peer goes away without a word: every operation ends, once, and the flush fails. */
static void peer_failure(void)
{
    const struct pair_options options = {UCS_THREAD_MODE_SINGLE, true, failed, 0, NULL};
    static struct outcome outcomes[4 * BLOCKS];
    ucs_status_ptr_t flushed;
    unsigned errors = 0;

    pair_open(&options);
    for (size_t i = 0; i < 4 * BLOCKS; i++)
        outcomes[i].calls = UCS_PTR_IS_PTR(put(i % BLOCKS * BLOCK, BLOCK, &outcomes[i], 0)) ? 0 : 1;
    flushed = flush_ep(NULL);
    ucp_rkey_destroy(sides[1].rkey);
    (void)wait_for(close_ep(sides[1].ep, true));
    ucp_worker_destroy(sides[1].worker);
    sides[1] = (struct side){
        .context = sides[1].context, .memory = sides[1].memory, .memh = sides[1].memh};
    for (size_t i = 0; i < 4 * BLOCKS; i++) {
        while (outcomes[i].calls == 0)
            pair_progress();
        CHECK(outcomes[i].calls == 1);
        errors += outcomes[i].status != UCS_OK;
    }
    while (failures == 0)
        pair_progress();
    CHECK(failures == 1);
    CHECK(wait_for(flushed) != UCS_OK || errors == 0);
    CHECK(UCS_STATUS_IS_ERR(wait_for(put(0, BLOCK, NULL, UCP_OP_ATTR_FLAG_NO_IMM_CMPL))));
    pair_close();
}

static ucp_conn_request_h asked;

static void asks(ucp_conn_request_h request, void *arg)
{
    (void)arg;
    asked = request;
}

/* Endpoints by address and port: the one that connects, and the one that a listener gets. */
static void listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    ucp_listener_params_t params = {
        .field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER,
        .sockaddr = {(struct sockaddr *)&address, sizeof(address)},
        .conn_handler = {asks, NULL},
    };
    ucp_listener_attr_t attributes = {.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR};
    ucp_ep_params_t to_listener = {
        .field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR |
                      UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE,
        .flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER,
        .err_mode = UCP_ERR_HANDLING_MODE_PEER,
        .sockaddr = {(struct sockaddr *)&address, sizeof(address)},
    };
    ucp_ep_params_t from_listener = {.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST};
    ucp_listener_h listening;
    ucp_rkey_h rkey;
    void *packed;
    size_t length;
    ucp_ep_h ends[2];

    pair_open(&plain);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_OK(ucp_listener_create(sides[1].worker, &params, &listening));
    CHECK_OK(ucp_listener_query(listening, &attributes));
    memcpy(&address, &attributes.sockaddr, sizeof(address));
    CHECK_OK(ucp_ep_create(sides[0].worker, &to_listener, &ends[0]));
    while (!asked)
        pair_progress();
    from_listener.conn_request = asked;
    CHECK_OK(ucp_ep_create(sides[1].worker, &from_listener, &ends[1]));
    CHECK_OK(ucp_rkey_pack(sides[0].context, sides[0].memh, &packed, &length));
    CHECK_OK(ucp_ep_rkey_unpack(ends[1], packed, &rkey));
    ucp_rkey_buffer_release(packed);
    memcpy(sides[1].memory, sides[0].memory, MEMORY_BYTES);
    memset(sides[0].memory, 0, MEMORY_BYTES);
    for (size_t i = 0; i < BLOCKS; i++) { /* from the listener's side to the other */
        const ucp_request_param_t param = {0};
        ucs_status_ptr_t request;

        tag_next();
        request = ucp_put_nbx(ends[1], sides[1].memory + i * BLOCK, BLOCK,
                              (uint64_t)(uintptr_t)(sides[0].memory + i * BLOCK), rkey, &param);
        if (UCS_PTR_IS_PTR(request))
            ucp_request_free(request);
    }
    tag_none();
    ucp_rkey_destroy(rkey);
    CHECK_OK(wait_for(close_ep(ends[1], false)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    (void)wait_for(close_ep(ends[0], true));
    ucp_listener_destroy(listening);
    pair_close();
}

/* A program that sleeps on its workers' descriptors, with no look in between. */
static void sleeps(void)
{
    struct pollfd fds[2];
    ucs_status_ptr_t requests[BLOCKS];
    size_t done = 0;

    pair_open(&plain);
    for (unsigned i = 0; i < 2; i++) {
        fds[i].events = POLLIN;
        CHECK_OK(ucp_worker_get_efd(sides[i].worker, &fds[i].fd));
    }
    for (size_t i = 0; i < BLOCKS; i++)
        requests[i] = put(i * BLOCK, BLOCK, NULL, 0);
    while (done < BLOCKS) {
        bool armed = true;

        while (ucp_worker_progress(sides[0].worker) + ucp_worker_progress(sides[1].worker))
            ;
        while (done < BLOCKS && (!UCS_PTR_IS_PTR(requests[done]) ||
                                 ucp_request_check_status(requests[done]) != UCS_INPROGRESS))
            CHECK_OK(wait_for(requests[done++]));
        for (unsigned i = 0; i < 2; i++) {
            ucs_status_t status = ucp_worker_arm(sides[i].worker);

            CHECK(status == UCS_OK || status == UCS_ERR_BUSY);
            armed &= status == UCS_OK;
        }
        if (armed && done < BLOCKS)
            CHECK(poll(fds, 2, 20000) > 0); /* nobody would wake it: a stall */
    }
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

static void waits(void)
{
    ucs_status_ptr_t flushed;

    pair_open(&plain);
    other_begin();
    for (size_t i = 0; i < BLOCKS; i++)
        (void)put(i * BLOCK, BLOCK, NULL, 0);
    flushed = flush_ep(NULL);
    while (UCS_PTR_IS_PTR(flushed) && ucp_request_check_status(flushed) == UCS_INPROGRESS) {
        if (ucp_worker_progress(sides[0].worker) == 0)
            CHECK_OK(ucp_worker_wait(sides[0].worker));
    }
    CHECK_OK(wait_for(flushed));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    other_end();
    pair_close();
}

static void *post_share(void *argument)
{
    const size_t first = (size_t)(uintptr_t)argument;

    for (size_t i = first; i < BLOCKS; i += 2) {
        ucs_status_ptr_t request = put(i * BLOCK, BLOCK, NULL, 0);

        CHECK(!UCS_PTR_IS_ERR(request));
        while (UCS_PTR_IS_PTR(request) && ucp_request_check_status(request) == UCS_INPROGRESS)
            sched_yield();
        if (UCS_PTR_IS_PTR(request))
            ucp_request_free(request);
    }
    return NULL;
}

/* Two threads post and a third makes the progress; with UCS_THREAD_MODE_MULTI. */
static void threads(void)
{
    const struct pair_options options = {.mode = UCS_THREAD_MODE_MULTI};
    pthread_t posters[2], progressors[2];

    pair_open(&options);
    for (unsigned i = 0; i < 2; i++)
        CHECK(pthread_create(&progressors[i], NULL, progress_other, &sides[i]) == 0);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&posters[i], NULL, post_share, (void *)i) == 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(posters[i], NULL);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(progressors[i], NULL);
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

/* The workers go while operations wait. */
static void destroyed(void)
{
    static struct outcome outcomes[BLOCKS];
    ucs_status_ptr_t kept[BLOCKS];

    pair_open(&plain);
    for (size_t i = 0; i < BLOCKS; i++)
        kept[i] = put(i * BLOCK, BLOCK, &outcomes[i], 0);
    ucp_rkey_destroy(sides[0].rkey);
    ucp_worker_destroy(sides[0].worker);
    for (size_t i = 0; i < BLOCKS; i++)
        CHECK(outcomes[i].calls <= (UCS_PTR_IS_PTR(kept[i]) ? 1 : 0));
    sides[0] = (struct side){.context = sides[0].context, .memh = sides[0].memh};
    pair_close();
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
#define CASE(name) {#name, name}
    CASE(data),         CASE(many),           CASE(detached),
    CASE(callbacks),    CASE(callback_posts), CASE(request_calls),
    CASE(canceled),     CASE(own_request),    CASE(request_area),
    CASE(flush_forms),  CASE(blocking_forms), CASE(implicit_forms),
    CASE(old_forms),    CASE(datatypes),      CASE(fence_and_atomic),
    CASE(tag_messages), CASE(close_flushes),  CASE(close_forced),
    CASE(close_many),   CASE(peer_failure),   CASE(listener),
    CASE(sleeps),       CASE(waits),          CASE(threads),
    CASE(destroyed),
#undef CASE
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (argc < 2)
            puts(cases[i].name);
        else if (strcmp(cases[i].name, argv[1]) == 0)
            return cases[i].run(), 0;
    }
    return argc < 2 ? 0 : 2;
}
