/* SPDX-License-Identifier: Apache-2.0 */
/* A plug-in that brings its own UCX, as NIXL's does: one put to itself, checked. With
 * PLUGIN_LEAVES=1 it gives its worker and context not back. */
#include <stdlib.h>
#include <string.h>
#include <ucp/api/ucp.h>

__attribute__((visibility("default"))) int plugin_run(const char **version);

static ucs_status_t wait_for(ucp_worker_h worker, ucs_status_ptr_t request)
{
    ucs_status_t status;

    if (!UCS_PTR_IS_PTR(request))
        return UCS_PTR_STATUS(request);
    while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS)
        ucp_worker_progress(worker);
    ucp_request_free(request);
    return status;
}

int plugin_run(const char **version)
{
    static char source[1 << 20], target[1 << 20];
    const ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                                 .features = UCP_FEATURE_RMA};
    const ucp_worker_params_t worker_params = {0};
    const ucp_mem_map_params_t map = {
        .field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH,
        .address = target,
        .length = sizeof(target),
    };
    const ucp_request_param_t param = {0};
    ucp_ep_params_t ep_params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS};
    ucp_context_h context;
    ucp_address_t *address;
    ucp_worker_h worker;
    ucp_mem_h memh;
    ucp_rkey_h rkey;
    size_t length;
    ucp_ep_h ep;
    void *packed;

    *version = ucp_get_version_string();
    memset(source, 7, sizeof(source));
    if (ucp_init(&params, NULL, &context) || ucp_worker_create(context, &worker_params, &worker) ||
        ucp_worker_get_address(worker, &address, &length) || ucp_mem_map(context, &map, &memh) ||
        ucp_rkey_pack(context, memh, &packed, &length))
        return 1;
    ep_params.address = address;
    if (ucp_ep_create(worker, &ep_params, &ep) || ucp_ep_rkey_unpack(ep, packed, &rkey))
        return 2;
    if (wait_for(worker, ucp_put_nbx(ep, source, sizeof(source), (uint64_t)(uintptr_t)target, rkey,
                                     &param)) ||
        wait_for(worker, ucp_ep_flush_nbx(ep, &param)))
        return 3;
    ucp_rkey_destroy(rkey);
    if (wait_for(worker, ucp_disconnect_nb(ep)))
        return 4;
    ucp_worker_release_address(worker, address);
    ucp_rkey_buffer_release(packed);
    ucp_mem_unmap(context, memh);
    if (!getenv("PLUGIN_LEAVES")) {
        ucp_worker_destroy(worker);
        ucp_cleanup(context);
    }
    return memcmp(source, target, sizeof(source)) != 0;
}
