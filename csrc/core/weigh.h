/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WEIGHTS: how the members of a port (pods, services) share what has no deadline.
 *
 *   member A, weight 100:  sent  |----1 MiB----|----1 MiB----|
 *   member B, weight 200:  sent  |1 MiB |1 MiB |1 MiB |1 MiB |
 *   clock of the port       ------------^ where the last chunk began
 *
 * Fair queueing by start times: each member has a mark that moves by bytes * 100 / weight with each
 * chunk, and who is behind goes first. The port's clock is where the last chunk began. A member
 * that had nothing to send begins in the clock's quantum: it has saved up no more than that.
 *
 *   bytes that two members with something to send have had, over their weights, differ by no more
 *   than a quantum and a chunk of each
 *
 * Turns are counted in whole quanta, and among equals the rank decides, so a member sends some
 * chunks in a row; and who goes before whom has no circles, whatever the numbers are.
 *
 * The words lie in memory that the members share. A mark that lies before the clock's quantum, or
 * further ahead than the largest chunk moves it, is where that quantum begins. A member knows its
 * own weight, so a wrong mark of its own costs it a chunk of 4 MiB over its weight; of the others'
 * marks it knows less, and takes the least weight. Of two that do not agree, neither waits.
 */
#ifndef MFS_CORE_WEIGH_H
#define MFS_CORE_WEIGH_H

#include <stdatomic.h>

#include "core/types.h"

#define MFS_WEIGHT_LEAST 1u
#define MFS_WEIGHT_USUAL 100u
#define MFS_WEIGHT_MAX 10000u /* weights are 1 to 10000, as those of cgroups */
#define MFS_WEIGH_QUANTUM                                                                          \
    (UINT64_C(1) << 20) /* of a mark: bytes of a member of the usual weight                        \
                         */

/* How many quanta after the clock's it is a member's turn. weight: MFS_WEIGHT_LEAST, where it is
 * not known. */
uint64_t mfs_weigh_turn(uint64_t clock, uint64_t mark, uint32_t weight);
/* A chunk of a member begins. weight: 1..MFS_WEIGHT_MAX. */
void mfs_weigh_sent(_Atomic uint64_t *clock, _Atomic uint64_t *mark, uint32_t weight,
                    uint64_t bytes);

/* A rank of that level at one of two members, as it is to be compared with those of the other. */
static inline mfs_rank_t mfs_weigh_rank(mfs_rank_t rank, uint64_t turn, uint64_t other_turn)
{
    if (turn == other_turn)
        return rank;
    return mfs_rank_make(mfs_rank_level(rank), turn < other_turn ? 0 : MFS_KEY_MAX);
}

#endif
