/* SPDX-License-Identifier: Apache-2.0 */
/* Control messages that we send: each is copied, and kept until UCX has sent it. */
#include <stdlib.h>
#include <string.h>

#include "nccl/comm.h"
#include "nccl/marks.h"
#include "nccl/queue.h"

/* One for each message to be sent; those without a payload come from the engine's list. */
struct mfs_nccl_control {
    struct mfs_nccl_control *next; /* free */
    bool whole; /* with room for a payload: not of the list */
    const struct mfs_nccl_ucx *ucx;
    struct mfs_nccl_peer *peer;
    struct mfs_nccl_request *request; /* that has it in flight, or NULL */
    struct mfs_nccl_header header;
    char payload[];
};

static struct mfs_nccl_control *control_get(struct mfs_nccl_engine *engine, size_t bytes)
{
    struct mfs_nccl_control *control = engine->free_controls;

    if (bytes == 0 && control) {
        engine->free_controls = control->next;
        return control;
    }
    control = malloc(sizeof(*control) + bytes);
    if (control)
        control->whole = bytes > 0;
    return control;
}

static void control_put(struct mfs_nccl_engine *engine, struct mfs_nccl_control *control)
{
    if (control->whole) {
        free(control);
        return;
    }
    control->next = engine->free_controls;
    engine->free_controls = control;
}

void mfs_nccl_controls_free(struct mfs_nccl_engine *engine)
{
    while (engine->free_controls) {
        struct mfs_nccl_control *control = engine->free_controls;

        engine->free_controls = control->next;
        free(control);
    }
}

static void on_sent(void *ucx_request, ucs_status_t status, void *user)
{
    struct mfs_nccl_control *control = user;
    const struct mfs_nccl_ucx *ucx = control->ucx;

    if (status != UCS_OK && status != UCS_ERR_CANCELED)
        mfs_nccl_peer_fail(control->peer, ucx->ucs_status_string(status));
    control->peer->controls--;
    if (control->request) {
        control->request->inflight--;
        control->request->comm->inflight--;
        mfs_nccl_engine_finish_later(control->request);
    }
    control_put(control->peer->engine, control);
    ucx->ucp_request_free(ucx_request);
}

static void send_it(struct mfs_nccl_peer *peer, struct mfs_nccl_request *request, unsigned channel,
                    unsigned id, const struct mfs_nccl_header *header, const void *payload,
                    size_t bytes)
{
    struct mfs_nccl_control *control;
    ucs_status_ptr_t result;
    const ucp_request_param_t param = {
        .op_attr_mask =
            UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS,
        .cb.send = on_sent,
        .flags = UCP_AM_SEND_FLAG_EAGER,
        .user_data = control = control_get(peer->engine, bytes),
    };

    if (!control) {
        mfs_nccl_peer_fail(peer, "no memory");
        return;
    }
    if (peer->failed || !peer->eps[channel]) {
        control_put(peer->engine, control);
        return;
    }
    control->ucx = peer->engine->ucx;
    control->peer = peer;
    control->request = request;
    control->header = *header;
    if (bytes > 0)
        memcpy(control->payload, payload, bytes);
    mfs_nccl_mark_say(peer, channel);
    mfs_nccl_mark_look(peer, channel);
    result =
        control->ucx->ucp_am_send_nbx(peer->eps[channel], id, &control->header,
                                      sizeof(control->header), control->payload, bytes, &param);
    mfs_nccl_mark_saw(peer, channel, sizeof(control->header) + bytes);
    if (UCS_PTR_IS_PTR(result)) {
        peer->controls++;
        if (request) {
            request->inflight++;
            request->comm->inflight++;
        }
        return;
    }
    if (UCS_PTR_STATUS(result) != UCS_OK)
        mfs_nccl_peer_fail(peer, control->ucx->ucs_status_string(UCS_PTR_STATUS(result)));
    control_put(peer->engine, control);
}

void mfs_nccl_wire_send(struct mfs_nccl_peer *peer, unsigned channel, unsigned id,
                        const struct mfs_nccl_header *header, const void *payload, size_t bytes)
{
    send_it(peer, NULL, channel, id, header, payload, bytes);
}

void mfs_nccl_wire_send_of(struct mfs_nccl_request *request, unsigned channel, unsigned id,
                           const struct mfs_nccl_header *header)
{
    send_it(request->comm->peer, request, channel, id, header, NULL, 0);
}
