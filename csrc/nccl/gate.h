/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gate in front of another net plug-in (MFS_NCCL_INNER): every call is handed on; an isend
 * that must wait is answered "try again" until it is its turn (gate_queue.h). Messages go whole.
 *
 * NCCL's objects: a connection of ours holds the inner one; a send's request is ours, told
 * from the inner plug-in's own by its lowest bit; all else is the inner plug-in's. With the
 * policy off an isend is one jump and its request the inner plug-in's own.
 */
#ifndef MFS_NCCL_GATE_H
#define MFS_NCCL_GATE_H

#include "nccl/net.h"

/* The gate's table for the plug-in at path; one whose init fails with a reason if there is
 * none. Optional calls are there where the inner plug-in has them. */
const struct mfs_nccl_table_v12 *mfs_nccl_gate_open(const char *path);

#endif
