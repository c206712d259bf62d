/* SPDX-License-Identifier: Apache-2.0 */
#include "host/queue.h"

#include <string.h>

#include "host/config.h"
#include "host/event.h"
#include "host/attach.h"

static void params_init(const struct mfs_port *port, struct mfs_params *params)
{
    const struct mfs_config *config = mfs_config_get();

    mfs_params_init(params);
    params->levels = (uint32_t)config->levels;
    params->theta_ns = config->theta;
    params->hold_ns = config->hold_max;
    params->patience = (uint32_t)config->patience;
    params->rate_Bps = mfs_port_rate_Bps(port);
    params->rate_margin = mfs_port_rate_margin(port);
    for (uint32_t stage = 0; mfs_stage_name(stage); stage++) {
        if (strcmp(config->untagged_stage, mfs_stage_name(stage)) == 0)
            params->untagged_stage = stage;
    }
}

int mfs_queue_create(struct mfs_host *host, struct mfs_port *port, struct mfs_rmlq **queue)
{
    struct mfs_rmlq_config config;

    mfs_rmlq_config_init(&config);
    config.policy = mfs_host_policy(host);
    config.facts = mfs_request_source(host);
    config.watch = mfs_event_watch(port);
    config.untagged_permille = 0;
    params_init(port, &config.params);
    return mfs_rmlq_create(&config, queue);
}

void mfs_queue_settings(struct mfs_host *host, struct mfs_port *port, struct mfs_rmlq *queue)
{
    struct mfs_params params;

    params_init(port, &params);
    (void)mfs_rmlq_set_policy(queue, mfs_host_policy(host), &params, mfs_now_ns());
}

const _Atomic uint64_t *mfs_host_settings_word(struct mfs_host *host)
{
    return &host->segment->settings_version;
}
