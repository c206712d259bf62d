/* SPDX-License-Identifier: Apache-2.0 */
/* What a request tells: completion, callbacks, cancel, errors. */
#include "order.h"

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

const struct order_case order_request_cases[] = {
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
    {NULL, NULL},
};
