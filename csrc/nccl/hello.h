/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each side says to the other when they meet: who it is, and where its UCX workers are.
 *
 *   fixed part   magic, version, cookie, ids of engine and connection, lengths, digest
 *   addresses    of the workers, one for each traffic class
 *
 * Nothing of it is used before all of it is known to be sound. The digest begins with the
 * listener's cookie and says that all is as it was written; UCX's addresses cannot be checked
 * otherwise.
 */
#ifndef MFS_NCCL_HELLO_H
#define MFS_NCCL_HELLO_H

#include "nccl/comm.h"

#define MFS_NCCL_WIRE_MAGIC UINT64_C(0x4c43434e53464d01) /* "\1MFSNCCL" */
#define MFS_NCCL_ADDRESSES_MAX 65536u

enum mfs_nccl_hello_flags {
    MFS_NCCL_HELLO_KEEP = 1u << 0,      /* this socket is to be kept, to see the peer die */
    MFS_NCCL_HELLO_HOST_ONLY = 1u << 1, /* all memory is the host's */
    MFS_NCCL_HELLO_REFUSED = 1u << 2,   /* the listener's: no; `name` says why */
};

struct mfs_nccl_hello {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes; /* of the addresses that follow */
    uint64_t cookie; /* of the listener, from its handle */
    unsigned char uuid[16];
    uint32_t comm, generation;
    uint32_t classes, channels;
    uint32_t flags; /* enum mfs_nccl_hello_flags */
    uint32_t address_bytes[MFS_NCCL_CLASSES_MAX];
    uint32_t reserved; /* 0 */
    uint64_t eager_bytes;
    char name[MFS_NCCL_NAME_BYTES];
    uint64_t digest; /* of all before it, and of the addresses */
};

/* Ours, with the addresses behind it; `keep` as in the flags. NULL: no memory, or UCX refuses. */
char *mfs_nccl_hello_make(const struct mfs_nccl_comm *comm, uint64_t cookie, bool keep,
                          size_t *bytes);
/* The listener's no. */
void mfs_nccl_hello_refusal(struct mfs_nccl_hello *hello, uint64_t cookie, const char *reason);
/* What is wrong with the fixed part that was heard, and then with all of it: NULL if nothing is.
 * The second makes the name fit to be printed. */
const char *mfs_nccl_hello_wrong(const struct mfs_nccl_hello *heard, uint64_t cookie,
                                 bool connector);
const char *mfs_nccl_hello_whole_wrong(struct mfs_nccl_hello *heard, const char *addresses);

#endif
