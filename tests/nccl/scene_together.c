/* SPDX-License-Identifier: Apache-2.0 */
/* Many connections between two ranks that are set up at the same time, as NCCL's channels are. */
#include <sched.h>
#include <string.h>

#include "harness.h"

#define COUNT 16
#define LONGER_S 0.5 /* than a side takes to tell that the other one has gone */

void together(struct world *world)
{
    void *listeners[COUNT], *sends[COUNT] = {NULL}, *receives[COUNT] = {NULL};
    void *send_mrs[COUNT], *recv_mrs[COUNT];
    char handles[COUNT][MFS_NCCL_HANDLE_BYTES];
    static char out[64], in[64];
    const int other = 1 - world->rank;
    double until_s;
    int missing = 2 * COUNT;
    bool over;

    world_open(world);
    for (int i = 0; i < COUNT; i++)
        world_listen(world, world->ctx, i, &listeners[i]);
    for (int i = 0; i < COUNT; i++)
        world_handle(world, other, i, handles[i]);
    while (missing > 0) {
        for (int i = 0; i < COUNT; i++) {
            void *device = NULL;

            if (!sends[i]) {
                CALL(world->net->connect(world->ctx, 0, handles[i], &sends[i], &device));
                missing -= sends[i] != NULL;
            }
            if (!receives[i]) {
                CALL(world->net->accept(listeners[i], &receives[i], &device));
                missing -= receives[i] != NULL;
            }
        }
        sched_yield();
    }
    for (int i = 0; i < COUNT; i++) {
        CALL(world->net->close_listen(listeners[i]));
        CALL(world->net->reg(sends[i], out, sizeof(out), MFS_NCCL_PTR_HOST, &send_mrs[i]));
        CALL(world->net->reg(receives[i], in, sizeof(in), MFS_NCCL_PTR_HOST, &recv_mrs[i]));
    }
    until_s = world_now_s() + LONGER_S;
    do { /* test() says it if one side takes the other for dead */
        for (int i = 0; i < COUNT; i++) {
            void *request = world_irecv(world, receives[i], in, sizeof(in), recv_mrs[i]);
            void *sent = world_isend(world, sends[i], out, sizeof(out), send_mrs[i]);

            NEED(world_wait(world, request) == (int)sizeof(in));
            (void)world_wait(world, sent);
        }
        atomic_store(&world->board->words[world->rank], world_now_s() >= until_s);
        world_barrier(world);
        over = atomic_load(&world->board->words[0]) && atomic_load(&world->board->words[1]);
        world_barrier(world); /* both have seen the same */
    } while (!over);
    for (int i = 0; i < COUNT; i++) {
        CALL(world->net->dereg(sends[i], send_mrs[i]));
        CALL(world->net->dereg(receives[i], recv_mrs[i]));
        CALL(world->net->close_send(sends[i]));
        CALL(world->net->close_recv(receives[i]));
    }
    world_barrier(world);
    CALL(world->net->finalize(world->ctx));
}
