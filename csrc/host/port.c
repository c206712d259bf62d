/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of ports: which cell of the segment is the NIC `name`. A cell belongs to its name as
 * long as a live process has it open; after that it keeps name and learned bandwidth until
 * another name needs the place.
 *
 * A process that dies leaves its bit in the users; reaping takes it away. Within a process the
 * handles are counted, so that the bit goes with the last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/atomic.h"
#include "host/config.h"
#include "host/link.h"
#include "host/name.h"
#include "host/overlap.h"
#include "host/port.h"
#include "host/attach.h"

/* Of a port whose rate is learned: a window that is too small would be all that it learns from. */
#define WINDOW_MIN_BYTES 131072

/* The first estimate. A paced port is no faster than its pace; 0: nothing is known. */
static uint64_t seed_Bps(const char *name)
{
    const struct mfs_config *config = mfs_config_get();

    if (config->port_rate)
        return config->port_rate;
    return config->pace ? config->pace : mfs_link_rate_Bps("/sys", name);
}

static void name_write(struct mfs_port_cell *cell, const char *name)
{
    uint64_t words[MFS_PORT_NAME_WORDS] = {0};

    memcpy(words, name, strlen(name));
    for (size_t i = 0; i < MFS_PORT_NAME_WORDS; i++)
        mfs_set(&cell->name[i], words[i]);
}

/* MFS_PORT_NAME_MAX + 1 bytes. Without the lock it may be half of one and half of another. */
static void name_read(const struct mfs_port_cell *cell, char *name)
{
    uint64_t words[MFS_PORT_NAME_WORDS];

    for (size_t i = 0; i < MFS_PORT_NAME_WORDS; i++)
        words[i] = mfs_get(&cell->name[i]);
    mfs_name_clean(name, MFS_PORT_NAME_MAX + 1, (const char *)words, sizeof(words));
}

static bool named(const struct mfs_port_cell *cell, const char *name, enum mfs_direction direction)
{
    char found[MFS_PORT_NAME_MAX + 1];

    if (!mfs_see(&cell->used) || mfs_get(&cell->direction) != (uint32_t)direction)
        return false;
    name_read(cell, found);
    return strcmp(found, name) == 0;
}

static struct mfs_port_cell *cell_find(struct mfs_segment *segment, const char *name,
                                       enum mfs_direction direction)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        if (named(&segment->ports[i], name, direction))
            return &segment->ports[i];
    }
    return NULL;
}

static bool in_use(struct mfs_host *host, uint32_t index)
{
    for (uint32_t process = 0; process < MFS_PROCESSES_MAX; process++) {
        const bool opened =
            mfs_get(&host->segment->port_users[index].bits[process / 64]) >> process % 64 & 1;

        if (opened && (process != host->process || mfs_get(&host->port_opens[index]) > 0))
            return true;
    }
    return false;
}

/* A cell for another name; the lock is held. NULL: live processes use them all. */
static struct mfs_port_cell *cell_free(struct mfs_host *host)
{
    struct mfs_segment *segment = host->segment;

    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        if (!mfs_see(&segment->ports[i].used))
            return &segment->ports[i];
    }
    mfs_process_reap_locked(host);
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        if (!in_use(host, i))
            return &segment->ports[i];
    }
    return NULL;
}

/* As it is in a new segment. */
static void state_reset(struct mfs_port_state *state, uint64_t rate_Bps)
{
    mfs_set(&state->rate_Bps, rate_Bps);
    mfs_set(&state->untagged_credit, 0);
    mfs_set(&state->pace_next_ns, 0);
    mfs_set(&state->sample_since_ns, 0);
    mfs_set(&state->sample_base, 0);
    mfs_set(&state->sample_full, 0);
    mfs_set(&state->best_Bps, 0);
}

static struct mfs_port_cell *cell_make(struct mfs_host *host, const char *name,
                                       enum mfs_direction direction, uint64_t rate_Bps)
{
    struct mfs_port_cell *cell = cell_free(host);

    if (!cell)
        return NULL;
    mfs_set(&cell->used, 0);
    mfs_set(&cell->senders_high, 0);
    mfs_set(&cell->reap_next_ns, 0);
    mfs_set(&cell->weigh_clock, 0);
    for (uint32_t i = 0; i < MFS_SENDERS_MAX; i++)
        mfs_set(&cell->members[i].key, 0);
    state_reset(&cell->state, rate_Bps);
    name_write(cell, name);
    mfs_set(&cell->direction, direction);
    mfs_publish(&cell->used, 1);
    return cell;
}

static void user_add(struct mfs_host *host, uint32_t index)
{
    mfs_bits_add(&host->segment->port_users[index].bits[host->process / 64],
                 UINT64_C(1) << host->process % 64);
}

/* This process has one handle more, of the port `name`; the lock is held. */
static void use(struct mfs_host *host, uint32_t index, const char *name,
                enum mfs_direction direction)
{
    mfs_add(&host->port_opens[index], 1);
    memcpy(host->port_names[index], name, strlen(name) + 1);
    host->port_directions[index] = (uint8_t)direction;
    user_add(host, index);
}

static void disuse(struct mfs_segment *segment, uint32_t index, uint32_t process)
{
    mfs_bits_keep(&segment->port_users[index].bits[process / 64], ~(UINT64_C(1) << process % 64));
}

static int port_make(struct mfs_host *host, struct mfs_port_cell *cell, bool counted,
                     struct mfs_port **out)
{
    struct mfs_port *port = calloc(1, sizeof(*port));

