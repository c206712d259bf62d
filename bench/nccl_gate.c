/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seconds of CPU time of one isend and its test, nothing waiting:
 *     nccl_gate PLUGIN BYTES
 * PLUGIN: bench/nccl_null.c by itself, or ours with MFS_NCCL_INNER naming that.
 */
#include <stdlib.h>
#include <time.h>

#include "nccl_world.h"

#define ROUNDS 2000000

static double cpu_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    struct world one = {.plugin = argv[1]}, *world = &one;
    char handle[MFS_NCCL_HANDLE_BYTES] = {0}, data[8] = {0};
    size_t bytes;
    void *comm = NULL, *device = NULL;
    double begun_s;

    if (argc != 3)
        return 2;
    bytes = strtoull(argv[2], NULL, 10);
    world_open(world);
    CALL(world->net->connect(world->ctx, 0, handle, &comm, &device));
    begun_s = cpu_s();
    for (int i = 0; i < ROUNDS; i++) {
        void *request = NULL;
        int done = 0;

        while (!request)
            CALL(world->net->isend(comm, data, bytes, 0, NULL, NULL, &request));
        while (!done)
            CALL(world->net->test(request, &done, NULL));
    }
    printf("%.9g\n", (cpu_s() - begun_s) / ROUNDS);
    return 0;
}
