/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The traffic class of what others read of this host, over TCP. A get is answered by UCX of the
 * process that has the memory, by the connection to the reader and without a call that we see. How
 * urgent a reader is, its host tells our agent, which believes that as far as it believes any
 * claim, and writes it down for the reader's ports (host/far.h). Here the process that has the
 * sockets looks who is at the other end of each, and marks it:
 *
 *   host B: its best read of us --claim--> our agent --answers[B's ports]--> the sockets to B
 *
 * The word is for a host: all of its reads have the class of its most urgent one. It holds for the
 * lease. Without an agent, or where a socket's peer is no host that agents know by its address, an
 * answer has MFS_CLASSES_ANSWERS, or the last class: no higher than anything that has a level.
 */
#ifndef MFS_HOST_ANSWERS_H
#define MFS_HOST_ANSWERS_H

#include "host/host.h"

/* Now and then, by each thread that makes progress; what is left to do one of them does. It makes
 * system calls for sockets that are new, and for those whose class changes. */
MFS_API void mfs_answers_look(struct mfs_host *host, int64_t now_ns);

#endif
