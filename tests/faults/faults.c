/* SPDX-License-Identifier: Apache-2.0 */
#include "faults.h"

#include <dirent.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define MOST 2000u /* calls of a kind in one scenario */
#define PATIENCE_S 60 /* of the processor's time */
#define NOT_MET 3

static const char *const kinds[FAULT_KINDS] = {"memory", "file", "map", "socket", "ucx"};

static enum fault_kind kind_wanted;
static unsigned count_wanted, count; /* 0: none fails */
static bool from_there_on;
static const char *call_met;

bool fault_due(enum fault_kind kind, const char *call)
{
    if (count_wanted == 0 || kind != kind_wanted)
        return false;
    count++;
    if (count != count_wanted && !(from_there_on && count > count_wanted))
        return false;
    if (!call_met && getenv("FAULTS") && *getenv("FAULTS"))
        fprintf(stderr, "%s fails\n", call);
    if (!call_met)
        call_met = call;
    return true;
}

bool fault_met(void)
{
    return call_met != NULL;
}

/* --- the calls; fstat of an open descriptor does not fail --- */

#define WRAP(kind, type, name, parameters, arguments, error, failed)                               \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        if (fault_due(kind, #name)) {                                                              \
            errno = error;                                                                         \
            return failed;                                                                         \
        }                                                                                          \
        return __real_##name arguments;                                                            \
    }

WRAP(FAULT_MEMORY, void *, malloc, (size_t size), (size), ENOMEM, NULL)
WRAP(FAULT_MEMORY, void *, calloc, (size_t n, size_t size), (n, size), ENOMEM, NULL)
WRAP(FAULT_MEMORY, void *, realloc, (void *at, size_t size), (at, size), ENOMEM, NULL)
WRAP(FAULT_MEMORY, void *, aligned_alloc, (size_t align, size_t size), (align, size), ENOMEM, NULL)
WRAP(FAULT_MEMORY, char *, strdup, (const char *text), (text), ENOMEM, NULL)
WRAP(FAULT_MEMORY, FILE *, open_memstream, (char **text, size_t *size), (text, size), ENOMEM, NULL)
WRAP(FAULT_FILE, int, mkdir, (const char *path, mode_t mode), (path, mode), EACCES, -1)
WRAP(FAULT_FILE, int, ftruncate, (int fd, off_t size), (fd, size), EIO, -1)
WRAP(FAULT_FILE, int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size),
     ENOSPC, -1)
WRAP(FAULT_FILE, ssize_t, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at), EIO,
     -1)
WRAP(FAULT_MAP, void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
     (at, size, prot, flags, fd, offset), ENOMEM, MAP_FAILED)
WRAP(FAULT_SOCKET, int, socket, (int domain, int type, int protocol), (domain, type, protocol),
     EMFILE, -1)
WRAP(FAULT_SOCKET, int, bind, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size),
     EADDRINUSE, -1)
WRAP(FAULT_SOCKET, int, listen, (int fd, int backlog), (fd, backlog), EADDRINUSE, -1)
WRAP(FAULT_SOCKET, int, getsockname, (int fd, struct sockaddr *to, socklen_t *size), (fd, to, size),
     ENOBUFS, -1)
WRAP(FAULT_SOCKET, int, accept4, (int fd, struct sockaddr *from, socklen_t *size, int flags),
     (fd, from, size, flags), EMFILE, -1)
WRAP(FAULT_SOCKET, int, connect, (int fd, const struct sockaddr *to, socklen_t size),
     (fd, to, size), ECONNREFUSED, -1)
WRAP(FAULT_SOCKET, int, getsockopt, (int fd, int level, int name, void *to, socklen_t *size),
     (fd, level, name, to, size), ENOBUFS, -1)
WRAP(FAULT_SOCKET, int, setsockopt, (int fd, int level, int name, const void *to, socklen_t size),
     (fd, level, name, to, size), ENOBUFS, -1)
WRAP(FAULT_SOCKET, ssize_t, send, (int fd, const void *from, size_t size, int flags),
     (fd, from, size, flags), ECONNRESET, -1)
WRAP(FAULT_SOCKET, ssize_t, recv, (int fd, void *to, size_t size, int flags), (fd, to, size, flags),
     ECONNRESET, -1)
WRAP(FAULT_SOCKET, int, epoll_create1, (int flags), (flags), EMFILE, -1)
WRAP(FAULT_SOCKET, int, epoll_ctl, (int fd, int op, int of, struct epoll_event *event),
     (fd, op, of, event), ENOSPC, -1)
WRAP(FAULT_SOCKET, int, epoll_wait, (int fd, struct epoll_event *events, int most, int ms),
     (fd, events, most, ms), EINTR, -1)
