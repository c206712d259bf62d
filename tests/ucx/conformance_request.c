/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller does with requests and callbacks. */
#include <string.h>

#include "conformance.h"

static void callbacks(void)
{
    static struct outcome outcomes[3 * BLOCKS];
    ucs_status_ptr_t requests[BLOCKS];
    unsigned called = 0;

    pair_open(&conformance_plain);
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
    pair_open(&conformance_plain);
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

    pair_open(&conformance_plain);
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

    pair_open(&conformance_plain);
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

    pair_open(&conformance_plain);
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

const struct conformance_case conformance_request_cases[] = {
    {"callbacks", callbacks},
    {"callback_posts", callback_posts},
    {"request_calls", request_calls},
    {"canceled", canceled},
    {"own_request", own_request},
    {"request_area", request_area},
    {NULL, NULL},
};
