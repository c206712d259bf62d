/* SPDX-License-Identifier: Apache-2.0 */
/* How endpoints and workers end. */
#include <netinet/in.h>
#include <string.h>

#include "conformance.h"

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

    pair_open(&conformance_plain);
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
    pair_open(&conformance_plain);
    for (unsigned round = 0; round < 50; round++) {
        void *packed;
        size_t length;

        pair_fill(round);
        (void)put(0, BLOCK, NULL, 0);
        ucp_rkey_destroy(sides[0].rkey);
        CHECK_OK(wait_for(close_ep(sides[0].ep, false)));
        CHECK(pair_equal(0, BLOCK));
        sides[0].ep = pair_ep(0, &conformance_plain);
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

    pair_open(&conformance_plain);
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

/* The workers go while operations wait. */
static void destroyed(void)
{
    static struct outcome outcomes[BLOCKS];
    ucs_status_ptr_t kept[BLOCKS];

    pair_open(&conformance_plain);
    for (size_t i = 0; i < BLOCKS; i++)
        kept[i] = put(i * BLOCK, BLOCK, &outcomes[i], 0);
    ucp_rkey_destroy(sides[0].rkey);
    ucp_worker_destroy(sides[0].worker);
    for (size_t i = 0; i < BLOCKS; i++)
        CHECK(outcomes[i].calls <= (UCS_PTR_IS_PTR(kept[i]) ? 1 : 0));
    sides[0] = (struct side){.context = sides[0].context, .memh = sides[0].memh};
    pair_close();
}

const struct conformance_case conformance_end_cases[] = {
    {"close_flushes", close_flushes},
    {"close_forced", close_forced},
    {"close_many", close_many},
    {"peer_failure", peer_failure},
    {"listener", listener},
    {"destroyed", destroyed},
    {NULL, NULL},
};
