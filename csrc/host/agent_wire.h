/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent with a socket and a clock: what has come is taken, then what has changed is told.
 *
 * A tick is a millisecond, or two, while there is traffic with peers. Without it the agent sleeps
 * until a datagram comes, 5 ms at most.
 */
#ifndef MFS_HOST_AGENT_WIRE_H
#define MFS_HOST_AGENT_WIRE_H

#include "host/agent.h"

/* Beside the bits of take(): frames are to be sent by the caller. */
#define MFS_AGENT_FRAMES 65536

struct mfs_agent_wire;

/* socket: UDP, non-blocking, the caller's own; IPv6 if `six`. hold: frames are left to the caller,
 * who may lose or delay them. -ENOMEM. */
MFS_API int mfs_agent_wire_open(struct mfs_agent *agent, int socket, bool six, bool hold,
                                struct mfs_agent_wire **out);
MFS_API void mfs_agent_wire_close(struct mfs_agent_wire *wire);
/* Goes on until that moment, or until something is left to do: its bits. 0: the moment has come, or
 * a signal has. */
MFS_API int mfs_agent_wire_run(struct mfs_agent_wire *wire, int64_t until_ns);
/* All frames of the agent are sent now. */
MFS_API void mfs_agent_wire_send(struct mfs_agent_wire *wire);
/* Datagrams that the system has not taken. */
MFS_API uint64_t mfs_agent_wire_lost(const struct mfs_agent_wire *wire);

#endif
