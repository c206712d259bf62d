/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links and routes. Numbers: NIC n of host h is p = h * nics + n; links are egress p,
 * then ingress P + p (P = all NICs), then uplink and downlink of each pod.
 *
 *   egress(src) -> [pod up(src) -> pod down(dst), if pods differ] -> ingress(dst)
 *
 * NIC n of one host talks to NIC n of another (rails).
 */
#include <errno.h>
#include <math.h>

#include "sim/state.h"

uint32_t mfs_cluster_hosts(const struct mfs_sim_cluster *cluster)
{
    return cluster->units * cluster->unit_hosts + cluster->decode_hosts + cluster->store_hosts;
}

static uint32_t pods(const struct mfs_sim_cluster *cluster)
{
    return cluster->pod_hosts
               ? (mfs_cluster_hosts(cluster) + cluster->pod_hosts - 1) / cluster->pod_hosts
               : 0;
}

uint32_t mfs_sim_links(const struct mfs_sim_cluster *cluster)
{
    return 2 * mfs_cluster_hosts(cluster) * cluster->nics + 2 * pods(cluster);
}

int mfs_cluster_check(const struct mfs_sim_cluster *cluster)
{
    const uint64_t hosts = (uint64_t)cluster->units * cluster->unit_hosts + cluster->decode_hosts +
                           cluster->store_hosts;

    if (cluster->units == 0 || cluster->unit_hosts == 0 || cluster->decode_hosts == 0 ||
        cluster->nics == 0 || hosts > 1u << 20 || cluster->nics > 64 || cluster->unit_hosts > 256 ||
        !(cluster->link_Bps > 0.0) || !isfinite(cluster->link_Bps) ||
        !(cluster->oversubscription > 0.0) || !isfinite(cluster->oversubscription))
        return -EINVAL;
    return 0;
}

double mfs_cluster_capacity(const struct mfs_sim_cluster *cluster, uint32_t link)
{
    if (link < 2 * mfs_cluster_hosts(cluster) * cluster->nics)
        return cluster->link_Bps;
    return (double)cluster->pod_hosts * cluster->nics * cluster->link_Bps /
           cluster->oversubscription;
}

void mfs_cluster_route(const struct mfs_sim_cluster *cluster, uint32_t from, uint32_t to,
                       uint32_t nic, struct mfs_route *route)
{
    const uint32_t ports = mfs_cluster_hosts(cluster) * cluster->nics;

    route->count = 0;
    if (from == to)
        return;
    route->link[route->count++] = from * cluster->nics + nic;
    if (cluster->pod_hosts && from / cluster->pod_hosts != to / cluster->pod_hosts) {
        route->link[route->count++] = 2 * ports + from / cluster->pod_hosts;
        route->link[route->count++] = 2 * ports + pods(cluster) + to / cluster->pod_hosts;
    }
    route->link[route->count++] = ports + to * cluster->nics + nic;
}
