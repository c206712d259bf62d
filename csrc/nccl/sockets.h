/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP sockets of the UCX that we load, for their traffic classes (host/marks.h). */
#ifndef MFS_NCCL_SOCKETS_H
#define MFS_NCCL_SOCKETS_H

/* Before UCX is loaded: its sockets are noted from now on, if there are classes. */
void mfs_nccl_sockets_see(void);

#endif
