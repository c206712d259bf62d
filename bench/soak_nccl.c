/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ranks of bench/soak.py with the NCCL net plug-in, which send each other the same bursts:
 *
 *   soak_nccl ACCOUNTS SLOT SECONDS SEED PAUSE_S BURSTS PLUGIN VICTIM
 *
 * The arguments are those of soak_ucx; they connect anew after each BURSTS of them. SLOT is the
 * account of rank 0, SLOT + 1 of rank 1; each counts what it sends as posted and looks at every
 * byte that it receives. A rank whose peer has gone (it was killed) is told so by the plug-in, and
 * ends well; VICTIM is who will be killed, or -1.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nccl_world.h"
#include "soak.h"

#define IDLE_US 50

enum { WORD_ROUND, WORD_ENDS, WORD_PID };

static const char *accounts;
static unsigned slot, bursts;
static double seconds, pause_s;
static uint64_t seed;

struct way {
    void *send, *recv, *send_mr, *recv_mr;
    char *out, *in;
};

static void way_open(struct world *world, struct way *way)
{
    const int other = 1 - world->rank;
    void *listener;

    world_barrier(world);
    atomic_store(&world->board->published[world->rank][0], 0); /* of the one before */
    world_barrier(world);
    world_listen(world, world->ctx, 0, &listener);
    world_connect(world, world->ctx, other, 0, &way->send, listener, &way->recv);
    CALL(world->net->close_listen(listener));
    CALL(world->net->reg(way->send, way->out, SOAK_MEMORY, MFS_NCCL_PTR_HOST, &way->send_mr));
    CALL(world->net->reg(way->recv, way->in, SOAK_MEMORY, MFS_NCCL_PTR_HOST, &way->recv_mr));
}

static void way_close(struct world *world, struct way *way)
{
    CALL(world->net->dereg(way->send, way->send_mr));
    CALL(world->net->dereg(way->recv, way->recv_mr));
    CALL(world->net->close_send(way->send));
    CALL(world->net->close_recv(way->recv));
}

/* The plug-in has reported an error: of this burst nothing more will come. */
static void peer_gone(struct soak_account *account, const struct soak_part *parts, unsigned count,
                      void *const *requests, unsigned sent)
{
    for (unsigned i = 0; i < count; i++) {
        if (i >= sent || requests[2 * i])
            soak_add(&account->failed_bytes, parts[i].bytes);
    }
    atomic_store(&account->over, 1);
    exit(0);
}

/* One message out and one in for each part, in order; waits for all of them. */
static void burst(struct world *world, struct way *way, struct soak_account *account,
                  const struct soak_part *parts, unsigned count)
{
    void *requests[2 * SOAK_BURST] = {NULL};
    unsigned sent = 0, posted = 0, over = 0;

    while (over < 2 * count) {
        bool moved = false;
        int error = 0;

        if (sent < count) {
            error = world->net->isend(way->send, way->out + parts[sent].offset, parts[sent].bytes,
                                      0, way->send_mr, NULL, &requests[2 * sent]);
            moved = !error && requests[2 * sent];
            sent += moved;
        }
        if (!error && posted < count) {
            void *data = way->in + parts[posted].offset, **request = &requests[2 * posted + 1];
            size_t size = parts[posted].bytes;
            int tag = 0;

            error =
                world->net->irecv(way->recv, 1, &data, &size, &tag, &way->recv_mr, NULL, request);
            if (!error && *request) {
                posted++;
                moved = true;
            }
        }
        for (unsigned i = 0; i < 2 * count && !error; i++) {
            int done = 0;

            if (!requests[i])
                continue;
            error = world->net->test(requests[i], &done, NULL);
            if (!error && done) {
                requests[i] = NULL;
                over++;
                moved = true;
            }
        }
        if (error)
            peer_gone(account, parts, count, requests, sent);
        if (!moved)
            usleep(IDLE_US);
    }
}

static void one_burst(struct world *world, struct way *way, struct soak_account *account,
                      uint64_t *random)
{
    struct soak_part parts[SOAK_BURST];
    const unsigned count = soak_burst(random, parts);

    for (unsigned i = 0; i < count; i++) {
        soak_fill(way->out + parts[i].offset, parts[i].bytes,
                  parts[i].seed + (uint64_t)world->rank);
        soak_add(&account->posted_bytes, parts[i].bytes);
    }
    burst(world, way, account, parts, count);
    for (unsigned i = 0; i < count; i++) {
        const size_t wrong = soak_differs(way->in + parts[i].offset, parts[i].bytes,
                                          parts[i].seed + (uint64_t)(1 - world->rank));

        soak_add(&account->wrong_bytes, wrong);
        soak_add(&account->verified_bytes, parts[i].bytes - wrong);
    }
    soak_add(&account->operations, count);
    soak_add(&account->bursts, 1);
}

/* Rank 0 says when the next burst begins, and when there is none: also when it has gone. */
static bool next(struct world *world, uint64_t number, double until_s)
{
    _Atomic uint64_t *words = world->board->words;

    if (world->rank == 0) {
        if (soak_now_s() >= until_s)
            atomic_store(&words[WORD_ENDS], 1);
        atomic_store(&words[WORD_ROUND], number);
    } else {
        while (atomic_load(&words[WORD_ROUND]) < number) {
            if (kill((pid_t)atomic_load(&words[WORD_PID]), 0) != 0)
                return false;
            usleep(500);
        }
    }
    return !atomic_load(&words[WORD_ENDS]);
}

static void scene(struct world *world)
{
    struct soak_account *account = soak_account(accounts, slot + (unsigned)world->rank);
    struct way way;
    double until_s;
    uint64_t random = seed, number = 0;

    alarm((unsigned)seconds + 120);
    way.out =
        mmap(NULL, 2ul * SOAK_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (way.out == MAP_FAILED)
        DIE("no memory");
    way.in = way.out + SOAK_MEMORY;
    memset(way.out, 0, 2ul * SOAK_MEMORY); /* all of it is there from the start */
    if (world->rank == 0)
        atomic_store(&world->board->words[WORD_PID], (uint64_t)getpid());
    world_open(world);
    world_barrier(world);
    until_s = soak_now_s() + seconds;
    for (bool goes_on = next(world, ++number, until_s); goes_on;) {
        way_open(world, &way);
        soak_add(&account->connections, 1);
        for (unsigned i = 0; i < bursts && goes_on; i++) {
            one_burst(world, &way, account, &random);
            if (world->rank == 0)
                soak_pause(pause_s * (double)(number * 997 % 2000) * 1e-3);
            goes_on = next(world, ++number, until_s);
        }
        way_close(world, &way);
    }
    CALL(world->net->finalize(world->ctx));
    atomic_store(&account->over, 1);
}

int main(int argc, char **argv)
{
    struct world world = {.plugin = argv[7], .version = 12};

    if (argc != 9) {
        fputs("usage: soak_nccl ACCOUNTS SLOT SECONDS SEED PAUSE_S BURSTS PLUGIN VICTIM\n", stderr);
        return 2;
    }
    accounts = argv[1];
    slot = (unsigned)strtoul(argv[2], NULL, 10);
    seconds = strtod(argv[3], NULL);
    seed = strtoull(argv[4], NULL, 10);
    pause_s = strtod(argv[5], NULL);
    bursts = (unsigned)strtoul(argv[6], NULL, 10);
    return world_run(&world, 2, atoi(argv[8]), scene);
}