    if (!port)
        return -ENOMEM;
    *port = (struct mfs_port){.host = host, .cell = cell, .counted = counted, .pid = getpid()};
    *out = port;
    return 0;
}

int mfs_port_open(struct mfs_host *host, const char *name, enum mfs_direction direction,
                  struct mfs_port **out)
{
    char clean[MFS_PORT_NAME_MAX + 1];
    struct mfs_port_cell *cell;
    uint64_t rate_Bps;
    int error;

    if (!name || !*name || strlen(name) > MFS_PORT_NAME_MAX)
        return -EINVAL;
    rate_Bps = seed_Bps(name); /* may read a file: before the lock is taken */
    mfs_name_clean(clean, sizeof(clean), name, sizeof(clean));
    error = mfs_segment_lock(host);
    if (error)
        return error;
    cell = cell_find(host->segment, clean, direction);
    if (!cell) {
        cell = cell_make(host, clean, direction, rate_Bps);
        mfs_overlaps_tell(host);
    }
    error = cell ? port_make(host, cell, true, out) : -ENOSPC;
    if (!error)
        use(host, (uint32_t)(cell - host->segment->ports), clean, direction);
    mfs_segment_unlock(host);
    return error;
}

int mfs_port_find(struct mfs_host *host, const char *name, enum mfs_direction direction,
                  struct mfs_port **out)
{
    char clean[MFS_PORT_NAME_MAX + 1];
    struct mfs_port_cell *cell;

    mfs_name_clean(clean, sizeof(clean), name, sizeof(clean));
    cell = cell_find(host->segment, clean, direction);
    return cell ? port_make(host, cell, false, out) : -ENOENT;
}

int mfs_port_name_at(struct mfs_host *host, uint32_t index, char *name)
{
    if (index >= MFS_PORTS_MAX || !mfs_see(&host->segment->ports[index].used))
        return -ENOENT;
    name_read(&host->segment->ports[index], name);
    return 0;
}

void mfs_port_close(struct mfs_port *port)
{
    if (!port)
        return;
    if (port->counted) {
        struct mfs_host *host = port->host;
        const uint32_t index = (uint32_t)(port->cell - host->segment->ports);

        /* the bit that stays when the lock cannot be had counts no longer: see in_use() */
        if (mfs_sub(&host->port_opens[index], 1) == 1 && mfs_segment_lock(host) == 0) {
            if (mfs_get(&host->port_opens[index]) == 0)
                disuse(host->segment, index, host->process);
            mfs_segment_unlock(host);
        }
    }
    free(port);
}

void mfs_ports_reap(struct mfs_segment *segment, const struct mfs_living *living)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        for (uint32_t k = 0; k < MFS_LIVING_WORDS; k++)
            mfs_bits_keep(&segment->port_users[i].bits[k], living->slots[k]);
    }
}

/* What this process has open is what it was, and it uses no other. */
void mfs_ports_mend(struct mfs_host *host)
{
    for (uint32_t i = 0; i < MFS_PORTS_MAX; i++) {
        struct mfs_port_cell *cell = &host->segment->ports[i];
        const enum mfs_direction direction = (enum mfs_direction)host->port_directions[i];

        if (mfs_get(&host->port_opens[i]) == 0) {
            disuse(host->segment, i, host->process);
            continue;
        }
        user_add(host, i);
        if (!named(cell, host->port_names[i], direction)) {
            name_write(cell, host->port_names[i]);
            mfs_set(&cell->direction, direction);
            mfs_publish(&cell->used, 1);
        }
    }
    mfs_overlaps_tell(host);
}

/* --- what is said of a port --- */

/*
 * GETS: a get is asked for, and then its bytes come: in that time, the way there and back and the
 * peer's next look at its queue, its place in the window is used and nothing arrives. A window that
 * covers less than that is all that the port's rate is learned by, and stays as small as it is. So
 * the floor of the ingress side is four times as high. Its time is not longer: what is under way
 * has no order any more (docs/decisions/0052-the-window-of-gets.md).
 */
void mfs_port_window_config(const struct mfs_port *port, struct mfs_window_config *window)
{
    const bool gets = mfs_get(&port->cell->direction) == MFS_INGRESS;
    const struct mfs_config *config = mfs_config_get();

    mfs_window_config_init(window);
    if (config->chunk > 0)
        window->chunk_min_bytes = window->chunk_max_bytes = config->chunk;
    window->depth_ns = config->window_time;
    window->window_min_bytes = config->port_rate > 0 ? 0 : (gets ? 4 : 1) * WINDOW_MIN_BYTES;
    window->window_bytes = config->window;
}

uint64_t mfs_port_link_Bps(const char *name)
{
    return mfs_link_rate_Bps("/sys", name);
}

uint64_t mfs_port_rate_Bps(const struct mfs_port *port)
{
    return mfs_get(&port->cell->state.rate_Bps);
}

double mfs_port_rate_margin(const struct mfs_port *port)
{
    (void)port;
    return mfs_config_get()->port_rate > 0 ? 1.0 : 2.0;
}

uint64_t mfs_port_window(const struct mfs_port *port)
{
    struct mfs_window_config window;

    mfs_port_window_config(port, &window);
    return mfs_window_bytes(&window, mfs_port_rate_Bps(port));
}

uint64_t mfs_port_chunk(const struct mfs_port *port)
{
    struct mfs_window_config window;

    mfs_port_window_config(port, &window);
    return mfs_window_chunk(&window, mfs_port_rate_Bps(port));
}
