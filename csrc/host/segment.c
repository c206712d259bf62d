/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LIVENESS: A process owns its slot as long as it holds a lock on one byte of the
 * segment's file (byte FIRST_SLOT + slot). It is an open-file-description lock:
 * the kernel drops it when the process dies, however it dies; it belongs to the
 * descriptor, so two users of the library in one process have a slot each. A forked
 * child closes its copy at once, else it would keep a dead parent alive.
 *
 * STARTING AFRESH: Whoever opens takes the lock of byte 0 first. If no slot is
 * locked, nobody is attached and the file is made anew; else the layout must match.
 *
 * The mutex serialises writers of tables. It is robust: a holder that dies leaves
 * a cell in the middle of a write at worst, and that cell's sequence is odd, so
 * readers take it for unknown; who takes the mutex next drops it.
 *
 * FORKING: A child shares its parent's open file description and mapping. Before it
 * runs on, its copies are closed and an empty private segment is mapped in their
 * place, so that nothing it still does with them reaches the parent's members, and it
 * cannot keep a dead parent alive. No file is opened while a fork is under way.
 */
#include "host/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "host/config.h"
#include "host/log.h"

#define FIRST_SLOT 64
#define OPEN_TIMEOUT_NS INT64_C(2000000000)
#define LOCK_TIMEOUT_NS INT64_C(100000000)

static const char segment_magic[8] = "MFSSEG\n";

static struct {
    pthread_mutex_t mutex;
    struct mfs_host *host;      /* the process-wide one */
    struct mfs_host *open[64];  /* with a file: a forked child lets go of these */
    bool fork_handler;
} process_hosts = {PTHREAD_MUTEX_INITIALIZER, NULL, {NULL}, false};

int64_t mfs_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- locks on bytes of the file --- */

static int byte_lock(int fd, off_t byte, off_t length, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = length};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

/* Does anybody else hold a lock in the range? */
static bool byte_locked(int fd, off_t byte, off_t length)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = length};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool mfs_process_alive(struct mfs_host *host, uint32_t process)
{
    if (process == host->process || host->fd < 0)
        return true;
    return byte_locked(host->fd, FIRST_SLOT + process, 1);
}

/* What taking the mutex has come to: 0 or -EAGAIN; its last holder's mess is cleaned up. */
static int mutex_taken(struct mfs_segment *segment, int error)
{
    if (error == EOWNERDEAD) {
        mfs_request_repair(segment);
        pthread_mutex_consistent(&segment->mutex);
        error = 0;
    }
    return error ? -EAGAIN : 0;
}

int mfs_segment_lock(struct mfs_host *host)
{
    const int64_t until_ns = mfs_now_ns() + LOCK_TIMEOUT_NS;
    const struct timespec pause = {0, 50000};
    int error;

    /* pthread_mutex_clocklock would do, but thread checkers do not know it */
    while ((error = pthread_mutex_trylock(&host->segment->mutex)) == EBUSY &&
           mfs_now_ns() < until_ns)
        nanosleep(&pause, NULL);
    return mutex_taken(host->segment, error);
}

void mfs_segment_unlock(struct mfs_host *host)
{
    pthread_mutex_unlock(&host->segment->mutex);
}

/* --- making one --- */

static uint32_t policy_index(const struct mfs_policy *policy)
{
    uint32_t index = 0;

    while (mfs_policy_at(index) && mfs_policy_at(index) != policy)
        index++;
    return index;
}

static uint32_t policy_configured(void)
{
    return policy_index(mfs_policy_find(mfs_config_get()->policy));
}

