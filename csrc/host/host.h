/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of one host share: one memory-mapped file, of a user or of a group (rights.h).
 *
 *   header | settings | processes[] | ports[] { senders[] } | requests[] | events[]
 *
 * header     magic, layout version and size; a segment of another layout is refused
 * processes  one slot per attached process; alive while it holds a lock on its byte
 *            of the file (the kernel drops it when the process dies)
 * requests   key -> mfs_facts, each under a sequence lock: readers never wait
 * ports      one direction of one NIC, with a cell for each sender on it
 *
 * Reading facts, settings and counters makes no system call. Attaching and leaving, registering a
 * request and looking for dead processes take the segment's lock, which is one of the kernel's
 * (some microseconds), and ask the kernel who lives.
 */
#ifndef MFS_HOST_HOST_H
#define MFS_HOST_HOST_H

#include "core/policy.h"

struct mfs_host;

/* Of the package whose build made this library, "0.1.0"; "unknown": another build made it. */
MFS_API const char *mfs_version(void);

#define MFS_REQUESTS_MAX 16384u /* registered at one time on a host */
#define MFS_REQUEST_NAME_MAX 63 /* longer names are cut for display; the key is of the whole */
#define MFS_PORT_NAME_MAX 31
#define MFS_PEER_NAME_MAX 39 /* longer names are cut for display */

/*
 * Attach to the segment at path, making it if it is not there; NULL or "": the
 * default place. A file nobody is attached to any more is started afresh.
 * -EPROTO: another layout version, or no segment at all; -EACCES, -ENOENT, ...: from the system;
 * -EUSERS: no free process slot; -ENOSPC, -EFBIG: its file system has no room for all of it.
 */
MFS_API int mfs_host_open(const char *path, struct mfs_host **host);
/* A private one, in this process's memory only: the fallback when none can be opened. */
MFS_API int mfs_host_open_private(struct mfs_host **host);
/*
 * What lies at path, as it is now, in this process's memory: to be read. It attaches to nothing and
 * changes nothing; also of a file that nobody uses any more. -ENOENT, -EPROTO and -EACCES as above;
 * -ENODATA: nothing has been there; -EBADMSG: it is no segment.
 */
MFS_API int mfs_host_open_copy(const char *path, struct mfs_host **host);
/* A forked child keeps no share in its parent's segment: what it inherits is private and empty.
 * What it opens itself, or asks mfs_host_get() for, is its own. */
MFS_API void mfs_host_close(struct mfs_host *host);
/*
 * The process-wide one, by MFS_SEGMENT: opened at the first call, kept. When the
 * file cannot be used: one warning, and a private one. Never NULL after success.
 * One warning as well when MFS_POLICY asks for another policy than a live segment has.
 */
MFS_API struct mfs_host *mfs_host_get(void);
MFS_API const char *mfs_host_path(const struct mfs_host *host); /* "" when private */
/* Why it is private, though a file was asked for; "" otherwise. */
MFS_API const char *mfs_host_reason(const struct mfs_host *host);
/* Does another process, or another user of the library in this one, use it? Nobody can say: yes. */
MFS_API bool mfs_host_others(struct mfs_host *host);
/*
 * The file that `path`, as above, stands for in this process; nothing is made. In a time namespace
 * it is another one: see place.c. 0, -ENAMETOOLONG; -EACCES: the default places are others'.
 */
MFS_API int mfs_host_place(const char *path, char *place, size_t size);

/* 64-bit key of a request's name: never MFS_REQUEST_NONE. FNV-1a. */
MFS_API uint64_t mfs_request_key(const char *name);

/* --- requests (written by the control plane, read by the queues) --- */

/* Add or replace. -ENOSPC: table full; -EINVAL: key is MFS_REQUEST_NONE. */
MFS_API int mfs_request_put(struct mfs_host *host, uint64_t key, const char *name,
                            const struct mfs_facts *facts);
/* Several at once: queues place their flows anew once, not once each. names may be NULL, and
 * so may each of them. -EINVAL: a key is MFS_REQUEST_NONE (nothing has changed); -ENOSPC: not
 * all fit, those that do are written. */
MFS_API int mfs_request_put_all(struct mfs_host *host, const uint64_t *keys,
                                const char *const *names, const struct mfs_facts *facts,
                                size_t count);
/*
 * Those of keys[0..count) that are registered compute `layer` since since_ns; layer_ns: time of
 * one layer, collective_ns: of it the collective's on an empty port; 0 leaves what is known. For a
 * process that computes requests which another one registered: all else of them stays. How many are
 * registered, or -errno.
 */
