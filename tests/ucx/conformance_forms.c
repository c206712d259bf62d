/* SPDX-License-Identifier: Apache-2.0 */
/* The other forms of the calls: flushes, blocking, implicit, older. */
#include <string.h>

#include "conformance.h"

static unsigned old_calls;

static void old_called(void *request, ucs_status_t status)
{
    CHECK(request && status == UCS_OK);
    old_calls++;
}

static void flush_forms(void)
{
    pair_open(&conformance_plain);
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

static void blocking_forms(void)
{
    pair_open(&conformance_plain);
    pair_threads_begin(1);
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
    pair_threads_end();
    pair_close();
}

static void implicit_forms(void)
{
    pair_open(&conformance_plain);
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

/* As Open MPI 4.1's accumulate: the buffer is others' when the call has returned. UCX alone
 * takes so few bytes at the post. */
static void reused_buffer(void)
{
    static const size_t sizes[] = {8, 256, 4096};

    pair_open(&conformance_plain);
    for (unsigned form = 0; form < 3; form++) {
        const size_t bytes = sizes[form], count = 64;

        memset(sides[1].memory, 0, MEMORY_BYTES);
        for (size_t i = 0; i < count; i++) {
            memset(sides[0].memory, (int)i + 1, bytes);
            tag_next();
            (void)ucp_put_nbi(sides[0].ep, sides[0].memory, bytes, remote(i * bytes),
                              sides[0].rkey);
            memset(sides[0].memory, 255, bytes);
        }
        tag_none();
        CHECK_OK(wait_for(flush_ep(NULL)));
        for (size_t i = 0; i < count * bytes; i++)
            CHECK(sides[1].memory[i] == i / bytes + 1);
    }
    pair_close();
}

static void old_forms(void)
{
    unsigned due = 0;

    pair_open(&conformance_plain);
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

const struct conformance_case conformance_forms_cases[] = {
    {"flush_forms", flush_forms},       {"blocking_forms", blocking_forms},
    {"implicit_forms", implicit_forms}, {"reused_buffer", reused_buffer},
    {"old_forms", old_forms},           {NULL, NULL},
};
