/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that sleep, and those of several threads. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "conformance.h"

/* A program that sleeps on its workers' descriptors, with no look in between. */
static void sleeps(void)
{
    struct pollfd fds[2];
    ucs_status_ptr_t requests[BLOCKS];
    size_t done = 0;

    pair_open(&conformance_plain);
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

    pair_open(&conformance_plain);
    pair_threads_begin(1);
    for (size_t i = 0; i < BLOCKS; i++)
        (void)put(i * BLOCK, BLOCK, NULL, 0);
    flushed = flush_ep(NULL);
    while (UCS_PTR_IS_PTR(flushed) && ucp_request_check_status(flushed) == UCS_INPROGRESS) {
        if (ucp_worker_progress(sides[0].worker) == 0)
            CHECK_OK(ucp_worker_wait(sides[0].worker));
    }
    CHECK_OK(wait_for(flushed));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_threads_end();
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
    pthread_t posters[2];

    pair_open(&options);
    pair_threads_begin(0);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&posters[i], NULL, post_share, (void *)i) == 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(posters[i], NULL);
    pair_threads_end();
    CHECK_OK(wait_for(flush_ep(NULL)));
    CHECK(pair_equal(0, BLOCKS * BLOCK));
    pair_close();
}

const struct conformance_case conformance_thread_cases[] = {
    {"sleeps", sleeps},
    {"waits", waits},
    {"threads", threads},
    {NULL, NULL},
};
