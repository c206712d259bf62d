/* SPDX-License-Identifier: Apache-2.0 */
/* NCCL's progress thread with its steps, depths and sizes, and a service thread beside it. */
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "harness.h"

#define STEPS 8 /* of a channel at one time, as NCCL has them */

/* One direction of a channel: `steps` buffers in turn, at most `depth` in flight. */
struct lane {
    void *comm, *mr;
    char *buffers;
    uint64_t channel, posted, done, total;
    unsigned depth;
    void *requests[STEPS];
};

static char *buffer_of(const struct lane *lane, uint64_t n)
{
    return lane->buffers + n % STEPS * MAX_BYTES;
}

static bool send_step(struct world *world, struct lane *lane)
{
    if (lane->posted < lane->total && lane->posted - lane->done < lane->depth) {
        const size_t bytes = size_of(lane->channel, lane->posted);
        void *request = (void *)0xdead; /* a stale pointer, as NCCL's slots hold */

        fill(buffer_of(lane, lane->posted), lane->posted + lane->channel * 1000, bytes);
        CALL(world->net->isend(lane->comm, buffer_of(lane, lane->posted), bytes, world->rank,
                               lane->mr, NULL, &request));
        NEED(request != (void *)0xdead);
        if (request)
            lane->requests[lane->posted++ % STEPS] = request;
    }
    if (lane->done < lane->posted) {
        int done = 0;

        CALL(world->net->test(lane->requests[lane->done % STEPS], &done, NULL));
        lane->done += (uint64_t)done;
    }
    return lane->done == lane->total;
}

static bool recv_step(struct world *world, struct lane *lane)
{
    if (lane->posted < lane->total && lane->posted - lane->done < lane->depth) {
        const size_t bytes = size_of(lane->channel, lane->posted);
        /* room is often larger than what comes */
        size_t room = lane->posted % 3 == 0 ? bytes : MAX_BYTES;
        void *data = buffer_of(lane, lane->posted), *request = (void *)1;
        int tag = 7;

        CALL(world->net->irecv(lane->comm, 1, &data, &room, &tag, &lane->mr, NULL, &request));
        NEED(request != (void *)1);
        if (request)
            lane->requests[lane->posted++ % STEPS] = request;
    }
    if (lane->done < lane->posted) {
        int done = 0, size = -1;

        CALL(world->net->test(lane->requests[lane->done % STEPS], &done, &size));
        if (done) {
            const size_t bytes = size_of(lane->channel, lane->done);
            void *data = buffer_of(lane, lane->done), *request = (void *)1;

            NEED((size_t)size == bytes);
            CALL(world->net->iflush(lane->comm, 1, &data, &size, &lane->mr, &request));
            if (request)
                (void)world_wait(world, request);
            check(world, data, lane->done + lane->channel * 1000, bytes);
            lane->done++;
        }
    }
    return lane->done == lane->total;
}

#define CHANNELS 2

void ring(struct world *world)
{
    const int next = (world->rank + 1) % world->ranks;
    struct lane sends[CHANNELS] = {0}, receives[CHANNELS] = {0};
    unsigned left = 2 * CHANNELS;
    uint64_t state = seed * 77 + (uint64_t)world->rank + 1;

    world_open(world);
    for (int c = 0; c < CHANNELS; c++) {
        void *listener;
        struct lane *lanes[] = {&sends[c], &receives[c]};

        world_listen(world, world->ctx, c, &listener);
        world_connect(world, world->ctx, next, c, &sends[c].comm, listener, &receives[c].comm);
        CALL(world->net->close_listen(listener));
        for (int i = 0; i < 2; i++) {
            lanes[i]->buffers = malloc(STEPS * MAX_BYTES);
            lanes[i]->channel = (uint64_t)c;
            lanes[i]->depth = c == 0 ? 4 : STEPS;
            lanes[i]->total = slow ? 60 : 200;
            CALL(world->net->reg(lanes[i]->comm, lanes[i]->buffers, STEPS * MAX_BYTES,
                                 MFS_NCCL_PTR_HOST, &lanes[i]->mr));
            NEED(lanes[i]->mr);
        }
    }
    service_begin(world);
    for (left = 1; left > 0;) {
        left = 0;
        for (int c = 0; c < CHANNELS; c++) {
            left += !send_step(world, &sends[c]);
            left += !recv_step(world, &receives[c]);
        }
        if (world_random(&state) % 64 == 0)
            usleep(100);
        else
            sched_yield();
    }
    service_end();
    world_barrier(world);
    for (int c = 0; c < CHANNELS; c++) {
        CALL(world->net->dereg(sends[c].comm, sends[c].mr));
        CALL(world->net->dereg(receives[c].comm, receives[c].mr));
        CALL(world->net->close_send(sends[c].comm));
        CALL(world->net->close_recv(receives[c].comm));
        free(sends[c].buffers);
        free(receives[c].buffers);
    }
    CALL(world->net->finalize(world->ctx));
}
