/* SPDX-License-Identifier: Apache-2.0 */
/* How connections, processes and communicators end. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

/* --- close: whatever is on its way, memory that NCCL has back is not touched any more --- */

void close_under_way(struct world *world)
{
    world_open(world);
    for (int round = 0; round < (slow ? 4 : 12); round++) {
        struct both both;
        uint64_t state = seed * 31 + (uint64_t)round * 17 + (uint64_t)world->rank + 1;
        unsigned spins;
        bool first_dereg = round % 2 == 0;

        both_open(world, &both, round);
        for (int i = 0; i < 4; i++) {
            size_t bytes = MAX_BYTES;
            void *data = both.in + i * MAX_BYTES, *request = NULL, *sent = NULL;
            int tag = 0, refused = 0;

            /* the other side may have closed already: then they return an error, and no request */
            if ((round + world->rank) % 3 != 0)
                refused |= world->net->irecv(both.recv, 1, &data, &bytes, &tag, &both.recv_mr, NULL,
                                             &request);
            if ((round + world->rank) % 4 != 0)
                refused |= world->net->isend(both.send, both.out + i * MAX_BYTES, MAX_BYTES, 0,
                                             both.send_mr, NULL, &sent);
            if (sent)
                request = sent;
            if (request && !refused) {
                int done = 0, result;

                for (spins = (unsigned)world_random(&state) % 200; spins > 0 && !done; spins--) {
                    result = world->net->test(request, &done, NULL);
                    if (result != 0) /* the other side has closed already */
                        break;
                }
            }
        }
        if (first_dereg) {
            CALL(world->net->dereg(both.recv, both.recv_mr));
            CALL(world->net->dereg(both.send, both.send_mr));
        }
        if (world->rank == 0) {
            CALL(world->net->close_send(both.send));
            CALL(world->net->close_recv(both.recv));
        } else {
            CALL(world->net->close_recv(both.recv));
            CALL(world->net->close_send(both.send));
        }
        CALL(world->net->close_listen(both.listener));
        /* a late write or read would end us here */
        munmap(both.in, 4 * MAX_BYTES);
        munmap(both.out, 4 * MAX_BYTES);
        usleep(1000);
        world_barrier(world);
    }
    { /* and the next one works */
        struct both both;

        both_open(world, &both, 60);
        many_at_one_time(world, &both);
        world_barrier(world);
        both_close(world, &both);
    }
    CALL(world->net->finalize(world->ctx));
}

/* --- kill --- */

#define KILL_S 5.0 /* MFS_NCCL_PEER_TIMEOUT of this scene */

void kill_one(struct world *world)
{
    const bool mid_message = seed % 2 == 1;
    struct both both;
    double killed_s, error_s;
    int result = 0, done;

    world_open(world);
    both_open(world, &both, 0);
    world_barrier(world);
    service_begin(world);
    if (world->rank == 0) {
        /* 1: it sends to us and dies; else it only waits, as we do */
        for (int i = 0; mid_message && i < 20; i++)
            (void)world_wait(world,
                             world_isend(world, both.send, both.out, MAX_BYTES, both.send_mr));
        world->board->numbers[0] = world_now_s();
        raise(SIGKILL);
    }
    while (result == 0) { /* of one that only waits the first receive ends in the error already */
        void *data = both.in, *request = NULL;
        size_t bytes = MAX_BYTES;
        int tag = 0;

        result =
            world->net->irecv(both.recv, 1, &data, &bytes, &tag, &both.recv_mr, NULL, &request);
        for (done = 0; request && result == 0 && !done;)
            result = world->net->test(request, &done, NULL);
        NEED(mid_message || result != 0 || !request);
    }
    killed_s = world->board->numbers[0];
    error_s = world_now_s() - killed_s;
    fprintf(stderr, "error after %.2f s\n", error_s);
    NEED(result == MFS_NCCL_REMOTE_ERROR);
    NEED(error_s < KILL_S);
    { /* what is posted afterwards fails as well */
        void *request = (void *)1;

        result = world->net->isend(both.send, both.out, 8, 0, both.send_mr, NULL, &request);
        for (done = 0; request && result == 0 && !done;)
            result = world->net->test(request, &done, NULL);
        NEED(result == MFS_NCCL_REMOTE_ERROR);
    }
    service_end();
    both_close(world, &both);
    CALL(world->net->finalize(world->ctx));
}

