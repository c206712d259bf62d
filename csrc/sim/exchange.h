/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EXCHANGE: the receivers of chunks.c tell senders which ranks may send, by core/exchange.h. What a
 * receiver knows of its senders and what it tells them takes pressure_delay_s, both ways together:
 * a limit counts so long after the claims that it was made of. One is on its way at a time.
 */
#ifndef MFS_SIM_EXCHANGE_H
#define MFS_SIM_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

struct mfs_sim;
struct mfs_exchange;

/* NULL where the run has none; then the others do nothing. */
struct mfs_exchange *mfs_exchange_new(struct mfs_sim *sim);
/* Something was pushed at the port for the host, or has left. */
void mfs_exchange_moved(struct mfs_sim *sim, uint32_t port, uint32_t host);
double mfs_exchange_next_s(const struct mfs_sim *sim);
void mfs_exchange_due(struct mfs_sim *sim);  /* limits that have arrived by now */
void mfs_exchange_tell(struct mfs_sim *sim); /* where something has moved: is another limit due? */
/* Of what a receiver tells a sender, also of grants (grants.c): does it not arrive? */
bool mfs_exchange_loses(struct mfs_sim *sim);

#endif
