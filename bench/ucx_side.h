/* SPDX-License-Identifier: Apache-2.0 */
/* A client and its server on UCX, for the programs of bench/ucx.py. */
#ifndef MFS_BENCH_UCX_SIDE_H
#define MFS_BENCH_UCX_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucp/api/ucp.h>

/*
 * Both sides with so much memory each. PLACE: two (the server is a process of its own), one
 * (both in this thread), serve:PORT (the server alone, for one client after the other: does
 * not return) or ADDRESS:PORT (the client of such a server).
 */
void sides_open(char *place, size_t memory_bytes);
/* The server ends with the client. */
void sides_close(void);

/* Wall-clock time or, with both sides in one thread, CPU time of the process; seconds. */
double now_s(void);
/* operation: 'p' put, 'g' get, else a tagged message. */
ucs_status_ptr_t post(char operation, size_t bytes);
ucs_status_ptr_t flush_post(void);
void progress(void);
void wait_for(ucs_status_ptr_t request, const char *what);
void die(const char *what, ucs_status_t status) __attribute__((noreturn));

/* ucx_contend.c: see ucx_loop.c. */
void contend(size_t bytes, size_t background_bytes, unsigned flows, double span_s);

#endif
