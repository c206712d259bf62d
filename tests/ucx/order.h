/* SPDX-License-Identifier: Apache-2.0 */
/* What the cases of order.c share: one context, worker and endpoint, and short calls on them. */
#ifndef ORDER_H
#define ORDER_H

#include "check.h"
#include "fake_ucp.h"
#include "host/config.h"
#include "host/host.h"

/* What UCX was told since the last time. */
#define LOG_IS(expected) log_is(expected, __FILE__, __LINE__)
void log_is(const char *expected, const char *file, int line);

struct order_case {
    const char *name;
    void (*run)(void);
};
#define CASE(name) {#name, name}

extern ucp_context_h context;
extern ucp_worker_params_t worker_params;
extern ucp_worker_h worker;
extern ucp_ep_h ep;
extern char memory[1 << 16];

struct outcome {
    unsigned calls;
    ucs_status_t status;
    void *request;
};

/* The port of this process's traffic. */
const char *port_own(void);
/* Of what this thread posts from now on; request NULL: none. */
void tag(const char *request, unsigned layer);
/* Register a request that is due in after_ns. */
void deadline(const char *request, int64_t after_ns);
/* Of `bytes` at memory + at, to the remote address `at`. */
ucs_status_ptr_t put(uint64_t at, size_t bytes);
ucs_status_ptr_t get(uint64_t at, size_t bytes);
/* The callback that notes its outcome; parameters with it; a put with it. */
void called(void *request, ucs_status_t status, void *user_data);
ucp_request_param_t with_callback(struct outcome *outcome);
ucs_status_ptr_t put_cb(uint64_t at, size_t bytes, struct outcome *outcome);
ucs_status_ptr_t flush(void);
ucs_status_ptr_t close_ep(bool force);
/* Of a request, or of what a call returned instead of one. */
ucs_status_t status(ucs_status_ptr_t request);
/* Until there is nothing to do. */
void progress(void);
/* Complete and progress, oldest first, until nothing is open. */
void finish_all(void);

/* Each ends with a case without a name. */
extern const struct order_case order_queue_cases[], order_flush_cases[], order_request_cases[],
    order_express_cases[], order_close_cases[], order_forms_cases[], order_abort_cases[],
    order_faults_cases[], order_port_cases[];

#endif
