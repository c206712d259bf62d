/* SPDX-License-Identifier: Apache-2.0 */
/* What sender and receiver of bench/soak_ucx.c tell each other, and what both do with UCX. */
#ifndef MFS_BENCH_SOAK_UCX_H
#define MFS_BENCH_SOAK_UCX_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucp/api/ucp.h>

#include "soak.h"

#define CARD_BYTES 4096

struct order {
    char kind;      /* 'p' put, 'g' get, 't' tagged message */
    bool completed; /* as UCX says */
    uint64_t tag;
    struct soak_part part;
};

struct burst {
    unsigned count;
    struct order orders[SOAK_BURST];
};

struct verdict {
    uint64_t verified_bytes, wrong_bytes;
};

/* What a sender must know of a receiver. */
struct card {
    uint64_t memory;
    size_t address_bytes, rkey_bytes;
    char address[CARD_BYTES], rkey[CARD_BYTES];
};

#define UCX(call)                                                                                  \
    do {                                                                                           \
        const ucs_status_t status_ = (call);                                                       \
        if (status_ != UCS_OK) {                                                                   \
            fprintf(stderr, "soak_ucx: %s: status %d\n", #call, status_);                          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

extern ucp_worker_h soak_worker; /* the process's */

/* Memory for `count` bursts, and what others must know of it. */
char *soak_side_open(struct card *card, unsigned count);
void soak_side_close(void) __attribute__((noreturn));
/* Look at the transport; a short rest where it has nothing. */
void soak_progress(void);

/* The socket between the two; false: the other one has gone. */
bool soak_tell(int peer, const void *data, size_t bytes);
bool soak_said(int peer, int timeout_ms);
bool soak_hear(int peer, void *data, size_t bytes);

/* soak_ucx_send.c: to receivers that are at the other ends of peers[count]. */
struct soak_plan {
    const char *accounts;
    unsigned slot;
    double seconds, pause_s;
    uint64_t seed;
};
void soak_send(const struct soak_plan *plan, const int *peers, unsigned count)
    __attribute__((noreturn));

#endif
