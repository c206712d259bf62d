/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Active messages between two engines. They arrive inside ucp_worker_progress, with the
 * engine's lock held. One for a connection that is closed is dropped, except that REVOKE is
 * answered even then: whoever closed has nothing in flight any more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nccl/comm.h"
#include "nccl/dispatch.h"
#include "nccl/log.h"

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
    result =
        control->ucx->ucp_am_send_nbx(peer->eps[channel], id, &control->header,
                                      sizeof(control->header), control->payload, bytes, &param);
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

static void answer_for_closed(struct mfs_nccl_engine *engine, const struct mfs_nccl_header *header)
{
    unsigned char uuid[16];
    struct mfs_nccl_peer *peer;
    const struct mfs_nccl_header answer = {.comm = (uint32_t)header->bytes,
                                           .generation = (uint32_t)(header->bytes >> 32)};

    memcpy(uuid, &header->at, 8);
    memcpy(uuid + 8, &header->posted, 8);
    peer = mfs_nccl_peer_find(engine, uuid);
    for (unsigned channel = 0; peer && channel < peer->channels; channel++)
        mfs_nccl_wire_send(peer, channel, MFS_NCCL_WIRE_REVOKED, &answer, NULL, 0);
}

void mfs_nccl_wire_refuse(struct mfs_nccl_comm *comm, unsigned id, const char *wrong)
{
    static const char *const names[MFS_NCCL_WIRE_LAST] = {
        [MFS_NCCL_WIRE_EAGER] = "EAGER",     [MFS_NCCL_WIRE_GRANT] = "GRANT",
        [MFS_NCCL_WIRE_FIN] = "FIN",         [MFS_NCCL_WIRE_WANT] = "WANT",
        [MFS_NCCL_WIRE_CLOSE] = "CLOSE",     [MFS_NCCL_WIRE_REVOKE] = "REVOKE",
        [MFS_NCCL_WIRE_REVOKED] = "REVOKED",
    };
    char reason[sizeof(comm->peer->reason)];

    snprintf(reason, sizeof(reason), "it broke the protocol (%s: %s)", names[id], wrong);
    if (comm->peer)
        mfs_nccl_peer_fail(comm->peer, reason);
    else
        mfs_nccl_comm_fail(comm, MFS_NCCL_REMOTE_ERROR, reason);
}

void mfs_nccl_wire_take(struct mfs_nccl_comm *comm, unsigned id,
                        const struct mfs_nccl_header *header, const void *data, size_t bytes)
{
    const bool ends =
        id == MFS_NCCL_WIRE_CLOSE || id == MFS_NCCL_WIRE_REVOKE || id == MFS_NCCL_WIRE_REVOKED;
    const char *wrong;

    if (comm->result != MFS_NCCL_OK && !ends)
        return; /* nothing goes on here but its end */
    wrong = mfs_nccl_wire_wrong(comm, id, header, data, bytes);
    if (wrong) {
        mfs_nccl_wire_refuse(comm, id, wrong);
        return;
    }
    switch (id) {
    case MFS_NCCL_WIRE_GRANT:
        mfs_nccl_send_on_grant(comm, header, data, bytes);
        break;
    case MFS_NCCL_WIRE_FIN:
        mfs_nccl_recv_on_fin(comm, header);
        break;
    case MFS_NCCL_WIRE_WANT:
        mfs_nccl_recv_on_want(comm, header);
        break;
    case MFS_NCCL_WIRE_CLOSE:
        mfs_nccl_recv_on_close(comm, header->seq);
        break;
    case MFS_NCCL_WIRE_REVOKE:
        mfs_nccl_send_on_revoke(comm, header->flags & MFS_NCCL_HEADER_ANSWER);
        break;
    default: /* REVOKED; wire_wrong knows no other */
        comm->revoked++;
        break;
    }
}

/* What UCX hands us lies there whole: nothing that is still to be fetched, and of the length that
 * its kind has. A header that is too short to name a connection is nobody's. */
