/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CHUNKS: every host port has the sender that ships (core/sender.h), with its queue, its window and
 * its chunks, in virtual time. It stands where order.c and net.c stand otherwise.
 *
 *   flow of a line --push--> sender of the egress port --next()--> chunk
 *        ^                          ^                                |
 *        |                          +-------- done() --------+       v
 *        +--- its last chunk has left ----------------- [egress] [pod links] [ingress]
 *
 * A link serves its chunks one at a time, in the order in which their first bytes come. A chunk
 * comes to its next link when the one before begins with it (cut-through), and has left when every
 * link has had the time for its bytes: done() is called then, as when the receiver has
 * acknowledged them. So what waits at a busy receiver is in the windows of its senders.
 *
 * Guarded by the run's thread, as all of struct mfs_sim.
 */
#ifndef MFS_SIM_CHUNKS_H
#define MFS_SIM_CHUNKS_H

#include <stdint.h>

#include "core/types.h"

struct mfs_sim;
struct mfs_chunks;
struct mfs_members;

/* Of the run's options: the policy by csrc/core alone. -EINVAL: something that only order.c has. */
int mfs_chunks_policy(struct mfs_sim *sim);
void mfs_chunks_init(struct mfs_sim *sim);
void mfs_chunks_end(struct mfs_sim *sim); /* nothing if it was not begun */

/* Flows group..group+count-1 of the line begin, of line->size bytes each. */
void mfs_chunks_add(struct mfs_sim *sim, uint32_t line, uint32_t group, uint32_t count);
/* What is known of the line's request has changed: its sender is to place its flows anew. */
void mfs_chunks_changed(struct mfs_sim *sim, uint32_t line);
/* Adds the lines that have flows at that port, waiting or in flight. Linear in the lines of all. */
void mfs_chunks_lines(struct mfs_sim *sim, uint32_t port, struct mfs_members *found);

/* --- what exchange.c and grants.c know of it --- */
/* The best that waits at the port for the host; MFS_RANK_NONE: nothing. */
mfs_rank_t mfs_chunks_claim(const struct mfs_sim *sim, uint32_t port, uint32_t host);
/* The best behind the first `bytes` of what waits, in its order. */
mfs_rank_t mfs_chunks_claim_behind(const struct mfs_sim *sim, uint32_t port, uint32_t host,
                                   uint64_t bytes);
/* Of a chunk. */
uint64_t mfs_chunks_bytes(const struct mfs_sim *sim);
/* What has a larger rank is held back there. */
void mfs_chunks_limit(struct mfs_sim *sim, uint32_t port, uint32_t host, mfs_rank_t limit);
/* In which the link will have served what has come to it. */
double mfs_chunks_backlog_s(const struct mfs_sim *sim, uint32_t link);

double mfs_chunks_next_s(const struct mfs_sim *sim);
void mfs_chunks_due(struct mfs_sim *sim); /* chunks that have moved by now, and looks */
void mfs_chunks_send(struct mfs_sim *sim); /* the senders that may have room for a chunk more */

#endif
