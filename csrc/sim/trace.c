/* SPDX-License-Identifier: Apache-2.0 */
/* The list of what happened, for `explain`. Outside the run's memory: the caller frees it. */
#include <stdlib.h>

#include "sim/state.h"

void mfs_trace_add(struct mfs_sim *sim, const struct mfs_sim_event *event)
{
    if (sim->trace_count == sim->trace_capacity) {
        const uint64_t capacity = sim->trace_capacity ? 2 * sim->trace_capacity : 4096;
        struct mfs_sim_event *trace = realloc(sim->trace, capacity * sizeof(*trace));

        if (!trace)
            longjmp(sim->memory.failed, 1);
        sim->trace = trace;
        sim->trace_capacity = capacity;
    }
    sim->trace[sim->trace_count++] = *event;
}

void mfs_sim_trace_free(struct mfs_sim_event *trace)
{
    free(trace);
}
