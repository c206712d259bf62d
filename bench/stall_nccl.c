/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scenes of bench/stall.py with the NCCL net plug-in:
 *
 *   stall_nccl PLUGIN same|other DEPTH BYTES
 *
 * Every receiver has as many receives posted as the sender has messages under way.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "stall_world.h"

#define RANKS 6

struct way {
    void *comm, *mr, *requests[DEPTH_MAX];
};

static struct way ways[RANKS]; /* a sender's, by receiver; a receiver's own in [0] */
static char *memory;

/* The slot under which a receiver listens, for whoever sends to it. */
#define SLOT 1

static void nccl_connect(struct load *load)
{
    struct world *world = load->world;
    const bool sends = world->rank == SENDER || world->rank == OTHER;

    memory = mmap(NULL, load->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        DIE("no memory");
    memset(memory, 1, load->bytes);
    world_open(world);
    if (!sends) {
        void *listener;

        world_listen(world, world->ctx, SLOT, &listener);
        world_connect(world, world->ctx, -1, SLOT, NULL, listener, &ways[0].comm);
        CALL(world->net->close_listen(listener));
        CALL(world->net->reg(ways[0].comm, memory, load->bytes, MFS_NCCL_PTR_HOST, &ways[0].mr));
    }
    for (int receiver = 1; sends && receiver <= SICK; receiver++) {
        struct way *way = &ways[receiver];

        if (!load_has(load, receiver))
            continue;
        world_connect(world, world->ctx, receiver, SLOT, &way->comm, NULL, NULL);
        CALL(world->net->reg(way->comm, memory, load->bytes, MFS_NCCL_PTR_HOST, &way->mr));
    }
}

/* Messages of one connection that have ended; as many are begun anew. */
static unsigned way_step(struct load *load, struct way *way, bool sends, bool posts)
{
    struct world *world = load->world;
    unsigned ended = 0;

    for (unsigned i = 0; i < load->depth; i++) {
        void *data = memory;
        size_t size = load->bytes;
        int done = 0, tag = 0;

        if (way->requests[i]) {
            CALL(world->net->test(way->requests[i], &done, NULL));
            if (!done)
                continue;
            way->requests[i] = NULL;
            ended++;
        }
        if (posts && sends)
            CALL(world->net->isend(way->comm, data, size, world->rank, way->mr, NULL,
                                   &way->requests[i]));
        else if (posts)
            CALL(world->net->irecv(way->comm, 1, &data, &size, &tag, &way->mr, NULL,
                                   &way->requests[i]));
    }
    return ended;
}

static bool nccl_step(struct load *load, bool posts)
{
    bool moved = false;

    for (int receiver = 1; receiver <= SICK; receiver++) {
        uint64_t *done = receiver == SICK ? &load->sick_done : &load->healthy_done;
        unsigned ended;

        if (!ways[receiver].comm)
            continue;
        ended = way_step(load, &ways[receiver], true, posts);
        *done += (uint64_t)ended * load->bytes;
        moved |= ended > 0;
    }
    return moved;
}

static bool nccl_receive(struct load *load)
{
    return way_step(load, &ways[0], false, true) > 0;
}

static struct load load = {.connect = nccl_connect, .step = nccl_step};

static void scene(struct world *world)
{
    load.world = world;
    if (world->rank == SENDER || world->rank == OTHER)
        load_send(&load);
    load_receive(&load, nccl_receive);
}

int main(int argc, char **argv)
{
    struct world world = {.plugin = argv[1], .version = 12};

    if (argc != 5) {
        fputs("usage: stall_nccl PLUGIN same|other DEPTH BYTES\n", stderr);
        return 2;
    }
    load.other = strcmp(argv[2], "other") == 0;
    load.depth = (unsigned)strtoul(argv[3], NULL, 10);
    load.bytes = strtoull(argv[4], NULL, 10);
    if (load.depth < 1 || load.depth > DEPTH_MAX || load.bytes < 1) {
        fputs("stall_nccl: depth 1 to 32, bytes from 1\n", stderr);
        return 2;
    }
    return world_run(&world, load.other ? RANKS : RANKS - 1, -1, scene);
}
