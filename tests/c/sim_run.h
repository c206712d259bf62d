/* SPDX-License-Identifier: Apache-2.0 */
/* One small run of the simulator, for tests: a cluster of two pods, requests that come quickly. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "sim/sim.h"

#include <math.h>

#include "test.h"

#define REQUESTS 40
#define LINKS 24

struct run {
    struct mfs_sim_cluster cluster;
    struct mfs_sim_model model;
    struct mfs_sim_options options;
    struct mfs_sim_requests requests;
    struct mfs_sim_outcome outcome;
    double arrival_s[REQUESTS], deadline_s[REQUESTS], draw[REQUESTS];
    int64_t tokens[REQUESTS], prefix[REQUESTS];
    double first_token_s[REQUESTS], times_s[3][REQUESTS], port_bytes[LINKS];
    int64_t places[3][REQUESTS];
    uint8_t given_up[REQUESTS];
};

static void run_init(struct run *run)
{
    uint64_t seed = 11;

    memset(run, 0, sizeof(*run));
    run->cluster = (struct mfs_sim_cluster){.units = 2,
                                            .unit_hosts = 2,
                                            .decode_hosts = 4,
                                            .nics = 1,
                                            .link_Bps = 4e9,
                                            .pod_hosts = 4,
                                            .oversubscription = 2.0,
                                            .token_budget = 4096};
    run->model =
        (struct mfs_sim_model){32, 4, 4096.0, 0.0, 32768.0, 8e8, 8192.0, 2.5e15, 0.74, 100.0, 0.05};
    run->options = (struct mfs_sim_options){.policy = "mfs",
                                            .hopeless = -1,
                                            .shed = -1,
                                            .classes = 4,
                                            .pressure_delay_s = 1e-3,
                                            .levels = 8,
                                            .mlu_base = 4.0,
                                            .mlu_top = 0.5,
                                            .interval_s = 5e-3,
                                            .inherit = true,
                                            .red = true,
                                            .prune = true,
                                            .replicas = 2,
                                            .routing_slack = 1.5,
                                            .batch_slack_s = 0.5};
    for (int i = 0; i < REQUESTS; i++) {
        run->arrival_s[i] = 0.01 * i;
        run->tokens[i] = 100 + (int64_t)(test_random(&seed) % 4000);
        run->prefix[i] = i % 3 ? run->tokens[i] / 2 : 0;
        run->deadline_s[i] = run->arrival_s[i] + 0.1 + 0.01 * (double)(test_random(&seed) % 30);
        run->draw[i] = (double)(test_random(&seed) % 1000) / 1000.0;
    }
    run->requests = (struct mfs_sim_requests){
        REQUESTS, run->arrival_s, run->tokens, run->prefix, run->deadline_s, run->draw, NULL, NULL};
    run->outcome = (struct mfs_sim_outcome){.first_token_s = run->first_token_s,
                                            .fetch_done_s = run->times_s[0],
                                            .compute_start_s = run->times_s[1],
                                            .compute_done_s = run->times_s[2],
                                            .unit = run->places[0],
                                            .decode_host = run->places[1],
                                            .store_host = run->places[2],
                                            .given_up = run->given_up,
                                            .port_bytes = run->port_bytes};
}

static int run_go(struct run *run, bool trace)
{
    return mfs_sim_run(&run->cluster, &run->model, &run->requests, &run->options, trace, NULL, NULL,
                       &run->outcome);
}

#endif
