/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts through the shim to a UCX that does nothing (fake_ucp.c): 16 of 16 KiB are posted all the
 * time, and the oldest ends when the others wait. For counting what a queued put costs.
 *
 *     queued OPERATIONS
 */
#include <stdio.h>
#include <stdlib.h>

#include "fake_ucp.h"

#define BYTES 16384
#define POSTED 16

static long ended;

static void put_ends(void *request, ucs_status_t status, void *user_data)
{
    (void)status, (void)user_data;
    ended++;
    ucp_request_free(request);
}

int main(int argc, char **argv)
{
    static char memory[BYTES];
    const ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                                 .features = UCP_FEATURE_RMA};
    const ucp_worker_params_t alone = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                       .thread_mode = UCS_THREAD_MODE_SINGLE};
    const ucp_ep_params_t ep_params = {0};
    const ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK,
                                       .cb.send = put_ends};
    const long operations = argc > 1 ? atol(argv[1]) : 0;
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_ep_h ep;

    if (ucp_init(&params, NULL, &context) != UCS_OK ||
        ucp_worker_create(context, &alone, &worker) != UCS_OK ||
        ucp_ep_create(worker, &ep_params, &ep) != UCS_OK)
        return 1;
    for (long posted = 0; ended < operations;) {
        for (; posted < operations && posted - ended < POSTED; posted++) {
            if (!UCS_PTR_IS_PTR(ucp_put_nbx(ep, memory, BYTES, 0x1000, NULL, &param)))
                return 1;
        }
        if (fake_open() == 0)
            return 1;
        fake_complete(0, UCS_OK);
        while (ucp_worker_progress(worker) > 0)
            ;
        fake_log();
    }
    return 0;
}
