/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: who a process is, for people. Containers have process numbers of their
 * own: each may have a process 1. So a number goes with its namespace, and with the name that the
 * process knows its host by, which in Kubernetes is its pod's.
 *
 * It is for display alone: who lives is known by a lock (process.c), which no namespace changes.
 */
#ifndef MFS_HOST_IDENTITY_H
#define MFS_HOST_IDENTITY_H

#include "host/look.h"
#include "host/segment.h"

/* This process, in its cell. */
void mfs_identity_write(struct mfs_process_cell *cell);
/* What a cell says, with text that harms no terminal. */
void mfs_identity_read(const struct mfs_process_cell *cell, struct mfs_look_process *process);
/* The namespace of this process's numbers; 0: not known. */
uint64_t mfs_identity_namespace(void);
/* A process for a message: "process 7", "process 7 of decode-0" in another namespace. */
void mfs_identity_text(const struct mfs_process_cell *cell, char *text, size_t size);

#endif
