/* SPDX-License-Identifier: Apache-2.0 */
/* The wire: one chunk after the other, in the order of posting among those whose destination takes
 * bytes. */
#include "world.h"

#include <string.h>

void wire_post(struct to *to, struct operation *operation, uint64_t bytes)
{
    CHECK(world.flights_count < FLIGHTS);
    world.flights[world.flights_count++] = (struct flight){to, operation, bytes, false};
    wire_move();
}

static int64_t free_ns(const struct to *to)
{
    return to->free_ns > to->until_ns ? to->free_ns : to->until_ns;
}

static int64_t takes_ns(uint64_t bytes)
{
    return (int64_t)(bytes * 1000000000 / world.rate_Bps) + 1;
}

static void serve_next(int64_t from_ns)
{
    for (unsigned i = 0; i < world.flights_count; i++) {
        struct to *to = world.flights[i].to;

        if (free_ns(to) > machine.now_ns)
            continue;
        if (from_ns < free_ns(to))
            from_ns = free_ns(to);
        world.served = world.flights[i];
        world.served_ns = from_ns + takes_ns(world.served.bytes);
        to->free_ns = world.served_ns + (to->dribbles ? 9 * takes_ns(world.served.bytes) : 0);
        memmove(&world.flights[i], &world.flights[i + 1],
                (--world.flights_count - i) * sizeof(world.flights[0]));
        return;
    }
}

static void arrive(const struct flight *flight)
{
    struct process *process = flight->to->of;

    if (flight->gone)
        return;
    process->left[process->left_end++ % FLIGHTS] = *flight;
    CHECK(process->left_end - process->left_first <= FLIGHTS);
    if (!process->late && machine.wake_ns[process->index] > machine.now_ns)
        machine.wake_ns[process->index] = machine.now_ns;
}

void wire_move_all(void)
{
    int64_t from_ns = machine.now_ns;

    for (;;) {
        if (world.served.bytes > 0) {
            if (world.served_ns > machine.now_ns)
                return;
            from_ns = world.served_ns;
            arrive(&world.served);
            world.served.bytes = 0;
        }
        serve_next(from_ns);
        if (world.served.bytes == 0)
            return;
    }
}

int64_t wire_next_ns(void)
{
    int64_t next_ns = MFS_TIME_NEVER;

    if (world.served.bytes > 0)
        return world.served_ns;
    for (unsigned i = 0; i < world.flights_count; i++) {
        if (free_ns(world.flights[i].to) < next_ns)
            next_ns = free_ns(world.flights[i].to);
    }
    return next_ns;
}

void wire_forget(const struct process *process)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < world.flights_count; i++) {
        if (world.flights[i].to->of != process)
            world.flights[kept++] = world.flights[i];
    }
    world.flights_count = kept;
    if (world.served.bytes > 0 && world.served.to->of == process)
        world.served.gone = true;
}