static int segment_init(struct mfs_segment *segment, uint32_t policy)
{
    pthread_mutexattr_t attributes;
    int error;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    error = pthread_mutex_init(&segment->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    if (error)
        return -error;
    segment->version = MFS_LAYOUT_VERSION;
    segment->size = sizeof(*segment);
    atomic_store_explicit(&segment->policy, policy, memory_order_relaxed);
    atomic_store_explicit(&segment->tracing, mfs_config_get()->trace, memory_order_relaxed);
    memcpy(segment->magic, segment_magic, sizeof(segment_magic));
    return 0;
}

static void default_path(char *path, size_t size)
{
    snprintf(path, size, "/dev/shm/mfs-%u", (unsigned)geteuid());
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        snprintf(path, size, "/tmp/mfs-%u", (unsigned)geteuid()), (void)mkdir(path, 0700);
    strncat(path, "/host", size - strlen(path) - 1);
}

/* May the file be started afresh? It is empty, a segment, or one whose maker died in between. */
static bool segment_ours(int fd, off_t size)
{
    static const char unmade[sizeof(segment_magic)];
    char magic[sizeof(segment_magic)];

    if (size == 0)
        return true;
    if (pread(fd, magic, sizeof(magic), 0) != (ssize_t)sizeof(magic))
        return false;
    return memcmp(magic, segment_magic, sizeof(magic)) == 0 ||
           (size == (off_t)sizeof(struct mfs_segment) && memcmp(magic, unmade, sizeof(magic)) == 0);
}

/* With byte 0 locked: map the file, made anew when nobody is attached. */
static int segment_map(int fd, struct mfs_segment **out)
{
    const bool fresh = !byte_locked(fd, FIRST_SLOT, MFS_PROCESSES_MAX);
    struct mfs_segment *segment;
    struct stat status;
    int error;

    if (fstat(fd, &status) != 0)
        return -errno;
    if (fresh && !segment_ours(fd, status.st_size))
        return -EPROTO;
    if (fresh && (ftruncate(fd, 0) != 0 || ftruncate(fd, sizeof(*segment)) != 0))
        return -errno;
    if (fstat(fd, &status) != 0)
        return -errno;
    if (status.st_size != (off_t)sizeof(*segment))
        return -EPROTO;
    segment = mmap(NULL, sizeof(*segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (segment == MAP_FAILED)
        return -errno;
    error = fresh ? segment_init(segment, policy_configured()) : 0;
    if (!error && (memcmp(segment->magic, segment_magic, sizeof(segment_magic)) != 0 ||
                   segment->version != MFS_LAYOUT_VERSION || segment->size != sizeof(*segment)))
        error = -EPROTO;
    if (error) {
        munmap(segment, sizeof(*segment));
        return error;
    }
    *out = segment;
    return 0;
}

static void keep_counts(struct mfs_segment *segment, _Atomic uint64_t *counters)
{
    for (int i = 0; i < MFS_COUNT_LAST; i++)
        atomic_fetch_add_explicit(&segment->past[i],
                                  atomic_exchange_explicit(&counters[i], 0, memory_order_relaxed),
                                  memory_order_relaxed);
}

/* A slot that is nobody's any more; what it counted is kept. */
static void slot_give_back(struct mfs_segment *segment, uint32_t process)
{
    struct mfs_process_cell *cell = &segment->processes[process];

    keep_counts(segment, cell->counters);
    for (uint32_t i = 0; i < MFS_COUNT_ROWS; i++) {
        keep_counts(segment, cell->rows[i].counters);
        mfs_count_row_put(&cell->rows[i]);
    }
    atomic_store_explicit(&cell->used, 0, memory_order_release);
}

/* Mark the slots from `first` on, before `end`, that others hold. The kernel tells of one lock in
 * a range, not of the first. */
static int living_between(int fd, off_t first, off_t end, struct mfs_living *living)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    off_t from, to;
    int error;

    if (first >= end)
        return 0;
    lock.l_start = FIRST_SLOT + first;
    lock.l_len = end - first;
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return -errno;
    if (lock.l_type == F_UNLCK)
        return 0;
    from = lock.l_start - FIRST_SLOT > first ? lock.l_start - FIRST_SLOT : first;
    to = lock.l_len > 0 && lock.l_start + lock.l_len - FIRST_SLOT < end
             ? lock.l_start + lock.l_len - FIRST_SLOT
             : end;
    for (off_t slot = from; slot < to; slot++)
        living->slots[slot / 64] |= UINT64_C(1) << slot % 64;
    error = living_between(fd, first, from, living);
    return error ? error : living_between(fd, to, end, living);
}

/*
 * Who holds a slot. -errno: nobody can say, and then nobody is taken for dead. Who attaches from
 * now on holds nothing yet: that takes the mutex, which the caller has.
 */
static int living_now(struct mfs_host *host, struct mfs_living *living)
{
    *living = (struct mfs_living){{0}};
    if (host->process < MFS_PROCESSES_MAX)
        living->slots[host->process / 64] |= UINT64_C(1) << host->process % 64;
    return host->fd < 0 ? 0 : living_between(host->fd, 0, MFS_PROCESSES_MAX, living);
}

/* Give back what nobody alive owns. Requests are looked through, all of them, if a process has
 * gone or `thorough` says so. */
static void give_back(struct mfs_host *host, const struct mfs_living *living, bool thorough)
{
    for (uint32_t process = 0; process < MFS_PROCESSES_MAX; process++) {
        if (atomic_load_explicit(&host->segment->processes[process].used, memory_order_acquire) &&
            !mfs_living_owner(living, process + 1) &&
            (process == host->process || !mfs_process_alive(host, process))) {
            slot_give_back(host->segment, process);
            thorough = true;
        }
    }
    mfs_members_reap(host->segment, living);
    mfs_ports_reap(host->segment, living);
    if (thorough)
        mfs_request_reap(host->segment, living);
}

static void reap(struct mfs_host *host, bool thorough)
{
    struct mfs_living living;

    if (living_now(host, &living) == 0)
        give_back(host, &living, thorough);
}

static int slot_claim(struct mfs_host *host)
{
    for (uint32_t slot = 0; slot < MFS_PROCESSES_MAX; slot++) {
        struct mfs_process_cell *cell = &host->segment->processes[slot];

        if (byte_lock(host->fd, FIRST_SLOT + slot, 1, F_WRLCK) != 0)
            continue;
        if (atomic_load_explicit(&cell->used, memory_order_acquire)) {
            /* its owner died: give back what it held before the slot is ours */
            if (mfs_segment_lock(host) != 0) {
                byte_lock(host->fd, FIRST_SLOT + slot, 1, F_UNLCK);
                continue;
            }
            if (atomic_load_explicit(&cell->used, memory_order_relaxed))
                reap(host, true);
            mfs_segment_unlock(host);
        }
        host->process = slot;
        atomic_store_explicit(&cell->pid, getpid(), memory_order_relaxed);
        atomic_store_explicit(&cell->used, 1, memory_order_release);
        return 0;
    }
    return -EUSERS;
}

static int file_open(const char *path, int *out)
{
    struct stat status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & 077) != 0) {
        close(fd);
        return -EACCES; /* somebody else could read or change it */
    }
    *out = fd;
    return 0;
}

