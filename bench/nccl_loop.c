/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring loops of bench/nccl.py:
 *
 *   nccl_loop PLUGIN PATTERN BYTES DEPTH BUDGET_MS RANKS
 *
 * PATTERN: latency (two ranks, one message to and fro, polled without a pause), bandwidth (rank 0
 * sends, DEPTH in flight), ring (every rank to the next), alltoall (every rank to every other, in
 * rounds i -> i + k), paced (rank 0 sends one message every 25 ms and waits for its end). Prints a
 * line "seconds": of one way, of a message of rank 0; paced: of each message, a line each.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nccl_world.h"

static const char *pattern;
static size_t bytes;
static unsigned depth;
static double budget_s;

#define DEPTH_MAX 32

struct way {
    void *send, *recv, *send_mr, *recv_mr;
    char *out, *in;
};

static char *memory(size_t size)
{
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        DIE("no memory");
    memset(at, 1, size);
    return at;
}

/* Send to rank + k, receive from rank - k. */
static void way_open(struct world *world, struct way *way, int k)
{
    void *listener;

    world_listen(world, world->ctx, k, &listener);
    world_connect(world, world->ctx, (world->rank + k) % world->ranks, k, &way->send, listener,
                  &way->recv);
    CALL(world->net->close_listen(listener));
    way->out = memory(bytes);
    way->in = memory(bytes);
    CALL(world->net->reg(way->send, way->out, bytes, MFS_NCCL_PTR_HOST, &way->send_mr));
    CALL(world->net->reg(way->recv, way->in, bytes, MFS_NCCL_PTR_HOST, &way->recv_mr));
}

static void way_close(struct world *world, struct way *way)
{
    CALL(world->net->dereg(way->send, way->send_mr));
    CALL(world->net->dereg(way->recv, way->recv_mr));
    CALL(world->net->close_send(way->send));
    CALL(world->net->close_recv(way->recv));
}

/* As ucx_perftest waits. (NCCL gives the processor away between two looks when nothing moves;
 * here that is a system call of half a microsecond, longer than the message takes.) */
static void spin(struct world *world, void *request)
{
    int done = 0;

    while (!done)
        CALL(world->net->test(request, &done, NULL));
}

static void ping_pong(struct world *world, struct way *way, uint64_t count)
{
    void *next = world_irecv(world, way->recv, way->in, bytes, way->recv_mr);

    for (uint64_t i = 0; i < count; i++) {
        void *send, *now = next;

        if (world->rank == 1)
            spin(world, now);
        if (i + 1 < count || world->rank == 0)
            next =
                i + 1 < count ? world_irecv(world, way->recv, way->in, bytes, way->recv_mr) : NULL;
        send = world_isend(world, way->send, way->out, bytes, way->send_mr);
        spin(world, send);
        if (world->rank == 0)
            spin(world, now);
    }
}

/* One direction of a connection, `depth` in flight. */
struct stream {
    bool sends;
    struct way *way;
    uint64_t posted, done, total;
    void *requests[DEPTH_MAX];
};

static bool step(struct world *world, struct stream *stream)
{
    bool moved = false;

    if (stream->posted < stream->total && stream->posted - stream->done < depth) {
        void *request = NULL, *data = stream->way->in;
        size_t size = bytes;
        int tag = 0;

        if (stream->sends)
            CALL(world->net->isend(stream->way->send, stream->way->out, bytes, 0,
                                   stream->way->send_mr, NULL, &request));
        else
            CALL(world->net->irecv(stream->way->recv, 1, &data, &size, &tag, &stream->way->recv_mr,
                                   NULL, &request));
        if (request)
            stream->requests[stream->posted++ % DEPTH_MAX] = request;
        moved = request != NULL;
    }
    if (stream->done < stream->posted) {
        int done = 0;

        CALL(world->net->test(stream->requests[stream->done % DEPTH_MAX], &done, NULL));
        stream->done += (uint64_t)done;
        moved |= done;
    }
    return moved;
}

static void streams_run(struct world *world, struct stream *streams, unsigned count)
{
    for (bool over = false; !over;) {
        bool moved = false;

        over = true;
        for (unsigned i = 0; i < count; i++) {
            moved |= step(world, &streams[i]);
            over &= streams[i].done == streams[i].total;
        }
        if (!moved)
            sched_yield();
    }
}

