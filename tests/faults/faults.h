/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults by table: the n-th call of a kind fails, once or from there on. The program's calls of the
 * system come here first (-Wl,--wrap, by the list in test_faults.py); those of UCX ask
 * fault_due(FAULT_UCX) themselves.
 *
 * Each scenario is run in a process of its own for each kind and n = 1, 2, ... until it ends
 * without having met its fault; then again in the same process, where nothing fails any more. A
 * process that ends badly, leaks (ASan looks), keeps a descriptor or hangs is named by kind and n.
 */
#ifndef MFS_TESTS_FAULTS_H
#define MFS_TESTS_FAULTS_H

#include "../c/test.h"

enum fault_kind {
    FAULT_MEMORY,
    FAULT_FILE,
    FAULT_MAP,
    FAULT_SOCKET,
    FAULT_UCX,
    FAULT_KINDS,
};

/* The next call of that kind is made now: does it fail? `call` is told when the scenario ends
 * badly. */
bool fault_due(enum fault_kind kind, const char *call);
/* Has any failed? */
bool fault_met(void);

struct scenario {
    const char *name;
    void (*set_up)(void);      /* before faults begin; NULL: nothing */
    void (*run)(bool faulty); /* !faulty: all must be right */
};

/* All kinds for it, one call each; all_behind: then with all calls behind it as well. Prints a line
 * for each kind; returns how many processes ended badly. */
unsigned faults_run(const struct scenario *scenario, bool all_behind);

#endif
