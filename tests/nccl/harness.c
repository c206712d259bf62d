/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plug-in as NCCL uses it, in scenes:  harness PLUGIN VERSION SCENE [SEED]
 *
 *   ring       3 ranks, 2 channels each way; a progress thread with NCCL's steps, depths and
 *              sizes, while a service thread registers and connects on the same device
 *   lines      a thread that polls flags per 8 and per 128 bytes, as LL and LL128 do, while
 *              the progress thread tests
 *   semantics  sizes, zero bytes, stale pointers, 32 messages, several accepts, refusals
 *   threads    four threads on one context
 *   together   many connections set up at the same time
 *   close      connections closed, memory taken back and unmapped with messages on their way
 *   kill       a rank dies of SIGKILL: the others get an error, in time; a service thread goes
 *              on
 *   stop       a rank is stopped with messages on their way: the other takes its memory back
 *   abandon    finalize with messages on their way and nothing closed, as when NCCL aborts
 *   finalize   communicators come and go
 *
 * Exit status 0: all as it must be; anything else: a line on stderr says what was not.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

uint64_t seed = 1;
bool slow;

static unsigned char byte_at(uint64_t number, size_t i)
{
    return (unsigned char)(i * 31 + i / 251 + number * 131);
}

void fill(char *data, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (char)byte_at(number, i);
}

void check(struct world *world, const char *data, uint64_t number, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if ((unsigned char)data[i] != byte_at(number, i))
            DIE("rank %d: message %llu of %zu bytes: byte %zu is wrong", world->rank,
                (unsigned long long)number, bytes, i);
    }
}

static const size_t SIZES[] = {
    0,    1,     7,     8,      120,    128,    129,    4096,          8191,     8192,
    8193, 65536, 65537, 131072, 300000, 524288, 614400, MAX_BYTES - 1, MAX_BYTES};

size_t size_of(uint64_t channel, uint64_t n)
{
    uint64_t state = seed * 1000003 + channel * 7919 + n * 104729 + 1;

    (void)world_random(&state);
    return SIZES[world_random(&state) % (sizeof(SIZES) / sizeof(SIZES[0]))];
}

/* --- two ranks, a connection each way --- */

void both_open(struct world *world, struct both *both, int slot)
{
    world_listen(world, world->ctx, slot, &both->listener);
    world_connect(world, world->ctx, 1 - world->rank, slot, &both->send, both->listener,
                  &both->recv);
    both->out =
        mmap(NULL, 4 * MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    both->in =
        mmap(NULL, 4 * MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CALL(world->net->reg(both->send, both->out, 4 * MAX_BYTES, MFS_NCCL_PTR_HOST, &both->send_mr));
    CALL(world->net->reg(both->recv, both->in, 4 * MAX_BYTES, MFS_NCCL_PTR_HOST, &both->recv_mr));
}

void both_close(struct world *world, struct both *both)
{
    CALL(world->net->dereg(both->send, both->send_mr));
    CALL(world->net->dereg(both->recv, both->recv_mr));
    CALL(world->net->close_send(both->send));
    CALL(world->net->close_recv(both->recv));
    CALL(world->net->close_listen(both->listener));
    munmap(both->out, 4 * MAX_BYTES);
    munmap(both->in, 4 * MAX_BYTES);
}

void many_at_one_time(struct world *world, struct both *both)
{
    void *sends[32], *receives[32];

    for (int i = 0; i < 32; i++) {
        fill(both->out + i * 65536, (uint64_t)i, 1000 + (size_t)i * 997);
        receives[i] = world_irecv(world, both->recv, both->in + i * 65536, 65536, both->recv_mr);
    }
    for (int i = 0; i < 32; i++)
        sends[i] = world_isend(world, both->send, both->out + i * 65536, 1000 + (size_t)i * 997,
                               both->send_mr);
    for (int i = 0; i < 32; i++) {
        NEED(world_wait(world, receives[i]) == 1000 + i * 997);
        check(world, both->in + i * 65536, (uint64_t)i, 1000 + (size_t)i * 997);
        (void)world_wait(world, sends[i]);
    }
}

/* --- NCCL's service thread --- */

static _Atomic bool service_over;
static pthread_t service_thread;

/* Registers and connects to itself all the time, as other communicators' set-up would. */
static void *service(void *argument)
{
    struct world *world = argument;
    char *memory = malloc(1 << 16);

    while (!atomic_load(&service_over)) {
        char handle[MFS_NCCL_HANDLE_BYTES];
        void *listener, *sender = NULL, *receiver = NULL, *mr, *device = NULL;

        CALL(world->net->listen(world->ctx, 0, handle, &listener));
        while (!sender || !receiver) {
            if (!sender)
                CALL(world->net->connect(world->ctx, 0, handle, &sender, &device));
            if (!receiver)
                CALL(world->net->accept(listener, &receiver, &device));
            sched_yield();
        }
        CALL(world->net->close_listen(listener));
        CALL(world->net->reg(sender, memory, 1 << 16, MFS_NCCL_PTR_HOST, &mr));
        NEED(mr);
        CALL(world->net->dereg(sender, mr));
        CALL(world->net->dereg(sender, NULL));
        CALL(world->net->close_send(sender));
        CALL(world->net->close_recv(receiver));
        usleep(1000);
    }
    free(memory);
    return NULL;
}

void service_begin(struct world *world)
{
    if (pthread_create(&service_thread, NULL, service, world) != 0)
        DIE("pthread_create");
}

void service_end(void)
{
    atomic_store(&service_over, true);
    pthread_join(service_thread, NULL);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int ranks, victim;
        void (*run)(struct world *);
    } scenes[] = {
        {"ring", 3, -1, ring},           {"lines", 2, -1, lines},
        {"semantics", 2, -1, semantics}, {"threads", 2, -1, threads},
        {"together", 2, -1, together},   {"close", 2, -1, close_under_way},
        {"kill", 2, 0, kill_one},        {"stop", 2, -1, stop},
        {"abandon", 2, -1, abandon},     {"finalize", 2, -1, finalize},
    };
    struct world world = {.plugin = argv[1]};

    if (argc < 4) {
        fputs("usage: harness PLUGIN VERSION SCENE [SEED]\n", stderr);
        return 2;
    }
    world.version = atoi(argv[2]);
    seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
    slow = getenv("HARNESS_SLOW") != NULL;
    for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++) {
        if (strcmp(argv[3], scenes[i].name) == 0)
            return world_run(&world, scenes[i].ranks, scenes[i].victim, scenes[i].run);
    }
    fprintf(stderr, "no scene %s\n", argv[3]);
    return 2;
}