static void fork_begins(void)
{
    pthread_mutex_lock(&process_hosts.mutex);
}

static void fork_ends(void)
{
    pthread_mutex_unlock(&process_hosts.mutex);
}

static void let_go(struct mfs_host *host)
{
    struct mfs_segment *segment = host->segment;

    close(host->fd);
    host->fd = -1;
    host->path[0] = '\0';
    if (segment) {
        const uint32_t policy = atomic_load_explicit(&segment->policy, memory_order_relaxed);

        if (mmap(segment, sizeof(*segment), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED)
            (void)segment_init(segment, policy);
    }
}

static void forked_child(void)
{
    for (size_t i = 0; i < sizeof(process_hosts.open) / sizeof(process_hosts.open[0]); i++) {
        if (process_hosts.open[i])
            let_go(process_hosts.open[i]);
        process_hosts.open[i] = NULL;
    }
    process_hosts.host = NULL;
    pthread_mutex_init(&process_hosts.mutex, NULL);
}

/* Open the file and remember it, so that a forked child lets go of it. */
static int host_open_file(struct mfs_host *host)
{
    const size_t room = sizeof(process_hosts.open) / sizeof(process_hosts.open[0]);
    int error = -EMFILE;
    size_t i;

    pthread_mutex_lock(&process_hosts.mutex);
    if (!process_hosts.fork_handler)
        process_hosts.fork_handler = pthread_atfork(fork_begins, fork_ends, forked_child) == 0;
    for (i = 0; i < room && process_hosts.open[i]; i++)
        ;
    if (i < room)
        error = file_open(host->path, &host->fd);
    if (!error)
        process_hosts.open[i] = host;
    pthread_mutex_unlock(&process_hosts.mutex);
    return error;
}

static void forget(struct mfs_host *host)
{
    pthread_mutex_lock(&process_hosts.mutex);
    for (size_t i = 0; i < sizeof(process_hosts.open) / sizeof(process_hosts.open[0]); i++) {
        if (process_hosts.open[i] == host)
            process_hosts.open[i] = NULL;
    }
    pthread_mutex_unlock(&process_hosts.mutex);
}

static int host_attach(struct mfs_host *host)
{
    const int64_t until_ns = mfs_now_ns() + OPEN_TIMEOUT_NS;
    const struct timespec pause = {0, 1000000};
    int error;

    while ((error = byte_lock(host->fd, 0, 1, F_WRLCK)) != 0) {
        if (mfs_now_ns() > until_ns)
            return -ETIMEDOUT; /* somebody is stopped in the middle of opening */
        nanosleep(&pause, NULL);
    }
    error = segment_map(host->fd, &host->segment);
    if (!error)
        error = slot_claim(host);
    byte_lock(host->fd, 0, 1, F_UNLCK);
    return error;
}

int mfs_host_open(const char *path, struct mfs_host **out)
{
    struct mfs_host *host = calloc(1, sizeof(*host));
    int error;

    if (!host)
        return -ENOMEM;
    host->fd = -1;
    host->process = UINT32_MAX;
    if (path && *path) {
        if (strlen(path) >= sizeof(host->path)) {
            free(host);
            return -ENAMETOOLONG;
        }
        strcpy(host->path, path);
    } else {
        default_path(host->path, sizeof(host->path));
    }
    (void)mfs_config_get(); /* parsed before any fork can come in between */
    error = host_open_file(host);
    if (!error)
        error = host_attach(host);
    if (error) {
        forget(host);
        if (host->segment)
            munmap(host->segment, sizeof(*host->segment));
        if (host->fd >= 0)
            close(host->fd);
        free(host);
        return error;
    }
    *out = host;
    return 0;
}

int mfs_host_open_private(struct mfs_host **out)
{
    struct mfs_host *host = calloc(1, sizeof(*host));
    int error;

    if (!host)
        return -ENOMEM;
    host->fd = -1;
    host->segment = mmap(NULL, sizeof(*host->segment), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (host->segment == MAP_FAILED) {
        free(host);
        return -ENOMEM;
    }
    error = segment_init(host->segment, policy_configured());
    if (error) {
        munmap(host->segment, sizeof(*host->segment));
        free(host);
        return error;
    }
    atomic_store_explicit(&host->segment->processes[0].used, 1, memory_order_relaxed);
    *out = host;
    return 0;
}

void mfs_process_reap_locked(struct mfs_host *host)
{
    reap(host, true);
}

void mfs_process_reap(struct mfs_host *host)
{
    if (mutex_taken(host->segment, pthread_mutex_trylock(&host->segment->mutex)) != 0)
        return;
    reap(host, false);
    mfs_segment_unlock(host);
}

void mfs_host_close(struct mfs_host *host)
{
    if (!host)
        return;
    if (host->fd >= 0) {
        struct mfs_living living;

        if (mfs_segment_lock(host) == 0) {
            if (living_now(host, &living) == 0) {
                living.slots[host->process / 64] &= ~(UINT64_C(1) << host->process % 64);
                give_back(host, &living, true);
            }
            mfs_segment_unlock(host);
        }
        forget(host);
        close(host->fd);
    }
    munmap(host->segment, sizeof(*host->segment));
    free(host);
}

static void policy_note(struct mfs_host *host)
{
    const char *used = mfs_policy_name(mfs_host_policy(host));
    const char *wanted = mfs_config_get()->policy;

    if (getenv("MFS_POLICY") && strcmp(used, wanted) != 0)
        mfs_log(MFS_LOG_WARN, "MFS_POLICY=%s is not used: segment %s is in use with policy %s",
                wanted, host->path, used);
}

struct mfs_host *mfs_host_get(void)
{
    struct mfs_host *host = __atomic_load_n(&process_hosts.host, __ATOMIC_ACQUIRE);
    const char *path = mfs_config_get()->segment;
    int error;

    if (host)
        return host;
    error = mfs_host_open(path, &host);
    if (error) {
        mfs_log(MFS_LOG_WARN, "segment %s: %s; this process is scheduled on its own",
                *path ? path : "at its default place", strerror(-error));
        if (mfs_host_open_private(&host) != 0)
            return NULL;
    }
    pthread_mutex_lock(&process_hosts.mutex);
    if (process_hosts.host) { /* another thread was faster */
        struct mfs_host *ours = host;

        host = process_hosts.host;
        pthread_mutex_unlock(&process_hosts.mutex);
        mfs_host_close(ours);
        return host;
    }
    __atomic_store_n(&process_hosts.host, host, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&process_hosts.mutex);
    policy_note(host);
    return host;
}

const char *mfs_host_path(const struct mfs_host *host)
{
    return host->path;
}

/* --- settings --- */

int mfs_host_set_policy(struct mfs_host *host, const char *name)
{
    const struct mfs_policy *policy = mfs_policy_find(name);

    if (!policy)
        return -EINVAL;
    atomic_store_explicit(&host->segment->policy, policy_index(policy), memory_order_relaxed);
    atomic_fetch_add_explicit(&host->segment->settings_version, 1, memory_order_release);
    return 0;
}

const struct mfs_policy *mfs_host_policy(struct mfs_host *host)
{
    const struct mfs_policy *policy =
        mfs_policy_at(atomic_load_explicit(&host->segment->policy, memory_order_relaxed));

    return policy ? policy : mfs_policy_at(0);
}

uint64_t mfs_host_settings_version(struct mfs_host *host)
{
    return atomic_load_explicit(&host->segment->settings_version, memory_order_acquire);
}
