/* SPDX-License-Identifier: Apache-2.0 */
/* What fails: a peer with all connections to it, or one connection with all of its messages. */
#include <stdio.h>
#include <string.h>

#include "nccl/comm.h"
#include "nccl/log.h"
#include "nccl/queue.h"

void mfs_nccl_comm_fail(struct mfs_nccl_comm *comm, mfs_nccl_result_t result, const char *reason)
{
    unsigned pending = 0;

    if (comm->result == MFS_NCCL_OK)
        comm->result = result;
    for (unsigned i = 0; i < MFS_NCCL_RING; i++) {
        struct mfs_nccl_request *request = &comm->requests[i];

        if (mfs_get(&request->state) != MFS_NCCL_BUSY)
            continue;
        pending++;
        mfs_nccl_engine_withdraw(comm->engine, request);
        mfs_nccl_request_end(request, comm->result);
    }
    if (pending > 0 && !comm->said) {
        comm->said = true;
        mfs_nccl_warn("%s %s: %s; %u messages fail", comm->sender ? "sending to" : "receiving from",
                      comm->peer ? comm->peer->name : "a peer that is being connected", reason,
                      pending);
    }
}

mfs_nccl_result_t mfs_nccl_comm_refuse(struct mfs_nccl_comm *comm)
{
    if (!comm->said) {
        comm->said = true;
        mfs_nccl_warn("%s %s: %s", comm->sender ? "sending to" : "receiving from",
                      comm->peer ? comm->peer->name : "a peer that is being connected",
                      comm->peer && comm->peer->failed ? comm->peer->reason : "it has failed");
    }
    return comm->result;
}

void mfs_nccl_peer_fail(struct mfs_nccl_peer *peer, const char *reason)
{
    struct mfs_nccl_engine *engine = peer->engine;

    if (peer->failed)
        return;
    peer->failed = true;
    memset(peer->uuid, 0, sizeof(peer->uuid)); /* a new connection makes new endpoints */
    if (reason != peer->reason)
        snprintf(peer->reason, sizeof(peer->reason), "%s", reason);
    for (uint32_t i = 0; i < MFS_NCCL_COMMS_MAX && engine->comm_count > 0; i++) {
        if (engine->comms[i] && engine->comms[i]->peer == peer)
            mfs_nccl_comm_fail(engine->comms[i], MFS_NCCL_REMOTE_ERROR, peer->reason);
    }
}

void mfs_nccl_peer_on_error(void *user, ucp_ep_h ep, ucs_status_t status)
{
    struct mfs_nccl_peer *peer = user;

    (void)ep;
    mfs_nccl_peer_fail(peer, peer->engine->ucx->ucs_status_string(status));
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
