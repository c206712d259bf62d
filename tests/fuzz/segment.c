/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes words of a segment while processes work with it.
 *
 *     fuzz_segment FIRST COUNT [PROCESSES [CHANGES]]
 *     fuzz_segment change PATH SEED     the segment of other programs, until they have left it
 *
 * Each of the seeds FIRST, FIRST + 1, ... makes a segment, starts processes that send, register,
 * trace and attach, and changes CHANGES words at places and to values of the seed's choice. Then it
 * leaves the memory as it is. From there on each thread must finish some operations more: whatever
 * stands in the memory, nobody crashes, nobody waits for ever, and each byte leaves once.
 *
 * Exit status 1, and a line that names the seed, when one did not.
 */
#include "segment.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "core/atomic.h"

#define HANG_NS INT64_C(30000000000)

static void pause_ns(int64_t span_ns)
{
    const struct timespec span = {span_ns / 1000000000, span_ns % 1000000000};

    nanosleep(&span, NULL);
}

/* --- what is changed, and to what --- */

#define SPAN(field) {offsetof(struct mfs_segment, field), sizeof(((struct mfs_segment *)0)->field)}

/* A word of the segment, where it hurts more often than where nothing is. */
static size_t place(const struct mfs_segment *segment, uint64_t *random)
{
    const struct {
        size_t at, size;
    } spans[] = {
        {0, offsetof(struct mfs_segment, processes)},
        SPAN(processes[0]),
        SPAN(processes[1]),
        SPAN(processes[2]),
        SPAN(port_users),
        SPAN(tracing),
        SPAN(events_count),
        {offsetof(struct mfs_segment, ports[0]), 1024},
        {offsetof(struct mfs_segment, ports[0]), 1024},
        {offsetof(struct mfs_segment, ports[0]), 256},
        {offsetof(struct mfs_segment, ports[1]), 1024},
        SPAN(ports),
        SPAN(events[0]),
        SPAN(events),
        {offsetof(struct mfs_segment, contacts), 512},
        {0, sizeof(struct mfs_segment)},
    };
    const size_t which = test_random(random) % (COUNT(spans) + 6);
    size_t at, size;

    if (which < COUNT(spans)) {
        at = spans[which].at;
        size = spans[which].size;
    } else if (which < COUNT(spans) + 2) { /* an event that is about to be read */
        const uint64_t number = mfs_get(&segment->events_count) - test_random(random) % 32;

        at = offsetof(struct mfs_segment, events) +
             number % MFS_EVENTS_MAX * sizeof(struct mfs_event_cell);
        size = sizeof(struct mfs_event_cell);
    } else { /* a cell of the requests that is in use, if one is soon found */
        uint32_t cell = (uint32_t)(test_random(random) % MFS_REQUEST_CELLS);

        for (int tries = 0; tries < 5000 && !mfs_get(&segment->requests[cell].key); tries++)
            cell = (cell + 1) % MFS_REQUEST_CELLS;
        at = offsetof(struct mfs_segment, requests) + cell * sizeof(struct mfs_request_cell);
        size = sizeof(struct mfs_request_cell);
    }
    return (at + test_random(random) % size) & ~(size_t)7;
}

static uint64_t value(uint64_t before, uint64_t *random)
{
    const uint64_t any = test_random(random), now = (uint64_t)mfs_now_ns();
    const uint64_t values[] = {
        0,
        1,
        UINT64_MAX,
        UINT32_MAX,
        INT64_MAX,
        (uint64_t)INT64_MIN,
        MFS_PROCESSES_MAX,
        any,
        any % 256,
        any << 32,
        before + 1,
        before - 1,
        before ^ (UINT64_C(1) << any % 64),
        now,
        now + 1000000,
        now + UINT64_C(1000000000000000000),
        now - 1000000000,
        before << 32,
        UINT64_C(0x1b1b1b1b1b1b1b1b),
        (UINT64_C(1) << 32) | 1,
        (UINT64_C(3) << 32) | 2,
    };

    return values[test_random(random) % COUNT(values)];
}

static void change(struct mfs_segment *segment, uint64_t *random)
{
    const size_t at = place(segment, random);
    _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)((char *)segment + at);

    if (at + sizeof(*word) <= sizeof(*segment))
        mfs_set(word, value(mfs_get(word), random));
}

