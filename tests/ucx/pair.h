/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two UCX workers of one process that are connected, and what the cases of the
 * conformance test do with them: side 0 posts, side 1 owns the memory.
 */
#ifndef PAIR_H
#define PAIR_H

#include <stdbool.h>
#include <ucp/api/ucp.h>

#include "check.h"

#define MEMORY_BYTES ((size_t)4 << 20)

struct side {
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_ep_h ep; /* to the other side */
    unsigned char *memory;
    ucp_mem_h memh;
    ucp_rkey_h rkey; /* of the other side's memory, for our ep */
};

struct pair_options {
    ucs_thread_mode_t mode;
    bool peer_errors;      /* endpoints with UCP_ERR_HANDLING_MODE_PEER */
    ucp_err_handler_cb_t error_handler;
    size_t request_bytes;
    void (*request_init)(void *);
};

struct outcome {
    unsigned calls;
    ucs_status_t status;
};

extern struct side sides[2];

void pair_open(const struct pair_options *options);
void pair_close(void);
void pair_progress(void);
/* From here on the sides from `first` on make progress in a thread of their own each. */
void pair_threads_begin(unsigned first);
void pair_threads_end(void);
ucp_ep_h pair_ep(unsigned from, const struct pair_options *options);

/* Fill side 0's memory from a seed, clear side 1's; is a range of it equal to side 0's? */
void pair_fill(unsigned seed);
bool pair_equal(size_t at, size_t bytes);

/* Each post carries another tag, if the library that knows of tags is loaded. */
void tag_next(void);
void tag_none(void);
ucs_status_ptr_t put(size_t at, size_t bytes, struct outcome *outcome, uint32_t flags);
ucs_status_ptr_t get(size_t at, size_t bytes, struct outcome *outcome, uint32_t flags);
ucs_status_ptr_t flush_ep(struct outcome *outcome);
ucs_status_ptr_t flush_worker(void);
ucs_status_ptr_t close_ep(ucp_ep_h ep, bool force);
/* Progress both sides until it is done; frees it. */
ucs_status_t wait_for(ucs_status_ptr_t request);
uint64_t remote(size_t at); /* address of side 1's memory */

#endif
