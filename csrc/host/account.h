/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: what a port keeps book of, in its cell of the segment, for all its
 * members: what is owed to untagged traffic, when the pacer lets the next chunk go, how fast
 * the port has been. Words without a lock; who races with another is off by a chunk.
 */
#ifndef MFS_HOST_ACCOUNT_H
#define MFS_HOST_ACCOUNT_H

#include "host/segment.h"

/* Is an untagged chunk of so many bytes paid for? */
bool mfs_account_due(const struct mfs_port_cell *cell, uint64_t bytes);
/* Tagged bytes were sent while untagged traffic waited. */
void mfs_account_earn(struct mfs_port_cell *cell, uint64_t bytes);
/* Untagged bytes were sent; also by their rank alone: they have had it. */
void mfs_account_spend(struct mfs_port_cell *cell, uint64_t bytes);

/* May a chunk leave now (MFS_PACE)? Then its time is taken. */
bool mfs_account_pace(struct mfs_port_cell *cell, uint64_t bytes, int64_t now_ns);

/* A busy interval begins: the port was empty. */
void mfs_account_begin(struct mfs_port_cell *cell, int64_t now_ns);
/* Is the busy interval long enough for a sample? */
bool mfs_account_sample_due(const struct mfs_port_cell *cell, int64_t now_ns);
/* Move the estimate if the interval is long enough: by what the members have completed in it. */
void mfs_account_measure(struct mfs_port_cell *cell, int64_t now_ns);

#endif