MFS_API int mfs_request_progress(struct mfs_host *host, const uint64_t *keys, size_t count,
                                 uint32_t layer, int64_t since_ns, int64_t layer_ns,
                                 int64_t collective_ns);
MFS_API int mfs_request_get(struct mfs_host *host, uint64_t key,
                            struct mfs_facts *facts); /* -ENOENT */
/* The name it was put with, as long as its cell is not used anew; "" otherwise. name:
 * MFS_REQUEST_NAME_MAX + 1 bytes. */
MFS_API void mfs_request_name(struct mfs_host *host, uint64_t key, char *name);
MFS_API int mfs_request_drop(struct mfs_host *host, uint64_t key); /* -ENOENT */
/* Moves with every put and drop; feeds struct mfs_facts_source. */
MFS_API uint64_t mfs_request_version(struct mfs_host *host);
MFS_API struct mfs_facts_source mfs_request_source(struct mfs_host *host);
MFS_API uint32_t mfs_request_count(struct mfs_host *host);

/* --- settings that may change while processes run --- */

/* Policy by name for every queue of the host. -EINVAL: no such policy. */
MFS_API int mfs_host_set_policy(struct mfs_host *host, const char *name);
MFS_API const struct mfs_policy *mfs_host_policy(struct mfs_host *host);
/* Moves when a setting changes. */
MFS_API uint64_t mfs_host_settings_version(struct mfs_host *host);

/* --- the current tag of the calling thread --- */

/* Tag of what this thread posts from now on; NULL: untagged. Returns nothing, cannot fail. */
MFS_API void mfs_tag_set(const struct mfs_tag *tag);
MFS_API struct mfs_tag mfs_tag_get(void);
/* Whom the calling thread posts to from now on, for people: an endpoint that it uses for the first
 * time is called so. NULL or "": nobody has said it. */
MFS_API void mfs_peer_set(const char *name);
MFS_API const char *mfs_peer_get(void);

/* While it is set, a request that this thread cancels is given up: what waits of it is not sent
 * any more. Otherwise a cancel, as in UCX, takes nothing back that others may wait for. */
MFS_API void mfs_abort_set(bool aborts);
MFS_API bool mfs_abort_get(void);

/* --- the batch that this process computes now --- */

/*
 * NCCL's own threads send what the engine's thread has started, so a thread's tag does not
 * reach them: the engine says once a step (or a layer) for which request its collectives are.
 * Of a batch of several that is the one with the earliest deadline: a collective is over for
 * all of them at once. MFS_REQUEST_NONE: none; collectives then carry their stage alone.
 * Of this process only; any thread, no syscall, cannot fail.
 */
MFS_API void mfs_batch_set(uint64_t request, uint32_t layer);
/* As it was set last: its request and layer, stage `collective`. */
MFS_API struct mfs_tag mfs_batch_get(void);

/* --- counters, one row per process, summed over live and past ones --- */

enum mfs_counter {
    MFS_COUNT_CALLS, /* intercepted put and get calls */
    MFS_COUNT_DEFERRED, /* operations that went through a queue */
    MFS_COUNT_STRAIGHT, /* operations handed straight to the transport */
    MFS_COUNT_CHUNKS, /* chunks sent */
    MFS_COUNT_BYTES, /* bytes of intercepted operations */
    MFS_COUNT_PROMOTIONS, /* flows raised to a smaller level */
    MFS_COUNT_TAGGED, /* operations that carried a tag */
    MFS_COUNT_FAULTS, /* internal errors: traffic passed in its original order */
    MFS_COUNT_PASSED, /* sends by tag, active message and stream: never scheduled */
    MFS_COUNT_PASSED_BYTES, /* their bytes */
    MFS_COUNT_GPU_LISTS, /* lists of memory made for transfers that the GPU starts */
    MFS_COUNT_STALLS, /* times that a destination took no bytes for the lease */
    MFS_COUNT_LAST
};
MFS_API void mfs_count(struct mfs_host *host, enum mfs_counter counter, uint64_t amount);
MFS_API uint64_t mfs_count_total(struct mfs_host *host, enum mfs_counter counter);
MFS_API uint64_t mfs_count_process(struct mfs_host *host, enum mfs_counter counter); /* this one */
MFS_API const char *mfs_counter_name(enum mfs_counter counter); /* NULL behind the last */
/* Append this process's counters to the file that MFS_STATS names: a line of JSON. */
MFS_API void mfs_stats_write(struct mfs_host *host);
/* The same when this process ends; not in a child that it forks. */
MFS_API void mfs_stats_at_exit(void);

/* Time of CLOCK_MONOTONIC, the clock of all host calls. */
MFS_API int64_t mfs_now_ns(void);

#endif
