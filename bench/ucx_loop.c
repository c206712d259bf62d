/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The measuring loop of bench/ucx.py: a client and its server.
 *
 *   ucx_loop PLACE OPERATION MIN_BYTES MAX_BYTES FACTOR BUDGET_MS
 *
 * PLACE: two (a process each, wall-clock time), one (both in one thread, and the time
 * is the CPU time of the process: what the transfer costs, whoever else uses the
 * machine), serve:PORT (the server alone, for one client after the other) or
 * ADDRESS:PORT (the client of such a server). OPERATION: put, get, tag (bandwidth: up to 32
 * operations or 64 MiB in flight), flows (puts, each of a layer of its own) or put_lat, get_lat
 * (one at a time, each with a flush). For each size it runs for about BUDGET_MS (below 0: for that
 * many operations) and prints "size_bytes seconds_per_operation".
 *
 * OPERATION many: one transfer of FACTOR puts of MIN_BYTES, all posted before any is waited for,
 * as an engine posts the blocks of a request. Prints "seconds peak_memory_in_bytes" of the
 * client. BUDGET_MS and MAX_BYTES are not used.
 *
 * OPERATION contend: an urgent put of MIN_BYTES with a flush, alone and while FACTOR
 * background flows keep a put of MAX_BYTES posted each, BUDGET_MS before and after it. Prints
 * "alone_s contended_s", then in bytes per second "background before it, background from its
 * post on, both together from then on". Where the library is loaded the puts are tagged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ucx_side.h"
#include "ucx_tag.h"

#define IN_FLIGHT 32
#define IN_FLIGHT_BYTES ((size_t)64 << 20)

/* Is it enough? A budget below 0 counts operations, which costs no call. */
static bool enough(size_t count, double start_s, double budget_s)
{
    return budget_s < 0 ? (double)count >= -budget_s * 1e3
                        : count > 0 && now_s() - start_s >= budget_s;
}

/* As many operations as fit in the budget, `depth` in flight; seconds for each. bench/ucx.py counts
 * the instructions in here. */
static __attribute__((noinline)) double operations_run(char operation, size_t bytes, size_t depth,
                                                       double budget_s)
{
    ucs_status_ptr_t requests[IN_FLIGHT] = {NULL};
    const double start_s = now_s();
    size_t count = 0;

    while (count % (bytes > 65536 ? 1 : 64) != 0 || !enough(count, start_s, budget_s)) {
        const size_t at = count++ % depth;

        if (requests[at])
            wait_for(requests[at], "operation");
        if (operation == 'f')
            tagged_layer((unsigned)count);
        requests[at] = post(operation == 'f' ? 'p' : operation, bytes);
        if (depth == 1)
            wait_for(flush_post(), "flush");
        else if (count % 16 == 0)
            progress();
    }
    for (size_t i = 0; i < depth; i++)
        wait_for(requests[i], "operation");
    wait_for(flush_post(), "flush");
    return (now_s() - start_s) / (double)count;
}

static void measure(const char *name, size_t bytes, double budget_s)
{
    const size_t fit = IN_FLIGHT_BYTES / bytes;
    const size_t depth = strstr(name, "_lat") || fit < 2 ? 1 : fit < IN_FLIGHT ? fit : IN_FLIGHT;

    if (name[0] == 'f')
        tagged("flows", 3600);
    if (budget_s > 0)
        (void)operations_run(name[0], bytes, depth, budget_s / 8); /* warm up */
    printf("%zu %.9g\n", bytes, operations_run(name[0], bytes, depth, budget_s));
}

static void many(size_t bytes, size_t count)
{
    ucs_status_ptr_t *requests = malloc(count * sizeof(*requests));
    struct rusage usage;
    double start_s;

    if (!requests)
        die("many", UCS_ERR_NO_MEMORY);
    wait_for(post('p', bytes), "warm up");
    wait_for(flush_post(), "flush");
    start_s = now_s();
    for (size_t i = 0; i < count; i++)
        requests[i] = post('p', bytes);
    for (size_t i = 0; i < count; i++)
        wait_for(requests[i], "operation");
    wait_for(flush_post(), "flush");
    start_s = now_s() - start_s;
    getrusage(RUSAGE_SELF, &usage);
    printf("%.9g %ld\n", start_s, usage.ru_maxrss * 1024);
    free(requests);
}

int main(int argc, char **argv)
{
    size_t least, largest;
    double budget_s;

    if (argc != 7) {
        fputs("usage: ucx_loop one|two|serve:PORT|ADDRESS:PORT "
              "OPERATION MIN_BYTES MAX_BYTES FACTOR BUDGET_MS\n",
              stderr);
        return 2;
    }
    least = strtoull(argv[3], NULL, 10);
    largest = strtoull(argv[4], NULL, 10);
    budget_s = strtod(argv[6], NULL) * 1e-3;
    sides_open(argv[1], largest > least ? largest : least);
    if (strcmp(argv[2], "contend") == 0)
        contend(least, largest, (unsigned)strtoul(argv[5], NULL, 10), budget_s);
    else if (strcmp(argv[2], "many") == 0)
        many(least, strtoull(argv[5], NULL, 10));
    else
        for (size_t bytes = least; bytes <= largest; bytes *= strtoull(argv[5], NULL, 10))
            measure(argv[2], bytes, budget_s);
    fflush(stdout);
    sides_close();
    _exit(0);
}
