/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core/atomic.h"
#include "core/rmlq.h"

#include "asan.h"

#define STACK_BYTES 65536
#define ARENA_BYTES (UINT64_C(64) << 20)
#define FIRST_FD 1000 /* the descriptor of process 0 */
#define COARSE_NS 400000 /* of the lease as much as Linux's 4 ms are of the default one */
#define FLOWS 32 /* of a sender; it has no more operations */

struct machine machine;
int explore_turn = INT_MAX;

static char stacks[PROCESSES][STACK_BYTES] __attribute__((aligned(64)));
static struct fiber home;
static char *arena;
static size_t arena_used;

/* --- processes --- */

static void leave(void)
{
    struct machine_process *at = machine.current;

    machine.current = NULL;
    explore_turn = INT_MAX;
    fiber_switch(&at->fiber, &home);
}

void explore_turn_over(void)
{
    if (machine.current)
        leave();
    else /* the machine itself, for the 2^31st time */
        explore_turn = INT_MAX;
}

void machine_sleep(int64_t wake_ns)
{
    machine.wake_ns[machine.current - machine.processes] = wake_ns;
    leave();
}

static void enter(void)
{
    machine.current->run(machine.current->ctx);
    abort(); /* a process lives until it is killed */
}

void machine_start(unsigned index, void (*run)(void *ctx), void *ctx)
{
    struct machine_process *at = &machine.processes[index];

    memset(&at->host, 0, sizeof(at->host));
    pthread_mutex_init(&at->host.mutex, NULL);
    at->host.segment = machine.segment;
    at->host.fd = at->host.slot_fd = FIRST_FD + (int)index;
    at->host.process = UINT32_MAX;
    at->run = run;
    at->ctx = ctx;
    machine.alive[index] = true;
    machine.wake_ns[index] = machine.now_ns;
    fiber_make(&at->fiber, stacks[index], STACK_BYTES, enter);
}

void machine_unlock(unsigned index)
{
    for (unsigned slot = 0; slot < MFS_PROCESSES_MAX; slot++) {
        if (machine.slots[slot] == index + 1)
            machine.slots[slot] = 0;
    }
}

void machine_kill(unsigned index)
{
    machine.alive[index] = false;
    machine.wake_ns[index] = INT64_MAX;
    machine.stopped_ns[index] = 0;
    machine_unlock(index);
    if (machine.writer == (int)index)
        machine.writer = -1;
}

void machine_run(unsigned index, int turn)
{
    struct machine_process *at = &machine.processes[index];

    machine.current = at;
    explore_turn = turn;
    fiber_switch(&home, &at->fiber);
}

void machine_reset(uint64_t seed)
{
    struct mfs_segment *segment = machine.segment;
    const struct mfs_config config = machine.config;

    if (!segment) {
        segment = mmap(NULL, sizeof(*segment), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (segment == MAP_FAILED || arena == MAP_FAILED)
            abort();
    }
    memset(&machine, 0, sizeof(machine));
    machine.segment = segment;
    machine.config = config;
    machine.random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < 8; i++)
        (void)pick(2); /* seeds that are near each other begin alike */
    machine.now_ns = 1000000000;
    machine.writer = -1;
    asan_forbid(arena, arena_used > 0 ? arena_used : ARENA_BYTES);
    arena_used = 0;
    memset(&segment->ports[0], 0, sizeof(segment->ports[0]));
    memset(segment->port_users, 0, sizeof(segment->port_users));
    memset(segment->processes, 0, sizeof(segment->processes));
    memset(&segment->far, 0, sizeof(segment->far));
    segment->writer = 0;
    mfs_segment_init(segment, 0);
}

/* --- what the kernel does --- */

int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_getres(clockid_t clock, struct timespec *tick);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_fcntl(int fd, int command, ...);
bool __wrap_mfs_host_file_is(const struct mfs_host *host, int fd);
const struct mfs_config *__real_mfs_config_get(void);
const struct mfs_config *__wrap_mfs_config_get(void);
void __wrap_mfs_request_reap(struct mfs_segment *segment, const struct mfs_living *living);
void __wrap_mfs_request_repair(struct mfs_segment *segment);
void __wrap_mfs_port_window_config(const struct mfs_port *port, struct mfs_window_config *window);
void __real_mfs_rmlq_config_init(struct mfs_rmlq_config *config);
void __wrap_mfs_rmlq_config_init(struct mfs_rmlq_config *config);

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    int64_t now_ns = machine.now_ns;

    explore_point();
    if (clock == CLOCK_MONOTONIC_COARSE)
        now_ns -= now_ns % COARSE_NS;
    *time = (struct timespec){now_ns / 1000000000, now_ns % 1000000000};
    return 0;
}