static void stream_round(struct world *world, struct way *ways, uint64_t count)
{
    struct stream streams[2 * WORLD_RANKS] = {{0}};
    unsigned used = 0;

    if (strcmp(pattern, "alltoall") == 0) {
        for (int k = 0; k < world->ranks - 1; k++) {
            streams[used++] = (struct stream){.sends = true, .way = &ways[k], .total = count};
            streams[used++] = (struct stream){.sends = false, .way = &ways[k], .total = count};
        }
    } else if (strcmp(pattern, "ring") == 0) {
        streams[used++] = (struct stream){.sends = true, .way = &ways[0], .total = count};
        streams[used++] = (struct stream){.sends = false, .way = &ways[0], .total = count};
    } else {
        streams[used++] =
            (struct stream){.sends = world->rank == 0, .way = &ways[0], .total = count};
    }
    streams_run(world, streams, used);
}

static void once(struct world *world, struct way *ways, uint64_t count)
{
    if (strcmp(pattern, "latency") == 0)
        ping_pong(world, &ways[0], count);
    else
        stream_round(world, ways, count);
}

/* As many as fit in the budget: a trial decides, the same for all ranks. */
static void measure(struct world *world, struct way *ways)
{
    uint64_t count = 8;
    double begun_s, took_s = 0;

    for (;;) {
        world_barrier(world);
        begun_s = world_now_s();
        once(world, ways, count);
        world_barrier(world);
        took_s = world_now_s() - begun_s;
        if (world->rank == 0)
            world->board->numbers[0] = took_s;
        world_barrier(world);
        took_s = world->board->numbers[0];
        if (took_s >= budget_s / 2)
            break;
        count =
            took_s < budget_s / 32 ? 8 * count : (uint64_t)((double)count * budget_s / took_s) + 1;
    }
    if (world->rank == 0)
        printf("%.9g\n", took_s / (double)count / (strcmp(pattern, "latency") == 0 ? 2 : 1));
}

static void paced(struct world *world, struct way *way)
{
    const uint64_t count = (uint64_t)(budget_s / 0.025) + 1;

    for (uint64_t i = 0; i < count; i++) {
        if (world->rank == 0) {
            const double begun_s = world_now_s();
            void *send = world_isend(world, way->send, way->out, bytes, way->send_mr);
            double took_s;

            (void)world_wait(world, send);
            took_s = world_now_s() - begun_s;
            printf("%.9g\n", took_s);
            if (took_s < 0.025)
                usleep((useconds_t)((0.025 - took_s) * 1e6));
        } else {
            (void)world_wait(world, world_irecv(world, way->recv, way->in, bytes, way->recv_mr));
        }
    }
}

static void scene(struct world *world)
{
    const int ways_count = strcmp(pattern, "alltoall") == 0 ? world->ranks - 1 : 1;
    struct way ways[WORLD_RANKS];

    world_open(world);
    for (int k = 0; k < ways_count; k++)
        way_open(world, &ways[k], k + 1);
    world_barrier(world);
    if (strcmp(pattern, "paced") == 0)
        paced(world, &ways[0]);
    else
        measure(world, ways);
    fflush(stdout);
    world_barrier(world);
    for (int k = 0; k < ways_count; k++)
        way_close(world, &ways[k]);
    CALL(world->net->finalize(world->ctx));
}

int main(int argc, char **argv)
{
    struct world world = {.plugin = argv[1], .version = 12};
    int ranks;

    if (argc != 7) {
        fputs("usage: nccl_loop PLUGIN PATTERN BYTES DEPTH BUDGET_MS RANKS\n", stderr);
        return 2;
    }
    pattern = argv[2];
    bytes = strtoull(argv[3], NULL, 10);
    depth = (unsigned)strtoul(argv[4], NULL, 10);
    budget_s = strtod(argv[5], NULL) * 1e-3;
    ranks = atoi(argv[6]);
    if (depth < 1 || depth > DEPTH_MAX || ranks < 2 || ranks > WORLD_RANKS || bytes < 1) {
        fputs("nccl_loop: bytes from 1, depth 1 to 32, ranks 2 to 8\n", stderr);
        return 2;
    }
    return world_run(&world, ranks, -1, scene);
}