WRAP(FAULT_SOCKET, int, poll, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms), EINTR, -1)
WRAP(FAULT_SOCKET, ssize_t, getrandom, (void *to, size_t size, unsigned flags), (to, size, flags),
     ENOSYS, -1)
WRAP(FAULT_SOCKET, int, getifaddrs, (struct ifaddrs * *to), (to), ENOMEM, -1)

/* Those of any number of arguments. */
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list more;
    mode_t mode;

    va_start(more, flags);
    mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (fault_due(FAULT_FILE, "open")) {
        errno = EMFILE;
        return -1;
    }
    return __real_open(path, flags, mode);
}

/* To give a lock up that stands alone needs no memory, so that does not fail. */
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list more;
    void *argument;
    bool unlocks;

    va_start(more, command);
    argument = va_arg(more, void *);
    va_end(more);
    unlocks = command == F_OFD_SETLK && ((struct flock *)argument)->l_type == F_UNLCK;
    if (!unlocks && fault_due(FAULT_FILE, "fcntl")) {
        errno = ENOLCK;
        return -1;
    }
    return __real_fcntl(fd, command, argument);
}

/* The clock: each look takes 200 µs, so waiting for a second takes 5,000 looks. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    static int64_t now_ns = INT64_C(1000000000000);

    (void)clock;
    now_ns += 200000;
    now->tv_sec = now_ns / 1000000000;
    now->tv_nsec = now_ns % 1000000000;
    return 0;
}

/* Nobody waits for the machine. */
int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
    return 0;
}

int __wrap_nanosleep(const struct timespec *span, struct timespec *left);
int __wrap_nanosleep(const struct timespec *span, struct timespec *left)
{
    (void)span, (void)left;
    return 0;
}

/* --- the processes --- */

static unsigned descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned open = 0;

    CHECK(folder != NULL);
    while (readdir(folder))
        open++;
    closedir(folder);
    return open;
}

static void told(int number)
{
    static const char where[] = "failed or hung behind a fault of ";

    (void)!write(STDERR_FILENO, where, sizeof(where) - 1);
    if (call_met)
        (void)!write(STDERR_FILENO, call_met, strlen(call_met));
    (void)!write(STDERR_FILENO, "\n", 1);
    signal(number, SIG_DFL);
    raise(number);
}

/* In a process of its own. */
static void one(const struct scenario *scenario, unsigned wanted)
{
    const struct itimerval patience = {.it_value = {.tv_sec = PATIENCE_S}};
    unsigned before;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPROF, told);
    signal(SIGABRT, told);
    CHECK_EQ(setitimer(ITIMER_PROF, &patience, NULL), 0);
    if (scenario->set_up)
        scenario->set_up();
    before = descriptors();
    count_wanted = wanted;
    scenario->run(true);
    count_wanted = 0;
    if (descriptors() > before + 1) { /* one is kept for the process's life: the segment's */
        for (int fd = 3; fd < 64; fd++) {
            char link[32], path[256] = "";

            snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
            if (readlink(link, path, sizeof(path) - 1) > 0)
                fprintf(stderr, "%d -> %s\n", fd, path);
        }
        FAIL("%u descriptors more", descriptors() - before);
    }
    if (scenario->set_up) /* what is made once may be gone for good */
        scenario->run(false);
    exit(call_met ? 0 : NOT_MET);
}

static unsigned kind_run(const struct scenario *scenario, enum fault_kind kind, bool all)
{
    const char *only = getenv("FAULTS"); /* KIND:N, to look at one */
    unsigned bad = 0, n = 0;
    int status = 0;

    if (only && *only) {
        if (strncmp(only, kinds[kind], strlen(kinds[kind])) != 0)
            return 0;
        n = (unsigned)atoi(only + strlen(kinds[kind]) + 1) - 1;
    }
    while (++n < MOST) {
        pid_t child;

        kind_wanted = kind;
        from_there_on = all;
        fflush(NULL);
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            one(scenario, n);
        CHECK(waitpid(child, &status, 0) == child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_MET)
            break;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            printf("%s: %s, call %u%s: status 0x%x\n", scenario->name, kinds[kind], n,
                   all ? " and all behind it" : "", (unsigned)status);
            bad++;
        }
    }
    printf("%-8s %-7s %4u calls failed%s\n", scenario->name, kinds[kind], n - 1,
           all ? ", and all behind each" : "");
    return bad;
}

unsigned faults_run(const struct scenario *scenario, bool all_behind)
{
    unsigned bad = 0;

    for (unsigned kind = 0; kind < FAULT_KINDS; kind++) {
        for (int all = 0; all <= all_behind; all++)
            bad += kind_run(scenario, (enum fault_kind)kind, all);
    }
    return bad;
}
