/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded by bench/chaos.py: the clocks of a host that jump. What clock_gettime says is what the
 * kernel says and the number of nanoseconds in the file that CHAOS_CLOCK names, which its processes
 * share. (A real jump of CLOCK_MONOTONIC is that of a virtual machine that was asleep.) Who sleeps
 * until a moment, as Python does, means a moment of these clocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *jump_ns;

__attribute__((constructor)) static void jump_open(void)
{
    const char *path = getenv("CHAOS_CLOCK");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *memory;

    if (fd < 0)
        return;
    memory = mmap(NULL, sizeof(*jump_ns), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (memory != MAP_FAILED)
        jump_ns = memory;
}

static struct timespec moved(const struct timespec *time, int64_t by_ns)
{
    const int64_t ns = time->tv_sec * INT64_C(1000000000) + time->tv_nsec + by_ns;

    return (struct timespec){.tv_sec = ns / INT64_C(1000000000),
                             .tv_nsec = ns % INT64_C(1000000000)};
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *time)
{
    const int result = (int)syscall(SYS_clock_gettime, id, time);

    if (result != 0 || !jump_ns || id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID)
        return result;
    *time = moved(time, *jump_ns);
    return 0;
}

__attribute__((visibility("default"))) int clock_nanosleep(clockid_t id, int flags,
                                                           const struct timespec *until,
                                                           struct timespec *left)
{
    struct timespec kernels = *until;

    if ((flags & TIMER_ABSTIME) && jump_ns)
        kernels = moved(until, -*jump_ns);
    return syscall(SYS_clock_nanosleep, id, flags, &kernels, left) == 0 ? 0 : errno;
}
