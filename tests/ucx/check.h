/* SPDX-License-Identifier: Apache-2.0 */
/* What a program of these tests relies on; where it is not so, it says the line and ends. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)
#define CHECK_OK(status)                                                                           \
    do {                                                                                           \
        ucs_status_t found = (status);                                                             \
        if (found != UCS_OK) {                                                                     \
            fprintf(stderr, "%s:%d: %s: status %d\n", __FILE__, __LINE__, #status, (int)found);    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#endif
