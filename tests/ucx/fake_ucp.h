/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A UCX that sends nothing: it writes down what it is told, and the test completes
 * operations by hand, in any order.
 *
 *   log: "put 1 0 +128"   put on endpoint 1, remote address 0, 128 bytes
 *        "flush 1"        of endpoint 1; "flush" of a worker
 *        "close 1", "close! 1" (forced), "fence", "destroy"
 *        "tag 1 7 +3"     tag 7, 3 elements; "sync", "am", "stream" likewise
 */
#ifndef FAKE_UCP_H
#define FAKE_UCP_H

#include <stdbool.h>
#include <stdint.h>
#include <ucp/api/ucp.h>

enum fake_mode {
    FAKE_BY_HAND,   /* an operation is in progress until fake_complete */
    FAKE_AT_ONCE,   /* done when the post returns: no request */
    FAKE_EARLY,     /* the callback comes before the post returns its request */
    FAKE_PROGRESS,  /* each progress completes the oldest */
};

/* Kinds of calls that can be made to fail; FAKE_END: operations that end with an error. */
enum fake_call {
    FAKE_INIT,
    FAKE_WORKER,
    FAKE_EP,
    FAKE_POST, /* put, get */
    FAKE_SEND, /* tag, active message, stream */
    FAKE_FLUSH,
    FAKE_FENCE,
    FAKE_CLOSE,
    FAKE_ARM,
    FAKE_END,
    FAKE_CALLS
};

/* Bit n: the n-th next call of that kind fails, 0 being the next one. With fake_fails_with. */
extern uint64_t fake_fails[FAKE_CALLS];
extern ucs_status_t fake_fails_with;

extern enum fake_mode fake_mode;
extern int fake_worker_pending;  /* what the next ucp_worker_progress returns besides */
extern unsigned fake_arms;       /* calls of ucp_worker_arm that got through */
extern ucs_status_t fake_fail;   /* puts and gets fail like this at once; UCS_OK: they do not */
extern void (*fake_in_put)(ucp_ep_h ep); /* called inside each put; NULL: nothing */

/* What endpoints use, as ucp_ep_query() tells it; none: an old UCX, which leaves all as it was. */
extern const ucp_transport_entry_t *fake_transports;
extern unsigned fake_transport_count;

/* Not in every release's headers. */
ucs_status_t ucp_device_local_mem_list_create(const void *params, void *list);
ucs_status_t ucp_device_remote_mem_list_create(const void *params, void *list);

const char *fake_log(void);      /* lines, joined by ", "; emptied by this */
unsigned fake_open(void);        /* operations and flushes in progress */
/* Complete the nth (0: oldest) operation or flush in progress. Callbacks come now. */
void fake_complete(unsigned nth, ucs_status_t status);
void fake_complete_all(void);

#endif