/* --- stop: the peer is there, and does not answer --- */

static bool is_stopped(int pid)
{
    char path[64], line[512] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    file = fopen(path, "r");
    if (file) {
        if (!fgets(line, sizeof(line), file))
            line[0] = '\0';
        fclose(file);
    }
    return strstr(line, ") T ") != NULL;
}

/* Rank 1 stops with room granted; rank 0 has messages on their way, and takes all back. */
void stop(struct world *world)
{
    struct both both;
    int done, result = 0;

    world_open(world);
    both_open(world, &both, 0);
    many_at_one_time(world, &both); /* the endpoints are connected: grants go out at once */
    for (int i = 0; i < 4 && world->rank == 1; i++)
        (void)world_irecv(world, both.recv, both.in + i * MAX_BYTES, MAX_BYTES, both.recv_mr);
    world_barrier(world);
    if (world->rank == 1) {
        void *waits;

        world->board->numbers[0] = (double)getpid();
        world_barrier(world);
        raise(SIGSTOP);
        /* on again: the other side has cut us off, or ended */
        waits = world_irecv(world, both.recv, both.in, 8, both.recv_mr);
        for (done = 0; result == 0 && !done;)
            result = world->net->test(waits, &done, NULL);
        NEED(result == MFS_NCCL_REMOTE_ERROR);
    } else {
        void *sends[4], *waits;

        waits = world_irecv(world, both.recv, both.in, MAX_BYTES, both.recv_mr);
        world_barrier(world);
        while (!is_stopped((int)world->board->numbers[0]))
            usleep(1000);
        for (int i = 0; i < 4; i++)
            sends[i] =
                world_isend(world, both.send, both.out + i * MAX_BYTES, MAX_BYTES, both.send_mr);
        for (int i = 0, sent = 0; i < 1000 && !sent; i++) { /* over shared memory it is */
            CALL(world->net->test(sends[3], &sent, NULL));
            CALL(world->net->test(waits, &done, NULL));
        }
    }
    CALL(world->net->dereg(both.send, both.send_mr));
    CALL(world->net->dereg(both.recv, both.recv_mr));
    CALL(world->net->close_send(both.send));
    CALL(world->net->close_recv(both.recv));
    CALL(world->net->close_listen(both.listener));
    munmap(both.in, 4 * MAX_BYTES); /* what is still to be sent is another thing: UCX may read it */
    CALL(world->net->finalize(world->ctx));
    if (world->rank == 0)
        kill((pid_t)world->board->numbers[0], SIGCONT);
}

/* --- abandon: NCCL aborts, and closes nothing --- */

void abandon(struct world *world)
{
    struct both both;
    void *request;
    int done;

    world_open(world);
    both_open(world, &both, 0);
    many_at_one_time(world, &both);
    world_barrier(world);
    for (int i = 0; i < 4; i++)
        (void)world_irecv(world, both.recv, both.in + i * MAX_BYTES, MAX_BYTES, both.recv_mr);
    for (int i = 0; i < 4; i++)
        request = world_isend(world, both.send, both.out + i * MAX_BYTES, MAX_BYTES, both.send_mr);
    for (unsigned i = 0; i < 50 * seed; i++) {
        if (world->net->test(request, &done, NULL) != 0 || done) /* or the other side has gone */
            break;
    }
    CALL(world->net->finalize(world->ctx));
}

/* --- finalize --- */

void finalize(struct world *world)
{
    for (int round = 0; round < 4; round++) {
        struct both both;

        world_open(world);
        both_open(world, &both, round);
        (void)world_wait(world, world_isend(world, both.send, both.out, 64, both.send_mr));
        NEED(world_wait(world, world_irecv(world, both.recv, both.in, 64, both.recv_mr)) == 64);
        world_barrier(world);
        both_close(world, &both);
        CALL(world->net->finalize(world->ctx));
    }
}