/* --- a seed --- */

static struct mfs_segment *segment_look(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *memory =
        mmap(NULL, sizeof(struct mfs_segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    CHECK(fd >= 0 && memory != MAP_FAILED);
    close(fd);
    return memory;
}

static pid_t worker_start(const char *path, struct fuzz_board *board, uint64_t seed)
{
    pid_t child;

    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child > 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("MFS_LOG", "0", 1);
    setenv("MFS_LEASE", "2ms", 1);
    setenv("MFS_TEST_CHUNK", "16k", 1);
    setenv("MFS_WINDOW", seed % 2 ? "64k" : "0", 1);
    setenv("MFS_PACE", seed % 3 ? "0" : "1g", 1);
    setenv("MFS_TRACE", "1", 1);
    exit(fuzz_worker(path, board, seed * UINT64_C(0x9e3779b97f4a7c15) | 1));
}

/* How a worker has ended; NULL: as it should. */
static const char *worker_end(pid_t child)
{
    const int64_t until_ns = mfs_now_ns() + HANG_NS;
    static char what[64];
    pid_t ended;
    int status;

    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && mfs_now_ns() < until_ns)
        pause_ns(200000);
    if (ended == 0) {
        kill(child, getenv("FUZZ_CORE") ? SIGABRT : SIGKILL);
        waitpid(child, &status, 0);
        return "hangs";
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    snprintf(what, sizeof(what), WIFSIGNALED(status) ? "dies of signal %d" : "ends with status %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return what;
}

static bool seed_run(uint64_t seed, uint32_t processes, uint32_t changes, struct fuzz_board *board)
{
    const char *folder = getenv("TMPDIR");
    pid_t children[FUZZ_PROCESSES];
    struct mfs_segment *segment;
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    bool right = true;
    char path[200];

    snprintf(path, sizeof(path), "%s/fuzz-%d", folder ? folder : "/tmp", (int)getpid());
    mfs_set(&board->attached, 0);
    mfs_set(&board->calm, false);
    for (uint32_t i = 0; i < processes; i++)
        children[i] = worker_start(path, board, seed * FUZZ_PROCESSES + i);
    while (mfs_get(&board->attached) < processes)
        pause_ns(50000);
    segment = segment_look(path);
    for (uint32_t i = 0; i < changes; i++) {
        change(segment, &random);
        if (test_random(&random) % 4 == 0)
            pause_ns(20000);
    }
    mfs_set(&board->calm, true);
    for (uint32_t i = 0; i < processes; i++) {
        const char *what = worker_end(children[i]);

        if (what)
            printf("seed %" PRIu64 ": process %u %s\n", seed, i, what);
        right = right && !what;
    }
    munmap(segment, sizeof(*segment));
    unlink(path);
    return right;
}

static uint64_t number(int argc, char **argv, int which, uint64_t otherwise)
{
    return argc > which ? strtoull(argv[which], NULL, 10) : otherwise;
}

/* Words of a segment that is in use, some hundred times a second. */
static int change_of_others(const char *path, uint64_t seed)
{
    struct mfs_segment *segment = segment_look(path);
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, changes = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    for (; mfs_process_any(fd) == 1; changes++) {
        change(segment, &random);
        pause_ns((int64_t)(test_random(&random) % 5000000));
    }
    printf("%" PRIu64 " changes\n", changes);
    return 0;
}

int main(int argc, char **argv)
{
    const uint64_t first = number(argc, argv, 1, 1), count = number(argc, argv, 2, 1);
    const uint64_t processes = number(argc, argv, 3, 2), changes = number(argc, argv, 4, 200);
    struct fuzz_board *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t wrong = 0;

    if (argc == 4 && strcmp(argv[1], "change") == 0)
        return change_of_others(argv[2], number(argc, argv, 3, 1));
    CHECK(board != MAP_FAILED && processes >= 1 && processes <= FUZZ_PROCESSES);
    for (uint64_t seed = first; seed < first + count; seed++)
        wrong += !seed_run(seed, (uint32_t)processes, (uint32_t)changes, board);
    printf("%" PRIu64 " seeds, %" PRIu64 " processes each: %" PRIu64 " wrong\n", count, processes,
           wrong);
    return wrong > 0;
}
