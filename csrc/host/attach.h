/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside csrc/host only: how a process holds its share in the segment.
 *
 *   byte of the file   0        1          64 + slot
 *   locked by          opener   a writer   the process that has the slot, as long as it lives
 *
 * The locks belong to open file descriptions: the kernel drops them when a process dies, however
 * it dies, and no word in memory can say otherwise. Programs close descriptors that they have not
 * opened, and the number may then be another file's:
 *
 *   the slot's lock   is held by the description that the mapping was made from; its descriptor
 *                     is closed at once, so nobody can close it (docs/decisions/0031)
 *   fd                asks, and locks for writing. It is held against the file's inode before
 *                     each use and opened anew if it is lost
 */
#ifndef MFS_HOST_ATTACH_H
#define MFS_HOST_ATTACH_H

#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "host/segment.h"

#define MFS_BYTE_OPEN 0
#define MFS_BYTE_WRITER 1
#define MFS_BYTE_SLOTS 64
#define MFS_EVENT_NAMES 32u

struct mfs_host {
    struct mfs_segment *segment;
    pthread_mutex_t mutex; /* of this process's threads, around the lock of the file */
    int fd;                /* under mutex; -1: private */
    dev_t device;          /* the file's */
    ino_t inode;
    uint32_t process;      /* our slot; UINT32_MAX while there is none */
    int slot_fd; /* while attaching: what the slot is locked by; then the mapping has it */
    int64_t patience_ns; /* under mutex: do not wait for the lock again before... */
    int64_t patient_at_ns; /* ... this; see lock.c */
    bool told; /* under mutex: somebody who holds the lock was named */
    char path[256]; /* "": private */
    char reason[400]; /* why it is private; "": it is not, or was asked to be */
    _Atomic uint32_t port_opens[MFS_PORTS_MAX]; /* handles of this process, by mfs_port_open */
    char port_names[MFS_PORTS_MAX][MFS_PORT_NAME_MAX + 1]; /* of those; under the lock, as ... */
    uint8_t port_directions[MFS_PORTS_MAX];                /* ... these */
    _Atomic uint32_t policy_known; /* the last in the segment that was one */
    _Atomic uint32_t overwritten; /* 1: somebody has written over our cell, and perhaps over more */
    struct mfs_host *next; /* under the mutex of the list: see hosts.c */
};

struct mfs_port {
    struct mfs_host *host;
    struct mfs_port_cell *cell;
    bool counted; /* in port_opens */
    int32_t pid; /* of the process that opened it */
    /* Names by their keys, of requests that events were recorded of: to look one up costs more than
     * all else of an event. By whose sender the port is. */
    struct {
        uint64_t key;
        char name[MFS_REQUEST_NAME_MAX + 1];
    } names[MFS_EVENT_NAMES];
};

/* --- the file (file.c) --- */

/* The descriptor, or -errno; -EACCES as well if somebody else could read or change it. flags:
 * O_CREAT or 0. */
int mfs_file_open(const char *path, int flags, struct stat *status);
/* Is fd, host->fd for instance, the file that was opened? */
bool mfs_host_file_is(const struct mfs_host *host, int fd);
/* Open the file anew, because fd is lost. 0 or -errno; not if another lies at its path now. */
int mfs_host_reopen(struct mfs_host *host);
/* May it be started afresh? It is empty, a segment, or one whose maker died in between. */
bool mfs_file_ours(int fd);
/* Empty it, and allocate all of it: no page can be missing when it is touched. */
int mfs_file_make(int fd);
/* The same for a file in use, which keeps what it holds. -EPROTO: it has another size. */
int mfs_file_whole(int fd);

/* --- the segment in it (segment.c) --- */

#define MFS_SEGMENT_MAGIC "MFSSEG\n" /* eight bytes with its NUL */

/* What a new segment begins with. */
void mfs_segment_init(struct mfs_segment *segment, uint32_t policy);
uint32_t mfs_policy_index(const struct mfs_policy *policy);
/*
 * Something that has gone wrong may have written over it. What this process knows of it is put
 * right: the header, else nobody could attach any more, the policy, and the ports that it has open.
 * The lock is held.
 */
void mfs_segment_mend(struct mfs_host *host);
/*
 * From now on this process is scheduled on its own: a private segment takes the place of the
 * shared one, at the same address, with the same policy and ports. keep: with all that this
 * process had in it.
 */
void mfs_host_become_private(struct mfs_host *host, bool keep, const char *reason);

/* --- locks on bytes of the file (lock.c) --- */

int mfs_byte_lock(int fd, off_t byte, short type); /* F_WRLCK, F_UNLCK; 0 or -errno */
/*
 * The lock of those who write tables. 0; -EAGAIN: another has held it for 100 ms. Who has waited
 * in vain does not wait again for a while, and names the holder once. Gets a lost descriptor
 * back, or leaves the segment: then the lock is that of the private one.
 */
int mfs_segment_lock(struct mfs_host *host);
int mfs_segment_trylock(struct mfs_host *host); /* waits for nobody */
void mfs_segment_unlock(struct mfs_host *host);

/* --- who lives (process.c) --- */

/* A free slot, locked by slot_fd, and what its last owner held given back. -EUSERS. */
int mfs_process_claim(struct mfs_host *host);
/* Give back all that we hold. */
void mfs_process_leave(struct mfs_host *host);
/* Does a process hold slot? Own slot: yes; nobody can say: yes. A syscall. */
bool mfs_process_alive(struct mfs_host *host, uint32_t process);
/* Has somebody ever written over what is ours alone to write? Then it is put right. */
bool mfs_process_overwritten(struct mfs_host *host);
/* Does anybody? 1, 0 or -errno. */
int mfs_process_any(int fd);
/* Who does, seen from outside. 0 or -errno. */
int mfs_process_living(int fd, struct mfs_living *living);
/*
 * Give back what dead processes held: senders, requests, counters. A syscall a process.
 * Waits for nobody: nothing is done while somebody else holds the lock.
 */
void mfs_process_reap(struct mfs_host *host);
void mfs_process_reap_locked(struct mfs_host *host); /* the lock is held */
/* The parts of a reap that each file knows; the lock is held. What nobody alive owns goes,
 * whatever it says. */
void mfs_senders_reap(struct mfs_segment *segment, const struct mfs_living *living);
void mfs_ports_reap(struct mfs_segment *segment, const struct mfs_living *living);
void mfs_ports_mend(struct mfs_host *host);
void mfs_request_reap(struct mfs_segment *segment, const struct mfs_living *living);
/* As mfs_request_name, without a look at what the characters are. */
void mfs_request_name_raw(struct mfs_host *host, uint64_t key, char *name);
/* After a writer has died: drop the cells that it left half written. */
void mfs_request_repair(struct mfs_segment *segment);

/* --- the process-wide one (hosts.c) --- */

/* If it has been asked for before; NULL: it has not. */
struct mfs_host *mfs_host_known(void);

/* --- forks (hosts.c) --- */

/* From list to unlist a forked child lets go of the host. No fork is under way in between begin
 * and end. */
void mfs_fork_list(struct mfs_host *host);
void mfs_fork_unlist(struct mfs_host *host);
void mfs_fork_begin(void);
void mfs_fork_end(void);

#endif
