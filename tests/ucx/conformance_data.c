/* SPDX-License-Identifier: Apache-2.0 */
/* Data arrives whole, once, and in the order that is promised. */
#include <stdatomic.h>
#include <string.h>

#include "conformance.h"

static void data(void)
{
    const size_t sizes[] = {1, 7, 8, 128, 1000, 8192, 8193, 65536, 100001, 1048583};

    pair_open(&conformance_plain);
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

    pair_open(&conformance_plain);
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

    pair_open(&conformance_plain);
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

/* Scattered and counted data: in bytes as UCX counts them. */
static void datatypes(void)
{
    const ucp_request_param_t scattered = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                           .datatype = ucp_dt_make_iov()};
    const ucp_request_param_t counted = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                         .datatype = ucp_dt_make_contig(1000)};
    ucp_dt_iov_t iov[3];

    pair_open(&conformance_plain);
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
    ucs_status_ptr_t puts[8], request;
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE,
                                       .datatype = ucp_dt_make_contig(8)};

    pair_open(&conformance_plain);
    pair_threads_begin(1);
    flag = (volatile uint64_t *)(void *)(sides[1].memory + BLOCKS * BLOCK);
    for (unsigned round = 1; round <= 5; round++) {
        pair_fill(round);
        for (size_t i = 0; i < 8; i++)
            puts[i] = put(i * BLOCK, BLOCK, NULL, 0);
        CHECK_OK(ucp_worker_fence(sides[0].worker));
        request = ucp_atomic_op_nbx(sides[0].ep, UCP_ATOMIC_OP_ADD, &one, 1, remote(BLOCKS * BLOCK),
                                    sides[0].rkey, &param);
        if (UCS_PTR_IS_ERR(request))
            CHECK_OK(UCS_PTR_STATUS(request));
        while (*flag == 0)
            pair_progress();
        CHECK(*flag == 1 && pair_equal(0, 8 * BLOCK));
        CHECK_OK(wait_for(flush_ep(NULL)));
        for (size_t i = 0; i < 8; i++)
            CHECK_OK(wait_for(puts[i]));
        CHECK_OK(wait_for(request));
    }
    pair_threads_end();
    pair_close();
}

/* Messages keep their order while puts wait, and arrive whole. */
static void tag_messages(void)
{
    const ucp_request_param_t param = {0};
    static uint32_t sent[64][256], got[64][256];
    ucs_status_ptr_t sends[64], receives[64];

    pair_open(&conformance_plain);
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

const struct conformance_case conformance_data_cases[] = {
    {"data", data},
    {"many", many},
    {"detached", detached},
    {"datatypes", datatypes},
    {"fence_and_atomic", fence_and_atomic},
    {"tag_messages", tag_messages},
    {NULL, NULL},
};
