/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ranks of a scene of bench/stall.py, on hosts of their own:
 *
 *   SENDER --> receivers 1, 2, 3 (healthy) and SICK      OTHER: a second process on the sender's
 *                                                        host, where it is that one's traffic
 *                                                        to SICK that is stuck
 *
 * The sender obeys letters on its standard input, and answers each with a line:
 *
 *   l  load: every receiver has as much under way as fits        "ok"
 *   s  SICK is stopped (SIGSTOP)                                 "ok"
 *   b  SICK is busy: it no longer looks at its transport         "ok"
 *   m  measure from now on                                       "ok"
 *   r  report       "seconds, bytes the healthy have had, bytes SICK has had"
 *   u  an urgent transfer to receiver 1, beside all else         "seconds", 5 at most
 */
#ifndef MFS_BENCH_STALL_WORLD_H
#define MFS_BENCH_STALL_WORLD_H

#include "nccl_world.h"

#define SENDER 0
#define SICK 4
#define OTHER 5
#define DEPTH_MAX 32

struct load {
    struct world *world;
    bool other; /* SICK's traffic comes from OTHER */
    unsigned depth;
    size_t bytes;                    /* of a transfer */
    uint64_t healthy_done, sick_done; /* bytes */
    void (*connect)(struct load *load);
    bool (*step)(struct load *load, bool posts); /* true: something moved */
    double (*urgent)(struct load *load);         /* NULL: has none */
};

/* Does this sending rank send to that receiver? */
bool load_has(const struct load *load, int receiver);
/* The rank's part, until the whole is killed. `receive` waits for what comes. */
void load_send(struct load *load) __attribute__((noreturn));
void load_receive(struct load *load, bool (*receive)(struct load *load)) __attribute__((noreturn));

#endif
