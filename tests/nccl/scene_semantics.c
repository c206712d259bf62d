/* SPDX-License-Identifier: Apache-2.0 */
/* What the calls promise: sizes, zero bytes, early and late messages, refusals. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

static int test_until(struct world *world, void *request, int *size)
{
    int done = 0, result = 0;

    while (!done && result == 0) {
        result = world->net->test(request, &done, size);
        sched_yield();
    }
    return result;
}

/* Both sides hear of a message that is larger than the room for it. */
static void too_large(struct world *world, size_t bytes, size_t room, int slot)
{
    struct both both;
    int size = -1;

    both_open(world, &both, slot);
    if (world->rank == 0) {
        void *request = world_irecv(world, both.recv, both.in, room, both.recv_mr);

        NEED(test_until(world, request, &size) == MFS_NCCL_INVALID_USAGE);
    } else {
        void *request = world_isend(world, both.send, both.out, bytes, both.send_mr);
        const int result = test_until(world, request, &size);

        /* a small one may have left before its receiver said how much room there is */
        NEED(result == MFS_NCCL_INVALID_USAGE || (result == 0 && bytes <= 8192));
    }
    world_barrier(world);
    both_close(world, &both);
}

static void several_accepts(struct world *world)
{
    void *listener, *device = NULL, *sends[3] = {NULL}, *receives[3] = {NULL};
    char handles[3][MFS_NCCL_HANDLE_BYTES];
    unsigned connected = 0, accepted = 0;

    world_listen(world, world->ctx, 40, &listener);
    for (int i = 0; i < 3; i++)
        world_handle(world, 1 - world->rank, 40, handles[i]);
    while (connected < 3 || accepted < 3) {
        void *one = (void *)1;

        for (int i = 0; i < 3; i++) { /* three at a time, each with its buffer */
            if (sends[i])
                continue;
            CALL(world->net->connect(world->ctx, 0, handles[i], &sends[i], &device));
            connected += sends[i] != NULL;
        }
        CALL(world->net->accept(listener, &one, &device));
        NEED(one != (void *)1);
        if (one && accepted < 3)
            receives[accepted++] = one;
    }
    world_barrier(world);
    for (int i = 0; i < 3; i++) {
        CALL(world->net->close_send(sends[i]));
        CALL(world->net->close_recv(receives[i]));
    }
    CALL(world->net->close_listen(listener));
}

static void refusals(struct world *world, bool plain)
{
    char handle[MFS_NCCL_HANDLE_BYTES], bad[MFS_NCCL_HANDLE_BYTES];
    void *listener, *comm = (void *)1, *device = NULL;

    CALL(world->net->listen(world->ctx, 0, handle, &listener));
    memcpy(bad, handle, sizeof(bad));
    bad[0] ^= 1; /* magic */
    NEED(world->net->connect(world->ctx, 0, bad, &comm, &device) != 0 && !comm);
    memcpy(bad, handle, sizeof(bad));
    bad[8] += 1; /* wire version, the second word */
    comm = (void *)1;
    NEED(!plain || (world->net->connect(world->ctx, 0, bad, &comm, &device) != 0 && !comm));
    CALL(world->net->close_listen(listener));
}

void semantics(struct world *world)
{
    struct mfs_nccl_properties_v12 properties = {0};
    struct both both;
    void *request;
    int size = -1, done = -1;

    world_open(world);
    CALL(world->net->properties(0, &properties));
    NEED(properties.name && *properties.name);
    NEED(properties.ptr_support == MFS_NCCL_PTR_HOST);
    NEED(properties.reg_is_global == 0 && properties.max_recvs >= 1);
    NEED(properties.max_p2p_bytes > 0 && properties.max_p2p_bytes <= (size_t)1 << 40);
    both_open(world, &both, 0);
    many_at_one_time(world, &both);
    /* nothing to receive yet: not done, and `sizes` may be left out */
    request = world_irecv(world, both.recv, both.in, 0, both.recv_mr);
    CALL(world->net->test(request, &done, NULL));
    NEED(done == 0);
    world_barrier(world);
    (void)world_wait(world, world_isend(world, both.send, both.out, 0, both.send_mr));
    NEED(world_wait(world, request) == 0);
    /* none of a large room is used */
    request = world_irecv(world, both.recv, both.in, 4 * MAX_BYTES, both.recv_mr);
    (void)world_wait(world, world_isend(world, both.send, both.out, 0, both.send_mr));
    NEED(world_wait(world, request) == 0);
    /* small ones before their irecv */
    fill(both.out, 5, 100);
    for (int i = 0; i < 8; i++)
        (void)world_wait(world, world_isend(world, both.send, both.out, 100, both.send_mr));
    world_barrier(world);
    for (int i = 0; i < 8; i++) {
        memset(both.in, 0, 100);
        request = world_irecv(world, both.recv, both.in, 100, both.recv_mr);
        NEED(world_wait(world, request) == 100);
        check(world, both.in, 5, 100);
    }
    /* a large one before its irecv */
    fill(both.out, 6, MAX_BYTES);
    request = world_isend(world, both.send, both.out, MAX_BYTES, both.send_mr);
    CALL(world->net->test(request, &done, &size));
    world_barrier(world);
    void *late = world_irecv(world, both.recv, both.in, MAX_BYTES, both.recv_mr);
    (void)world_wait(world, request);
    NEED(world_wait(world, late) == (int)MAX_BYTES);
    check(world, both.in, 6, MAX_BYTES);
    world_barrier(world);
    both_close(world, &both);
    too_large(world, 100, 50, 1);
    too_large(world, 300000, 100, 2);
    too_large(world, 300000, 200000, 3);
    several_accepts(world);
    refusals(world, getenv("MFS_NCCL_INNER") == NULL);
    world_barrier(world);
    CALL(world->net->finalize(world->ctx));
}
