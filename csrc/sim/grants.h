/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GRANTS: the receivers of chunks.c grant their senders bytes, in the order of ranks, as Homa's
 * receivers and the pull numbers of EQDS do. It stands where exchange.c stands otherwise.
 *
 *   sender    may send to the receiver while   sent < told
 *   receiver  grants a quantum to the best flow that waits and that no grant covers, while
 *             ahead of its sender      <     (way + quantum) + 1 ms of the port, and
 *             ahead of all together    < 2 * (way + quantum) + 1 ms of the port
 *   begins    who had nothing for the receiver has a way's bytes that he need not ask for
 *
 * A way is what the port serves in pressure_delay_s, in which the receiver learns what waits and
 * its grant arrives; it knows each flow that waits for it, as Homa's receivers do. Ahead is what
 * has been granted and not yet been served; a grant of more than waits counts as what waits. A
 * grant is a number of bytes of all time, so it makes good for one before it that was lost; when
 * the last one is lost it comes again a delay later. Which of its flows a sender sends is its own
 * business.
 */
#ifndef MFS_SIM_GRANTS_H
#define MFS_SIM_GRANTS_H

#include <stdint.h>

struct mfs_sim;
struct mfs_grants;

/* NULL where the run has none; then the others do nothing. */
struct mfs_grants *mfs_grants_new(struct mfs_sim *sim);
/* At the port, for the host, so many bytes were pushed, are sent, or have left. */
void mfs_grants_pushed(struct mfs_sim *sim, uint32_t port, uint32_t host, uint64_t bytes);
void mfs_grants_sent(struct mfs_sim *sim, uint32_t port, uint32_t host, uint64_t bytes);
void mfs_grants_done(struct mfs_sim *sim, uint32_t port, uint32_t host, uint64_t bytes);
double mfs_grants_next_s(const struct mfs_sim *sim);
void mfs_grants_due(struct mfs_sim *sim);  /* grants that have arrived by now */
void mfs_grants_tell(struct mfs_sim *sim); /* where something has moved: is more to be granted? */

#endif
