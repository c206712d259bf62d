/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links and routes. Numbers: NIC n of host h is p = h * nics + n; links are egress p,
 * then ingress P + p (P = all NICs), then uplink and downlink of each pod, then of each zone.
 *
 *   egress -> [pod up -> [zone up -> zone down ->] pod down ->] ingress
 *             if pods differ, if zones differ
 *
 * NIC n of one host talks to NIC n of another (rails). Hosts of one server (node_hosts) have
 * something faster among them: it takes no network.
 *
 * SEATS: pods and zones are of neighbouring seats. A host's seat is its number, or, with
 * spread_hosts = b, blocks of b hosts of each role take turns, so that every pod has its share of
 * each: block k of n has its turn at (k + 1/2) / n, of equal ones prefill first, then decode.
 */
#include <errno.h>
#include <math.h>

#include "sim/state.h"

enum { ROLES = 3 };

uint32_t mfs_cluster_hosts(const struct mfs_sim_cluster *cluster)
{
    return cluster->units * cluster->unit_hosts + cluster->decode_hosts + cluster->store_hosts;
}

static uint32_t groups_of(const struct mfs_sim_cluster *cluster, uint32_t size)
{
    return size ? (mfs_cluster_hosts(cluster) + size - 1) / size : 0;
}

uint32_t mfs_sim_links(const struct mfs_sim_cluster *cluster)
{
    return 2 * mfs_cluster_hosts(cluster) * cluster->nics +
           2 * groups_of(cluster, cluster->pod_hosts) + 2 * groups_of(cluster, cluster->zone_hosts);
}

/* --- seats --- */

static void roles_of(const struct mfs_sim_cluster *cluster, uint32_t hosts[ROLES])
{
    hosts[0] = cluster->units * cluster->unit_hosts;
    hosts[1] = cluster->decode_hosts;
    hosts[2] = cluster->store_hosts;
}

/* Of n blocks of another role those whose turn comes before that of block k of m. */
static uint64_t blocks_before(uint64_t n, uint64_t k, uint64_t m, bool first)
{
    const uint64_t turn = (2 * k + 1) * n; /* theirs is (2 j + 1) m */

    return first ? (turn + m) / (2 * m) : (turn + m - 1) / (2 * m);
}

static uint32_t seat_of(const struct mfs_sim_cluster *cluster, uint32_t host)
{
    const uint32_t size = cluster->spread_hosts;
    uint32_t hosts[ROLES], role = 0, block;
    uint64_t before = 0;

    if (size == 0)
        return host;
    roles_of(cluster, hosts);
    while (host >= hosts[role])
        host -= hosts[role++];
    block = host / size;
    for (uint32_t other = 0; other < ROLES; other++) {
        before += other == role
                      ? block
                      : blocks_before(hosts[other] / size, block, hosts[role] / size, other < role);
    }
    return (uint32_t)before * size + host % size;
}

static bool whole_blocks(const struct mfs_sim_cluster *cluster)
{
    uint32_t hosts[ROLES];

    roles_of(cluster, hosts);
    for (uint32_t role = 0; role < ROLES; role++) {
        if (cluster->spread_hosts && hosts[role] % cluster->spread_hosts)
            return false;
    }
    return true;
}

int mfs_cluster_check(const struct mfs_sim_cluster *cluster)
{
    const uint64_t hosts = (uint64_t)cluster->units * cluster->unit_hosts + cluster->decode_hosts +
                           cluster->store_hosts;

    if (cluster->units == 0 || cluster->unit_hosts == 0 || cluster->nics == 0 || hosts > 1u << 20 ||
        cluster->nics > 64 || cluster->unit_hosts > 256 || !(cluster->link_Bps > 0.0) ||
        !isfinite(cluster->link_Bps) || !(cluster->oversubscription > 0.0) ||
        !isfinite(cluster->oversubscription))
        return -EINVAL;
    if (cluster->zone_hosts &&
        (cluster->pod_hosts == 0 || cluster->zone_hosts % cluster->pod_hosts ||
         !(cluster->zone_oversubscription > 0.0) || !isfinite(cluster->zone_oversubscription)))
        return -EINVAL;
    if (cluster->node_hosts > 1 && cluster->pod_hosts % cluster->node_hosts)
        return -EINVAL;
    return whole_blocks(cluster) ? 0 : -EINVAL;
}

