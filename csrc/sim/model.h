/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a batch costs: computing time, collective bytes, KV bytes, each of one group
 * (layers / groups layers), and what a request alone on an idle cluster takes.
 *
 *   T = sum of new tokens, A = sum of new * (new + 2 reused) over the batch
 *   computing  (linear T / mfu(T) + attention A / mfu_max) / flops * (1 + elementwise)
 *              mfu(T) = mfu_max T / (T + mfu_half)
 *   collective each host sends 2 (m-1)/m allreduce T + (m-1)/m alltoall T/m   bytes a layer
 *   KV         kv_bytes per token and layer
 */
#ifndef MFS_SIM_MODEL_H
#define MFS_SIM_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/types.h"

struct mfs_sim_model {
    uint32_t layers, groups;
    double kv_bytes;        /* per token and layer */
    double allreduce_bytes; /* payload per token and layer, all of a layer together */
    double alltoall_bytes;  /* dispatch and combine, per token and layer */
    double linear_flop;     /* per new token and layer */
    double attention_flop;  /* times new * (new + 2 reused): per layer */
    double flops;           /* of the unit */
    double mfu_max, mfu_half;
    double elementwise;
};

struct mfs_sim_cluster {
    uint32_t units, unit_hosts, decode_hosts, store_hosts; /* decode_hosts 0: the units decode */
    uint32_t nics;          /* per host */
    double link_Bps;
    uint32_t pod_hosts;     /* 0: no pods */
    double oversubscription;
    uint64_t token_budget;
    uint32_t
        node_hosts; /* hosts of a server: among them nothing takes the network; 0, 1: each alone */
    uint32_t zone_hosts; /* a multiple of pod_hosts; 0: no zones */
    double zone_oversubscription; /* against the NICs below, as that of a pod */
    uint32_t
        spread_hosts; /* blocks of so many prefill, decode, store hosts take turns; 0: in order */
};

/* Seconds of a group; work = A above. */
MFS_API double mfs_sim_compute_s(const struct mfs_sim_model *model, double new_tokens, double work);
/* Bytes that each host sends to the others for one group. */
MFS_API double mfs_sim_collective_bytes(const struct mfs_sim_model *model, double new_tokens,
                                        uint32_t unit_hosts);
/* Seconds that they take on the unit's own ports, if nothing else uses these. */
MFS_API double mfs_sim_collective_s(const struct mfs_sim_cluster *cluster,
                                    const struct mfs_sim_model *model, double new_tokens);
/* KV bytes of one group of so many tokens. */
MFS_API double mfs_sim_kv_bytes(const struct mfs_sim_model *model, double tokens);
/* What of them goes to a decode host: nothing where the units decode themselves. */
MFS_API double mfs_sim_p2d_bytes(const struct mfs_sim_cluster *cluster,
                                 const struct mfs_sim_model *model, double tokens);
/*
 * TTFT of a request alone on the cluster, in its own pod. The network serves the collective
 * first, then fetches of earlier groups before later ones; with `together` (fair sharing) all
 * groups' fetches end at once, which is exact where stage 3 of a group ends before the next
 * collective begins.
 */
MFS_API double mfs_sim_alone_s(const struct mfs_sim_cluster *cluster,
                               const struct mfs_sim_model *model, double tokens, double prefix,
                               bool together);

#endif