int __wrap_clock_getres(clockid_t clock, struct timespec *tick)
{
    *tick = (struct timespec){.tv_nsec = clock == CLOCK_MONOTONIC_COARSE ? COARSE_NS : 1};
    return 0;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)left;
    machine_sleep(machine.now_ns + time->tv_sec * INT64_C(1000000000) + time->tv_nsec);
    return 0;
}

static int writer_lock(int process, short type)
{
    if (type == F_UNLCK) {
        if (machine.writer == process)
            machine.writer = -1;
        return 0;
    }
    if (machine.writer >= 0 && machine.writer != process) {
        errno = EAGAIN;
        return -1;
    }
    machine.writer = process;
    return 0;
}

static int slot_lock(int process, off_t slot, short type)
{
    uint8_t *holder = &machine.slots[slot];

    if (*holder != 0 && *holder != process + 1) {
        errno = EAGAIN;
        return -1;
    }
    *holder = type == F_UNLCK ? 0 : (uint8_t)(process + 1);
    return 0;
}

/* One lock of another in the range, or none. */
static void slot_asked(int process, struct flock *lock)
{
    for (off_t at = lock->l_start; at < lock->l_start + lock->l_len; at++) {
        const off_t slot = at - MFS_BYTE_SLOTS;

        if (machine.slots[slot] == 0 || machine.slots[slot] == process + 1)
            continue;
        lock->l_start = at;
        lock->l_len = 1;
        return;
    }
    lock->l_type = F_UNLCK;
}

int __wrap_fcntl(int fd, int command, ...)
{
    const int process = fd - FIRST_FD;
    struct flock *lock;
    va_list list;

    va_start(list, command);
    lock = va_arg(list, struct flock *);
    va_end(list);
    explore_point();
    if (command == F_OFD_SETLK && lock->l_start == MFS_BYTE_WRITER)
        return writer_lock(process, lock->l_type);
    if (lock->l_start < MFS_BYTE_SLOTS ||
        lock->l_start + lock->l_len > MFS_BYTE_SLOTS + MFS_PROCESSES_MAX)
        abort();
    if (command == F_OFD_SETLK)
        return slot_lock(process, lock->l_start - MFS_BYTE_SLOTS, lock->l_type);
    if (command != F_OFD_GETLK)
        abort();
    slot_asked(process, lock);
    return 0;
}

bool __wrap_mfs_host_file_is(const struct mfs_host *host, int fd)
{
    return host->fd == fd;
}

const struct mfs_config *__wrap_mfs_config_get(void)
{
    return machine.segment ? &machine.config : __real_mfs_config_get();
}

/* Requests are no concern of the senders', and looking through all of them takes long. */
void __wrap_mfs_request_reap(struct mfs_segment *segment, const struct mfs_living *living)
{
    (void)segment, (void)living;
}

void __wrap_mfs_request_repair(struct mfs_segment *segment)
{
    (void)segment;
}

void __wrap_mfs_port_window_config(const struct mfs_port *port, struct mfs_window_config *window)
{
    (void)port;
    *window = machine.window;
}

/* Queues are made often. */
void __wrap_mfs_rmlq_config_init(struct mfs_rmlq_config *config)
{
    __real_mfs_rmlq_config_init(config);
    config->max_flows = FLOWS;
}

/* --- memory: a process that is killed frees none, so a run's goes as a whole --- */

void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_realloc(void *before, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void __wrap_free(void *at);

/* The size lies in front, for realloc. */
static void *take(size_t bytes, size_t alignment)
{
    size_t at = arena_used + 2 * sizeof(size_t); /* a word in between is nobody's */

    at = (at + alignment - 1) / alignment * alignment;
    if (at + bytes > ARENA_BYTES)
        return NULL;
    arena_used = at + bytes;
    asan_allow(arena + at - sizeof(size_t), sizeof(size_t) + bytes);
    memcpy(arena + at - sizeof(size_t), &bytes, sizeof(bytes));
    return arena + at;
}

void *__wrap_malloc(size_t bytes)
{
    return take(bytes, 16);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return take(bytes, alignment);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    void *at = take(count * bytes, 16);

    if (at)
        memset(at, 0, count * bytes);
    return at;
}

void *__wrap_realloc(void *before, size_t bytes)
{
    void *at = take(bytes, 16);
    size_t had = 0;

    if (before)
        memcpy(&had, (char *)before - sizeof(size_t), sizeof(had));
    if (at && had > 0)
        memcpy(at, before, had < bytes ? had : bytes);
    return at;
}

void __wrap_free(void *at)
{
    (void)at;
}