static struct mfs_nccl_comm *whose(struct mfs_nccl_engine *engine, unsigned id, const void *header,
                                   size_t header_bytes, size_t wanted_bytes,
                                   const ucp_am_recv_param_t *param)
{
    uint32_t name[2];
    struct mfs_nccl_comm *comm = NULL;

    if (header_bytes >= sizeof(name)) {
        memcpy(name, header, sizeof(name));
        comm = mfs_nccl_engine_comm(engine, name[0], name[1]);
    }
    if (comm && (header_bytes != wanted_bytes || param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV)) {
        mfs_nccl_wire_refuse(comm, id, "a header of a length that cannot be");
        return NULL;
    }
    return comm;
}

static void receive(struct mfs_nccl_engine *engine, unsigned id, const void *header,
                    size_t header_bytes, const void *data, size_t bytes,
                    const ucp_am_recv_param_t *param)
{
    struct mfs_nccl_header whole;
    struct mfs_nccl_comm *comm = whose(engine, id, header, header_bytes, sizeof(whole), param);

    if (header_bytes != sizeof(whole) || param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV)
        return;
    memcpy(&whole, header, sizeof(whole));
    if (!comm) {
        if (id == MFS_NCCL_WIRE_REVOKE && whole.flags & MFS_NCCL_HEADER_ANSWER)
            answer_for_closed(engine, &whole);
    } else if (id == MFS_NCCL_WIRE_GRANT && comm->sender && !comm->peer) {
        mfs_nccl_send_keep_grant(comm, &whole, data, bytes);
    } else {
        mfs_nccl_wire_take(comm, id, &whole, data, bytes);
    }
}

#define HANDLER(id)                                                                                \
    static ucs_status_t on_##id(void *engine, const void *header, size_t header_bytes, void *data, \
                                size_t bytes, const ucp_am_recv_param_t *param)                    \
    {                                                                                              \
        receive(engine, MFS_NCCL_WIRE_##id, header, header_bytes, data, bytes, param);             \
        return UCS_OK;                                                                             \
    }

static ucs_status_t on_EAGER(void *engine, const void *header, size_t header_bytes, void *data,
                             size_t bytes, const ucp_am_recv_param_t *param)
{
    struct mfs_nccl_eager_header whole;
    struct mfs_nccl_comm *comm =
        whose(engine, MFS_NCCL_WIRE_EAGER, header, header_bytes, sizeof(whole), param);

    if (comm) {
        memcpy(&whole, header, sizeof(whole));
        mfs_nccl_recv_on_eager(comm, &whole, data, bytes);
    }
    return UCS_OK;
}

HANDLER(GRANT)
HANDLER(FIN)
HANDLER(WANT)
HANDLER(CLOSE)
HANDLER(REVOKE)
HANDLER(REVOKED)

int mfs_nccl_wire_listen(struct mfs_nccl_engine *engine, ucp_worker_h worker)
{
    static const struct {
        unsigned id;
        ucp_am_recv_callback_t handler;
    } handlers[] = {
        {MFS_NCCL_WIRE_EAGER, on_EAGER},     {MFS_NCCL_WIRE_GRANT, on_GRANT},
        {MFS_NCCL_WIRE_FIN, on_FIN},         {MFS_NCCL_WIRE_WANT, on_WANT},
        {MFS_NCCL_WIRE_CLOSE, on_CLOSE},     {MFS_NCCL_WIRE_REVOKE, on_REVOKE},
        {MFS_NCCL_WIRE_REVOKED, on_REVOKED},
    };

    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        const ucp_am_handler_param_t param = {
            .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                          UCP_AM_HANDLER_PARAM_FIELD_ARG | UCP_AM_HANDLER_PARAM_FIELD_FLAGS,
            .id = handlers[i].id,
            .flags = UCP_AM_FLAG_WHOLE_MSG,
            .cb = handlers[i].handler,
            .arg = engine,
        };
        const ucs_status_t status = engine->ucx->ucp_worker_set_am_recv_handler(worker, &param);

        if (status != UCS_OK) {
            mfs_nccl_warn("UCX takes no handler of active messages: %s",
                          engine->ucx->ucs_status_string(status));
            return -EIO;
        }
    }
    return 0;
}