/* --- links --- */

static double uplink_Bps(const struct mfs_sim_cluster *cluster, uint32_t hosts, double over)
{
    return (double)hosts * cluster->nics * cluster->link_Bps / over;
}

double mfs_cluster_capacity(const struct mfs_sim_cluster *cluster, uint32_t link)
{
    const uint32_t ports = 2 * mfs_cluster_hosts(cluster) * cluster->nics;

    if (link < ports)
        return cluster->link_Bps;
    if (link < ports + 2 * groups_of(cluster, cluster->pod_hosts))
        return uplink_Bps(cluster, cluster->pod_hosts, cluster->oversubscription);
    return uplink_Bps(cluster, cluster->zone_hosts, cluster->zone_oversubscription);
}

static enum mfs_tier tier_of(const struct mfs_sim_cluster *cluster, uint32_t from, uint32_t to)
{
    if (from == to ||
        (cluster->node_hosts > 1 && from / cluster->node_hosts == to / cluster->node_hosts))
        return MFS_TIER_NODE;
    if (cluster->pod_hosts == 0 || from / cluster->pod_hosts == to / cluster->pod_hosts)
        return MFS_TIER_POD;
    if (cluster->zone_hosts == 0 || from / cluster->zone_hosts == to / cluster->zone_hosts)
        return MFS_TIER_ZONE;
    return MFS_TIER_CORE;
}

enum mfs_tier mfs_cluster_tier(const struct mfs_sim_cluster *cluster, uint32_t from, uint32_t to)
{
    return tier_of(cluster, seat_of(cluster, from), seat_of(cluster, to));
}

double mfs_cluster_tier_Bps(const struct mfs_sim_cluster *cluster, enum mfs_tier tier)
{
    double over = 1.0;

    if (tier == MFS_TIER_NODE)
        return INFINITY;
    if (tier >= MFS_TIER_ZONE)
        over = fmax(over, cluster->oversubscription);
    if (tier >= MFS_TIER_CORE)
        over = fmax(over, cluster->zone_oversubscription);
    return cluster->link_Bps / over;
}

void mfs_cluster_route(const struct mfs_sim_cluster *cluster, uint32_t from, uint32_t to,
                       uint32_t nic, struct mfs_route *route)
{
    const uint32_t ports = mfs_cluster_hosts(cluster) * cluster->nics;
    const uint32_t pods = groups_of(cluster, cluster->pod_hosts);
    const uint32_t zones = groups_of(cluster, cluster->zone_hosts);
    const uint32_t seat_from = seat_of(cluster, from), seat_to = seat_of(cluster, to);
    const enum mfs_tier tier = tier_of(cluster, seat_from, seat_to);

    route->count = 0;
    if (tier == MFS_TIER_NODE)
        return;
    route->link[route->count++] = from * cluster->nics + nic;
    if (tier >= MFS_TIER_ZONE)
        route->link[route->count++] = 2 * ports + seat_from / cluster->pod_hosts;
    if (tier >= MFS_TIER_CORE) {
        route->link[route->count++] = 2 * (ports + pods) + seat_from / cluster->zone_hosts;
        route->link[route->count++] = 2 * (ports + pods) + zones + seat_to / cluster->zone_hosts;
    }
    if (tier >= MFS_TIER_ZONE)
        route->link[route->count++] = 2 * ports + pods + seat_to / cluster->pod_hosts;
    route->link[route->count++] = ports + to * cluster->nics + nic;
}
