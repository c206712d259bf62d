/* SPDX-License-Identifier: Apache-2.0 */
#include "ucx/ep.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "ucx/contacts.h"
#include "ucx/far.h"
#include "ucx/map.h"

static struct mfs_ucx_map eps = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct mfs_ucx_ep *mfs_ucx_ep_find(ucp_ep_h handle)
{
    return mfs_ucx_map_find(&eps, handle);
}

/* A name for people, as far as the caller has given one. */
static void peer_name(const ucp_ep_params_t *params, char *name, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    const struct sockaddr *to = NULL;

    if (params->field_mask & UCP_EP_PARAM_FIELD_NAME && params->name) {
        snprintf(name, size, "%s", params->name);
        return;
    }
    if (params->field_mask & UCP_EP_PARAM_FIELD_SOCK_ADDR)
        to = params->sockaddr.addr;
    if (to && to->sa_family == AF_INET) {
        const struct sockaddr_in *at = (const void *)to;

        inet_ntop(AF_INET, &at->sin_addr, host, sizeof(host));
        snprintf(name, size, "%s:%u", host, ntohs(at->sin_port));
    } else if (to && to->sa_family == AF_INET6) {
        const struct sockaddr_in6 *at = (const void *)to;

        inet_ntop(AF_INET6, &at->sin6_addr, host, sizeof(host));
        snprintf(name, size, "[%.30s]:%u", host, ntohs(at->sin6_port));
    }
}

/* The first port that an endpoint of this process uses is the process's own. */
static void learn(struct mfs_ucx_worker *worker, const char *port)
{
    if (mfs_port_learn(port))
        mfs_ucx_far_move(worker);
}

void mfs_ucx_ep_find_port(struct mfs_ucx_ep *ep)
{
    struct mfs_ucx_worker *worker = ep->worker;
    char name[MFS_PORT_NAME_MAX + 1];
    const bool known = mfs_ucx_port_of(worker->api, ep->handle, &ep->made, name);

    if (known)
        learn(worker, name);
    mfs_ucx_lock(worker);
    if (!mfs_get(&ep->port)) /* else another thread was first */
        mfs_publish(&ep->port, known ? mfs_ucx_port_get(&worker->own, name) : &worker->own);
    mfs_ucx_unlock(worker);
}

void mfs_ucx_ep_add(struct mfs_ucx_worker *worker, ucp_ep_h handle, const ucp_ep_params_t *params)
{
    struct mfs_ucx_ep *ep = calloc(1, sizeof(*ep));
    char port[MFS_PORT_NAME_MAX + 1];

    if (!ep)
        return;
    ep->handle = handle;
    ep->worker = worker;
    peer_name(params, ep->peer, sizeof(ep->peer));
    ep->made.rails = worker->rails;
    ep->made.survives = (params->field_mask & UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE) &&
                        params->err_mode == UCP_ERR_HANDLING_MODE_PEER;
    if (mfs_port_learns() && mfs_ucx_port_of(worker->api, handle, &ep->made, port))
        learn(worker, port);
    ep->far_peer = mfs_ucx_far_peer(worker, params);
    if (mfs_ucx_map_add(&eps, handle, ep) != 0) {
        free(ep);
        return;
    }
    mfs_ucx_contacts_ask(worker->host); /* the agent may have come since the worker was made */
    if ((params->field_mask & UCP_EP_PARAM_FIELD_SOCK_ADDR) && params->sockaddr.addr)
        ep->contact = mfs_ucx_contact_enter(params->sockaddr.addr);
    mfs_ucx_lock(worker);
    ep->next = worker->eps;
    if (worker->eps)
        worker->eps->prev = ep;
    worker->eps = ep;
    mfs_ucx_unlock(worker);
}

void mfs_ucx_ep_forget(struct mfs_ucx_ep *ep)
{
    mfs_ucx_map_remove(&eps, ep->handle);
}

void mfs_ucx_ep_free(struct mfs_ucx_ep *ep)
{
    if (ep->prev)
        ep->prev->next = ep->next;
    else
        ep->worker->eps = ep->next;
    if (ep->next)
        ep->next->prev = ep->prev;
    for (int lane = 0; lane < MFS_UCX_LANES; lane++) {
        if (ep->to[lane].user)
            mfs_sender_close(mfs_ucx_lane(ep, (unsigned)lane)->sender, &ep->to[lane]);
    }
    mfs_ucx_epochs_end(&ep->epochs, &ep->worker->epoch_memory);
    mfs_ucx_contact_leave(ep->contact);
    free(ep);
}

void mfs_ucx_ep_reap(struct mfs_ucx_ep *ep)
{
    if (ep->closed && ep->refs == 0 && ep->pins == 0)
        mfs_ucx_ep_free(ep);
}

void mfs_ucx_ep_outcome(struct mfs_ucx_ep *ep, ucs_status_t status)
{
    if (status == UCS_ERR_CONNECTION_RESET || status == UCS_ERR_ENDPOINT_TIMEOUT ||
        status == UCS_ERR_UNREACHABLE || status == UCS_ERR_NOT_CONNECTED ||
        status == UCS_ERR_REJECTED || status == UCS_ERR_IO_ERROR)
        ep->failed = status; /* what waits for that peer will fail like this */
}
