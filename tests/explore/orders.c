/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three senders make four steps each, in every order that there is: 12! / 4!^3 = 34650. A step is
 * as many atomic accesses as the seed says, so that it begins and ends in the middle of what a
 * sender does; what waits is by the seed as well. Behind them all run until nothing waits.
 */
#include "world.h"

#include <limits.h>
#include <string.h>

#define SENDERS 3
#define STEPS 4
#define ROUNDS 20000 /* in which all must have left */

static int turns[SENDERS][STEPS];
static uint64_t count;

static void begin(uint64_t seed)
{
    world_make(seed);
    world.count = SENDERS;
    world.calm = true;
    for (unsigned i = 0; i < SENDERS; i++) {
        struct process *at = &world.processes[i];

        at->first = 2;
        at->every_ns = 1000;
        machine_start(i, process_run, at);
        machine_run(i, INT_MAX);
        for (unsigned k = 0; k < STEPS; k++)
            turns[i][k] = 1 + (int)pick(k + 1 < STEPS ? 24 : 120);
    }
}

static void step(unsigned sender, int turn)
{
    wire_move();
    machine_run(sender, turn);
    machine.now_ns += 4000;
}

static void finish(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t bytes = 0;

        for (unsigned k = 0; k < SENDERS; k++)
            bytes += process_waits(&world.processes[k]);
        if (bytes == 0)
            return;
        step(i % SENDERS, 1000);
    }
    FAIL("something still waits");
}

static void run(uint64_t seed, const char *order)
{
    unsigned made[SENDERS] = {0};

    begin(seed);
    strcpy(world.order, order);
    for (const char *at = order; *at; at++) {
        const unsigned sender = (unsigned)(*at - '0');

        step(sender, turns[sender][made[sender]++]);
    }
    finish();
    count++;
}

/* All that begin with the first `length` of these. */
static void orders(uint64_t seed, char *order, unsigned length, const unsigned left[SENDERS])
{
    if (length == SENDERS * STEPS) {
        order[length] = '\0';
        run(seed, order);
        return;
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        unsigned rest[SENDERS];

        if (left[i] == 0)
            continue;
        memcpy(rest, left, sizeof(rest));
        rest[i]--;
        order[length] = (char)('0' + i);
        orders(seed, order, length + 1, rest);
    }
}

uint64_t orders_explore(uint64_t seed)
{
    static const unsigned all[SENDERS] = {STEPS, STEPS, STEPS};
    char order[SENDERS * STEPS + 1];

    count = 0;
    orders(seed, order, 0, all);
    return count;
}
