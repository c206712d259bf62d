/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the conformance test share. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "pair.h"

#define BLOCK ((size_t)100000) /* no multiple of a chunk */
#define BLOCKS (MEMORY_BYTES / BLOCK)

struct conformance_case {
    const char *name;
    void (*run)(void);
};

/* Each ends with a case without a name. */
extern const struct conformance_case conformance_data_cases[], conformance_request_cases[],
    conformance_forms_cases[], conformance_end_cases[], conformance_thread_cases[];

extern const struct pair_options conformance_plain; /* a worker of one thread */

#endif
