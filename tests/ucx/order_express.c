/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operation of one chunk at an idle port: UCX's own request comes back, and whatever becomes of
 * it, its bytes leave the window.
 */
#include "order.h"

#include "../c/rival.h"

static uint64_t inflight(enum mfs_direction direction)
{
    struct mfs_port *port;
    uint64_t bytes;

    CHECK(mfs_port_open(mfs_host_get(), port_own(), direction, &port) == 0);
    bytes = mfs_port_inflight(port, mfs_now_ns());
    mfs_port_close(port);
    return bytes;
}

static void express_given_back(void)
{
    struct outcome freed = {0}, released = {0};
    ucs_status_ptr_t one = put_cb(0, 128, &freed), two = put_cb(1000, 128, &released);

    CHECK(UCS_PTR_IS_PTR(one) && UCS_PTR_IS_PTR(two) && inflight(MFS_EGRESS) == 256);
    CHECK(UCS_PTR_IS_PTR(put(2000, 128)));
    LOG_IS("put 1 0 +128, put 1 1000 +128"); /* the window is full */
    ucp_request_free(one);
    ucp_request_release(two);
    fake_complete(0, UCS_OK);
    fake_complete(0, UCS_OK);
    CHECK(freed.calls == 0 && released.calls == 1 && released.status == UCS_OK);
    CHECK(inflight(MFS_EGRESS) == 0);
    finish_all();
    LOG_IS("put 1 2000 +128");
}

/* Its end comes before the post has returned, or with it. */
static void express_early(void)
{
    struct outcome early = {0}, at_once = {0};
    ucs_status_ptr_t request;

    fake_mode = FAKE_EARLY;
    request = put_cb(0, 128, &early);
    CHECK(early.calls == 1 && early.request == request && status(request) == UCS_OK);
    CHECK(inflight(MFS_EGRESS) == 0);
    ucp_request_free(request);
    fake_mode = FAKE_AT_ONCE;
    CHECK(put_cb(0, 128, &at_once) == NULL);
    CHECK(at_once.calls == 0 && inflight(MFS_EGRESS) == 0);
    fake_fail = UCS_ERR_NO_MEMORY;
    CHECK(UCS_PTR_STATUS(put_cb(0, 128, &at_once)) == UCS_ERR_NO_MEMORY);
    CHECK(at_once.calls == 0 && inflight(MFS_EGRESS) == 0);
}

/* More than there is room for: the others take the queue. Done and given back in any order. */
static void express_many(void)
{
    enum { MANY = 100 };
    struct outcome outcomes[MANY] = {{0}};
    ucs_status_ptr_t requests[MANY];
    char expected[MANY * 20];
    int length = 0;

    for (unsigned i = 0; i < MANY; i++) {
        requests[i] = put_cb(i, 2, &outcomes[i]);
        CHECK(UCS_PTR_IS_PTR(requests[i]));
        length += sprintf(expected + length, "%sput 1 %u +2", i > 0 ? ", " : "", i);
    }
    LOG_IS(expected);
    CHECK(inflight(MFS_EGRESS) == 2 * MANY);
    for (unsigned i = 0; i < MANY; i += 2)
        ucp_request_free(requests[i * 7 % MANY]);
    for (unsigned left = MANY; left > 0; left--)
        fake_complete(left * 31 % left, UCS_OK);
    progress();
    CHECK(inflight(MFS_EGRESS) == 0);
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(outcomes[i].calls == (i % 2 ? 1u : 0u));
        if (i % 2) {
            CHECK(status(requests[i]) == UCS_OK);
            ucp_request_free(requests[i]);
        }
    }
}

/* What it finds out of the peer holds for those that wait. */
static void express_fails(void)
{
    struct outcome express = {0}, queued = {0};

    put_cb(0, 128, &express);
    put_cb(1000, 512, &queued);
    LOG_IS("put 1 0 +128, put 1 1000 +128");
    fake_complete(0, UCS_ERR_CONNECTION_RESET);
    CHECK(express.calls == 1 && express.status == UCS_ERR_CONNECTION_RESET);
    close_ep(true);
    finish_all();
    CHECK(queued.calls == 1 && queued.status == UCS_ERR_CONNECTION_RESET);
    CHECK(inflight(MFS_EGRESS) == 0);
}

static void express_forms(void)
{
    CHECK(ucp_put_nbi(ep, memory, 128, 0, NULL) == UCS_INPROGRESS);
    CHECK(ucp_get_nbi(ep, memory, 128, 1000, NULL) == UCS_INPROGRESS);
    CHECK(inflight(MFS_EGRESS) == 128 && inflight(MFS_INGRESS) == 128);
    fake_mode = FAKE_PROGRESS;
    CHECK(ucp_put(ep, memory, 128, 2000, NULL) == UCS_OK);
    CHECK(ucp_get(ep, memory, 128, 3000, NULL) == UCS_OK);
    progress();
    CHECK(fake_open() == 0 && inflight(MFS_EGRESS) == 0 && inflight(MFS_INGRESS) == 0);
    LOG_IS("put 1 0 +128, get 1 1000 +128, put 1 2000 +128, get 1 3000 +128");
}

/* One that is over leaves its room to the next, while others are under way and nothing waits. */
static void express_leaves_room(void)
{
    put(0, 2);
    put(2, 2);
    CHECK(inflight(MFS_EGRESS) == 4);
    fake_complete(0, UCS_OK);
    put(4, 2); /* in the room of the first */
    CHECK(inflight(MFS_EGRESS) == 4);
    fake_complete(0, UCS_OK);
    put(10, 20); /* longer: it asks, and the room that was kept is given back */
    CHECK(inflight(MFS_EGRESS) == 22);
    put(1000, 512); /* what waits wants all the room there is */
    LOG_IS("put 1 0 +2, put 1 2 +2, put 1 4 +2, put 1 10 +20, put 1 1000 +128");
    fake_complete(0, UCS_OK);
    CHECK(inflight(MFS_EGRESS) == 148);
    finish_all();
    CHECK(inflight(MFS_EGRESS) == 0);
    put(0, 2);
    put(10, 130); /* the last to end are chunks of the queue: they take what was kept along */
    fake_complete(0, UCS_OK);
    CHECK(inflight(MFS_EGRESS) == 132);
    fake_complete_all();
    CHECK(inflight(MFS_EGRESS) == 0);
}

/* But once in a chunk (128 bytes) the port is asked, where another may go first. */
static void express_asks(void)
{
    struct rival other;
    unsigned sent = 0;

    rival_join(&other, mfs_host_get(), port_own());
    put(0, 8);
    put(8, 8);
    rival_waits(&other, 0, 128, mfs_now_ns());
    while (fake_open() == 2) {
        fake_complete(0, UCS_OK);
        put(0, 8);
        CHECK(++sent <= 17);
    }
    CHECK(sent == 17); /* the last of them waits */
    rival_leave(&other);
    finish_all();
    CHECK(inflight(MFS_EGRESS) == 0);
}

const struct order_case order_express_cases[] = {
    CASE(express_given_back), CASE(express_early),       CASE(express_many), CASE(express_fails),
    CASE(express_forms),      CASE(express_leaves_room), CASE(express_asks), {NULL, NULL},
};
