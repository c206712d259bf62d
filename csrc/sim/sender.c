/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/state.h"

void mfs_sender_settle(struct mfs_net *net)
{
    (void)net;
}

void mfs_pressure_due(struct mfs_sim *sim)
{
    (void)sim;
}
