/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/sender_inside.h"

void mfs_sender_config_init(struct mfs_sender_config *config)
{
    memset(config, 0, sizeof(*config));
    mfs_rmlq_config_init(&config->queue);
    mfs_window_config_init(&config->window);
    config->window.window_bytes = UINT64_MAX / 4;
    config->untagged_permille = 50;
    config->lease_ns = 20000000;
}

static void weigher_follow(struct mfs_sender *sender, const struct mfs_policy *policy,
                           const struct mfs_params *params)
{
    sender->weigher.level =
        sender->weigher.clock && policy->weighs ? params->levels - 1 : MFS_WEIGH_NO_LEVEL;
}

int mfs_sender_create(const struct mfs_sender_config *config, struct mfs_sender **out)
{
    struct mfs_sender *sender;
    int error;

    if (config->untagged_permille > 1000 || config->lease_ns <= 0)
        return -EINVAL;
    sender = calloc(1, sizeof(*sender));
    if (!sender)
        return -ENOMEM;
    error = mfs_rmlq_create(&config->queue, &sender->queue);
    if (error) {
        free(sender);
        return error;
    }
    sender->port = config->port ? config->port : &sender->own_port;
    if (!config->port)
        mfs_set(&sender->own_port.rate_Bps, config->queue.params.rate_Bps);
    if (config->queue.watch.told) { /* no memory: no end of a flow is told */
        sender->destinations.departures = mfs_departures_make(sender->queue);
        sender->queue->departures = sender->destinations.departures;
    }
    sender->others = config->others;
    sender->transport = config->transport;
    sender->weigher = config->weigher;
    weigher_follow(sender, config->queue.policy, &config->queue.params);
    sender->destinations.queue = sender->queue;
    sender->told = (struct mfs_told){.rank = MFS_RANK_NONE, .untagged_rank = MFS_RANK_NONE};
    sender->untagged_permille = config->untagged_permille;
    sender->pace_Bps = config->pace_Bps;
    sender->patience.lease_ns = config->lease_ns;
    sender->rate_Bps = sender->patience_rate_Bps = UINT64_MAX; /* none yet */
    sender->learns = !config->rate_known;
    sender->known_Bps = config->rate_known ? config->queue.params.rate_Bps : 0;
    sender->rested = true;
    mfs_window_state_init(&sender->window, &config->window);
    *out = sender;
    return 0;
}

void mfs_sender_destroy(struct mfs_sender *sender)
{
    if (!sender)
        return;
    mfs_rmlq_destroy(sender->queue);
    mfs_departures_free(sender->destinations.departures);
    free(sender);
}

int mfs_sender_open(struct mfs_sender *sender, struct mfs_destination *destination, void *user)
{
    return mfs_destination_open(&sender->destinations, destination, user);
}

void mfs_sender_limit(struct mfs_sender *sender, struct mfs_destination *destination,
                      mfs_rank_t limit)
{
    mfs_destination_limit(&sender->destinations, destination, limit);
}

__attribute__((noinline, cold)) void mfs_sender_share(struct mfs_sender *sender, uint32_t sharers)
{
    if (sender->window.sharers == sharers)
        return;
    mfs_window_state_share(&sender->window, sharers);
    mfs_sender_patience(sender);
}

void mfs_sender_close(struct mfs_sender *sender, struct mfs_destination *destination)
{
    const bool held = destination->inflight_bytes > 0;

    mfs_destination_close(&sender->destinations, destination);
    if (held && sender->others.now)
        mfs_sender_publish(sender, sender->others.now(sender->others.ctx, true));
}

int mfs_sender_set_policy(struct mfs_sender *sender, const struct mfs_policy *policy,
                          const struct mfs_params *params, int64_t now_ns)
{
    struct mfs_params here = *params;
    int error;

    here.rate_Bps = mfs_sender_port_rate(sender);
    error = mfs_rmlq_set_policy(sender->queue, policy, &here, now_ns);
    if (!error)
        weigher_follow(sender, policy, params);
    return error;
}

uint64_t mfs_sender_promotions(struct mfs_sender *sender)
{
    const uint64_t before = sender->promotions;

    sender->promotions = mfs_rmlq_promotions(sender->queue);
    return sender->promotions - before;
}

uint64_t mfs_sender_stalls(struct mfs_sender *sender)
{
    const uint64_t before = sender->stalls;

    sender->stalls = sender->destinations.stalls;
    return sender->stalls - before;
}

uint64_t mfs_sender_chunk(struct mfs_sender *sender)
{
    mfs_window_state_rate(&sender->window, mfs_sender_port_rate(sender));
    return sender->window.chunk_bytes;
}

static const struct mfs_destination *only_busy(const struct mfs_destinations *all)
{
    uint32_t state = 0;

    while (!all->in[state].first)
        state++;
    return all->in[state].first;
}

bool mfs_sender_restless(const struct mfs_sender *sender)
{
    if (mfs_rmlq_operations(sender->queue) == 0)
        return false;
    if (sender->blocked == -EAGAIN) /* its destinations must move first, or a limit end */
        return sender->queue->voqs_limited > 0;
    if (sender->blocked != -ENOBUFS || sender->destinations.busy != 1)
        return true;
    /* its own bytes fill the window: their end is an event, and what waits for the same destination
     * can go no sooner; what waits for others can, when that one turns out to be slow */
    return mfs_rmlq_operations(sender->queue) > only_busy(&sender->destinations)->voq.operations;
}
