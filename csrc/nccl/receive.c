/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Active messages that come from another engine. They arrive inside ucp_worker_progress, with the
 * engine's lock held. One for a connection that is closed is dropped, except that REVOKE is
 * answered even then: whoever closed has nothing in flight any more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nccl/comm.h"
#include "nccl/log.h"

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

void mfs_nccl_comm_connected(struct mfs_nccl_comm *comm, struct mfs_nccl_peer *peer, uint32_t index,
                             uint32_t generation)
{
    comm->peer = peer;
    comm->remote_index = index;
    comm->remote_generation = generation;
    while (comm->early) {
        struct mfs_nccl_early *early = comm->early;

        comm->early = early->next;
        mfs_nccl_wire_take(comm, MFS_NCCL_WIRE_GRANT, &early->header, early->payload, early->bytes);
        free(early);
    }
    if (peer->failed)
        mfs_nccl_comm_fail(comm, MFS_NCCL_REMOTE_ERROR, peer->reason);
    else if (comm->sender)
        mfs_nccl_send_answer_revoke(comm);
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
