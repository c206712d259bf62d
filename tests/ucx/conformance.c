/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What UCX promises of puts, gets and what goes with them, as cases that hold on any
 * UCX, with the shim in the way or not: the same program judges both.
 * `conformance CASE`; exit 0: it holds, 77: this UCX or transport cannot do it.
 */
#include "conformance.h"

#include <string.h>

const struct pair_options conformance_plain = {.mode = UCS_THREAD_MODE_SINGLE};

static const struct conformance_case *const lists[] = {
    conformance_data_cases, conformance_request_cases, conformance_forms_cases,
    conformance_end_cases,  conformance_thread_cases,
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        for (const struct conformance_case *at = lists[i]; at->name; at++) {
            if (argc < 2)
                puts(at->name);
            else if (strcmp(at->name, argv[1]) == 0)
                return at->run(), 0;
        }
    }
    return argc < 2 ? 0 : 2;
}
